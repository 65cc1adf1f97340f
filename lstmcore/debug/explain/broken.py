"""Mistakes of the catalogue, made in the step that the page shows: which numbers come out wrong, and from where on."""

from functools import cache
from typing import NamedTuple

import numpy as np

from lstmcore.arrays import Plain
from lstmcore.debug.explain.examples import EXAMPLES, example
from lstmcore.debug.explain.graph import PACKAGE, Graph, graph
from lstmcore.debug.mistakes import MISTAKES, Mistake, mutant

SHOWN = (  # of one line each, and possible in an LSTM without a mask
    "sigma' of the forget gate is missing",
    "sigma' of the input gate without its factor 1 - s",
    "tanh' where sigma' belongs (output gate)",
    "sigma' where tanh' belongs (candidate)",
    "tanh' of c taken at c instead of tanh(c)",
    "c_t for c_{t-1} in the forget gate",
    "i for g in the product rule (di)",
    "c for tanh(c) in the output gate",
    "what came along c is dropped",
    "what came through h into c is dropped",
    "the carry of dc forgets the forget gate",
    "a parenthesis puts tanh' of c on what came along c too",
    "the carry of dh is dropped",
    "the gradient of h goes nowhere through W_hh",
    "only the last output has a gradient",
    "W_hh not transposed on the way back",
    "h_t for h_{t-1} in dW_hh",
    "dW_ih is overwritten at each step, not added up: only step T-1 is left",
)
EXACT = 2.0**-40  # of the largest gradient: no rounding comes to that in some thousand operations


class Broken(NamedTuple):
    """A mistake in the step of `EXAMPLES["lstm"]`."""

    mistake: Mistake
    file: str
    line: int
    right: str  # the lines as they should be
    wrong: str
    values: dict[str, float]  # the numbers that differ, by name, in the order in which they are computed
    falls: bool  # whether a small step down these gradients still lowers the loss
    cosine: float  # of the angle between these gradients of the weights and the right ones

    def plain(self) -> Plain:
        """As JSON holds it: values to seven digits, which is more than the page shows."""
        values = {name: float(f"{v:.7g}") if np.isfinite(v) else None for name, v in self.values.items()}
        return {
            "name": self.mistake.name, "file": self.file, "line": self.line, "right": self.right, "wrong": self.wrong,
            "values": values, "falls": self.falls, "cosine": round(self.cosine, 4),
        }  # fmt: skip


@cache
def broken() -> tuple[Broken, ...]:
    """All of SHOWN, each traced."""
    cell = EXAMPLES["lstm"].cell
    right = graph(cell, example(cell))
    by_name = {mistake.name: mistake for mistake in MISTAKES}
    return tuple(_made(by_name[name], right) for name in SHOWN)


def _made(mistake: Mistake, right: Graph) -> Broken:
    wrong = graph(right.cell, example(right.cell), mutant(mistake))
    order = sorted(right.names.items(), key=lambda item: item[1][1])
    room = EXACT * max(abs(right.value(name)) for name, _ in order if _is_gradient(name))
    differing = {
        name: wrong.value(name)
        for name, _ in order
        if name in wrong.names and not abs(wrong.value(name) - right.value(name)) <= room
    }
    weights = [name for name in right.names if name.startswith(("dW_", "db["))]
    a, b = (np.array([g.value(name) for name in weights]) for g in (right, wrong))
    cosine = float(a @ b / np.sqrt(a @ a * (b @ b)))
    file, line, lines, edited = _lines(mistake)
    return Broken(mistake, file, line, lines, edited, differing, cosine > 0, cosine)


def _is_gradient(name: str) -> bool:
    return name.startswith("d") and not name.startswith("dy")


def _lines(mistake: Mistake) -> tuple[str, int, str, str]:
    """File, first line, the right lines and the wrong ones."""
    file = "/".join(mistake.module.split(".")) + ".py"
    text = (PACKAGE.parent / file).read_text(encoding="utf-8")
    at = text.index(mistake.right)
    begin, end = text.rindex("\n", 0, at) + 1, text.index("\n", at + len(mistake.right.rstrip("\n")))
    whole = text[begin:end]
    edited = (whole + "\n").replace(mistake.right, mistake.wrong).rstrip("\n")
    indent = len(whole) - len(whole.lstrip())

    def dedented(lines: str) -> str:
        return "\n".join(line[indent:] for line in lines.split("\n"))

    return file, text.count("\n", 0, begin) + 1, dedented(whole), dedented(edited)
