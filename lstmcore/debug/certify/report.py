"""What `certify` found, to look at: a table, JUnit's XML for a CI, a badge, a picture; and what was expected."""

import io
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree as xml

from lstmcore.arrays import Plain
from lstmcore.debug.certify.certify import BAD, Score
from lstmcore.debug.certify.pack import RESULTS, read_pack
from lstmcore.debug.certify.verdict import VERDICTS, Verdict
from lstmcore.train.files.atomic import write_atomically
from lstmcore.train.files.decoded import parsed

REASONS = 16  # of refusal that are printed
COLOURS = {"agree": "#4c9f70", "refused": "#d9d9d9", "ambiguous": "#9ecae1", "ignored": "#e6a532", "wrong": "#c8374a",
           "crash": "#5b2a86", "not given": "#ffffff"}  # fmt: skip


def words(score: Score, refused: bool = False) -> str:
    """A line for every case that is not right, and the counts. refused: reasons of refusal too."""
    lines = [f"{v.case:44} {v.verdict:9} {v.words}" for v in score.bad]
    if refused:
        reasons: dict[str, list[str]] = {}
        for v in score.verdicts:
            if v.verdict in ("refused", "ambiguous"):
                reasons.setdefault(f"{v.verdict}: {v.words}", []).append(v.case)
        most = sorted(reasons.items(), key=lambda told: -len(told[1]))
        lines += [f"{len(cases)} {reason}" for reason, cases in most[:REASONS]]
        lines += [f"{len(most) - REASONS} more reasons: --json"] if len(most) > REASONS else []
    return "\n".join([*lines, badge(score)])


def badge(score: Score) -> str:
    """One line: 'torch 2.13.0: 120 of 120 agree, 61 refused'."""
    tried = score.judged
    counts = [f"{score.count(v)} {v}" for v in VERDICTS[1:] if score.count(v)]
    name = " ".join(filter(None, (score.engine, score.version)))
    only = "" if any(not v.missing for v in tried) else " (outputs alone)" if tried else ""
    return ", ".join([f"{name}: {score.count('agree')} of {len(tried)} agree{only}", *counts])


def plain(score: Score) -> Plain:
    """What --json prints."""
    counts = {verdict: score.count(verdict) for verdict in VERDICTS}
    cases = [
        v._asdict() | {"worst": v.worst if v.worst is not None and v.worst < 1e300 else None} for v in score.verdicts
    ]
    about = {"engine": score.engine, "version": score.version, "dtype": score.dtype, "seconds": score.seconds}
    return {**about, "counts": counts, "cases": cases}


def junit(score: Score, expected: Mapping[str, str]) -> bytes:
    """A test case each, for a CI: failed are those whose verdict is not the one that was expected."""
    suite = xml.Element("testsuite", name=f"lstmcore certify {score.engine}", tests=str(len(score.verdicts)))
    for v in score.verdicts:
        case = xml.SubElement(suite, "testcase", classname=score.engine, name=v.case)
        if v.verdict in ("refused", "ambiguous") and v.case not in expected:
            xml.SubElement(case, "skipped", message=f"{v.verdict}: {v.words}")
        elif v.verdict in BAD and expected.get(v.case) != v.verdict:
            xml.SubElement(case, "failure", type=v.verdict, message=v.words)
        elif v.verdict not in BAD and v.case in expected:
            xml.SubElement(case, "failure", type=v.verdict, message=f"{expected[v.case]} was expected")
    xml.indent(suite)
    return xml.tostring(suite, encoding="utf-8", xml_declaration=True)


def read_expected(path: Path) -> dict[str, str]:
    """A file of expected failures: JSON, case -> "wrong", "ignored" or "crash". Raises ValueError, OSError."""
    try:
        told = parsed(path)
    except ValueError as error:
        raise ValueError(f"{path} should be JSON: {error}") from None
    if not isinstance(told, dict) or not all(verdict in BAD for verdict in told.values()):
        raise ValueError(
            f'{path} should be an object like {{"lstm-lengths": "wrong"}}, with {", ".join(BAD)} as values'
        )
    for case in told.keys() - read_pack().keys():
        raise ValueError(f"{path}: the pack has no case {case!r}")
    return told


def draw(path: Path, score: Score) -> None:
    """Cases by results, coloured: what is wrong where. Raises ImportError without matplotlib, OSError."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch, Rectangle

    figure = Figure(figsize=(1.6 + 0.105 * len(score.verdicts) ** 0.5 * 12, 2.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for k, v in enumerate(score.verdicts):
        for j, group in enumerate(RESULTS):
            axes.add_patch(
                Rectangle((k, j), 1, 1, facecolor=COLOURS[_kind(v, group)], edgecolor="white", linewidth=0.2)
            )
    axes.set(xlim=(0, len(score.verdicts)), ylim=(len(RESULTS), 0), xlabel="cases, in the order of the pack")
    axes.set_yticks([j + 0.5 for j in range(len(RESULTS))], RESULTS)
    axes.set_title(badge(score), fontsize="small")
    seen = [kind for kind in COLOURS if any(_kind(v, group) == kind for v in score.verdicts for group in RESULTS)]
    figure.legend(
        handles=[Patch(facecolor=COLOURS[kind], edgecolor="#999999", label=kind) for kind in seen],
        loc="outside lower center", ncols=len(seen), fontsize="small", frameon=False,
    )  # fmt: skip
    picture = io.BytesIO()
    figure.savefig(picture, dpi=150, format=path.suffix[1:] or "png")
    write_atomically(path, picture.getvalue())


def _kind(v: Verdict, group: str) -> str:
    """The colour of one group of results of a case."""
    if v.verdict in ("refused", "crash", "ambiguous"):
        return v.verdict
    if any(name.split("/")[0] == group for name in v.wrong):
        return v.verdict
    return "not given" if any(name.split("/")[0] == group for name in v.missing) else "agree"
