"""A saved case run again on lstmcore, and what every tool says about it."""

from lstmcore.debug.case import Case
from lstmcore.debug.diagnose.read_case import readings
from lstmcore.debug.diagnose.training_step import nested
from lstmcore.debug.diagnose.trial import Bench, with_loss_settled
from lstmcore.debug.report.report import Report, report
from lstmcore.layers.tree import state_names


def report_case(case: Case, title: str = "A training step", prove_padding: bool = True) -> Report:
    """`report` for a case, as `load_case` reads it: its own gradients are not looked at, `diagnose_case` judges those.

    Raises TypeError, KeyError or ValueError for a case that does not hold together.
    """
    reading, *_ = readings(
        case.weights, case.x, case.upstream, case.grads, case.state or None, case.mask,
        case.dstate or None, case.layout, case.cell or None, case.dropout, loss=case.loss or None,
    )  # fmt: skip
    params, x, mask, state, dy, dstate = Bench(with_loss_settled(reading)).prepared()
    model, names = reading.model, state_names(reading.model)
    for name, value in params.items():
        model.params[name] = value
    states = {"state": nested(names, state), "dstate": nested(names, dstate)}
    return report(model, x, dy, mask=mask, title=title, prove_padding=prove_padding, **states)
