"""The page: one HTML file that needs no network. Its program is built in docs/explorer, its numbers are traced here."""

import json
import linecache
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from os import PathLike
from pathlib import Path

import numpy as np

from lstmcore.arrays import Plain
from lstmcore.debug.case import Case
from lstmcore.debug.diagnose.read_case import readings
from lstmcore.debug.diagnose.trial import Bench, with_loss_settled
from lstmcore.debug.explain.broken import broken
from lstmcore.debug.explain.examples import EXAMPLES, example
from lstmcore.debug.explain.graph import PACKAGE, Graph, Step, graph
from lstmcore.layers import Recurrent

TEMPLATE = Path(__file__).with_name("page.html")
SLOT = "@@DATA@@"  # where it takes the numbers
LARGEST = 12  # T * H that a page shows
FRAME = "width: 100%; height: 800px; border: 1px solid #8885"
AROUND = 4  # lines of source that are shown before and behind one that made a number


@dataclass(frozen=True, repr=False)
class Explanation:
    """Small training steps, each without and with a mask; the first is the one that the page opens with."""

    steps: dict[str, tuple[str, Graph | None, Graph]]  # key -> title, without a mask, with one
    first: str

    def plain(self) -> Plain:
        """What the page is given, as JSON holds it."""
        traced = {key: {"title": title, "plain": plain and plain.plain(), "masked": masked.plain()}
                  for key, (title, plain, masked) in self.steps.items()}  # fmt: skip
        graphs = [g for _, *both in self.steps.values() for g in both if g is not None]
        mistakes = [each.plain() for each in broken()]
        return {"first": self.first, "steps": traced, "sources": _sources(graphs), "broken": mistakes}

    def html(self) -> str:
        """The page."""
        data = json.dumps(self.plain(), separators=(",", ":")).replace("<", "\\u003c")
        return TEMPLATE.read_text(encoding="utf-8").replace(SLOT, data)

    def __repr__(self) -> str:
        titles = ", ".join(title for title, *_ in self.steps.values())
        return f'<Explanation of {titles}: save("lstm.html") writes the page>'

    def _repr_html_(self) -> str:
        """What a notebook shows: the page, in a frame of its own."""
        return f'<iframe title="every number answers" style="{FRAME}" srcdoc="{escape(self.html())}"></iframe>'

    def save(self, path: str | PathLike[str]) -> Path:
        """Writes the page to `path`, and returns the path."""
        path = Path(path)
        path.write_text(self.html(), encoding="utf-8")
        return path


def explain(cell: str = "lstm") -> Explanation:
    """The page over the examples; `cell`, a key of EXAMPLES, is the one that it opens with.

    Raises ValueError for another name.
    """
    key = cell.lower()
    if key not in EXAMPLES:
        raise ValueError(f"`cell` should be one of {', '.join(EXAMPLES)}; got {cell!r}")
    steps: dict[str, tuple[str, Graph | None, Graph]] = {
        name: (each.title, graph(each.cell, example(each.cell)), graph(each.cell, example(each.cell, masked=True)))
        for name, each in EXAMPLES.items()
    }
    return Explanation(steps, key)


def explain_case(case: Case, row: int = 0, title: str = "your own step") -> Explanation:
    """The page over one row of a case, as `load_case` reads it, before the examples. Its gradients are not looked at.

    Raises TypeError, KeyError or ValueError for a case that does not hold together; ValueError for one that is not one
    layer in one direction, and for one too large to be seen at a glance: T * H should be 12 at most.
    """
    reading, *_ = readings(
        case.weights, case.x, case.upstream, case.grads, case.state or None, case.mask,
        case.dstate or None, case.layout, case.cell or None, case.dropout, loss=case.loss or None,
    )  # fmt: skip
    params, x, mask, state, dy, dstate = Bench(with_loss_settled(reading)).prepared()
    if not isinstance(reading.model, Recurrent):
        raise ValueError(
            f"the page shows one layer in one direction; this case is a {type(reading.model).__name__}: save a case of "
            "one of its layers, with what went into it as x and the gradient of its outputs as dy"
        )
    cell, (T, B, _), H = reading.model.cell, x.shape, dy.shape[-1]
    if T * H > LARGEST:
        cure = (
            f"keep the first {LARGEST // H}: x[:{LARGEST // H}], and dy and mask likewise"
            if H <= LARGEST
            else f"save a step of a layer with {LARGEST} units or fewer"
        )
        raise ValueError(f"the page shows T * H <= {LARGEST}; this case has {T} steps of {H} units: {cure}")
    if not 0 <= row < B:
        raise ValueError(f"`row` should be one of the batch, 0 to {B - 1}; got {row}")
    this = slice(row, row + 1)

    def states(of: dict[str, np.ndarray]) -> tuple[np.ndarray, ...]:
        return tuple(np.asarray(of.get(f"{s}0", np.zeros((B, H))), float)[this] for s in cell.states)

    step = Step(params, x[:, this], states(state), None, None, dy[:, this], states(dstate) if dstate else None)
    real = np.ones((T, 1), bool) if mask is None else mask[:, this]
    own = (title, graph(cell, step) if mask is None else None, graph(cell, step._replace(mask=real)))
    return Explanation({"own": own, **explain().steps}, "own")


def _sources(graphs: Iterable[Graph]) -> dict[str, list[str | None]]:
    """File -> its lines, as far as they are near to one that made a number; None for others."""
    near: dict[str, set[int]] = {}
    for g in graphs:
        for k in range(len(g.numbers)):
            for file, line, _ in g.lines(k):
                near.setdefault(file, set()).update(range(line - AROUND, line + AROUND + 1))
    found: dict[str, list[str | None]] = {}
    for file, lines in near.items():
        text = linecache.getlines(str(PACKAGE.parent / file))
        found[file] = [line.rstrip("\n") if n in lines else None for n, line in enumerate(text, 1)]
    return found
