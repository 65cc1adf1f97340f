"""A saved case run again on lstmcore, and what every tool says about it."""

from lstmcore.debug.case import Case
from lstmcore.debug.diagnose.replayed import replayed
from lstmcore.debug.report.report import Report, report


def report_case(case: Case, title: str = "A training step", prove_padding: bool = True) -> Report:
    """`report` for a case, as `load_case` reads it: its own gradients are not judged, `diagnose_case` does that.

    Raises TypeError, KeyError or ValueError for a case that does not hold together.
    """
    layer, x, dy, step = replayed(case)
    return report(layer, x, dy, title=title, prove_padding=prove_padding, **step)
