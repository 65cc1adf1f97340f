"""One small training step as a graph of numbers: each with its value, what it was made of, and by which line."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lstmcore import ops
from lstmcore.arrays import Plain
from lstmcore.debug.explain.scalars import OPERATIONS, Number, Scalars, Tape
from lstmcore.debug.explain.watch import Watch, equation, telling
from lstmcore.ops.cells import Cell
from lstmcore.ops.losses.of_numbers import mean_backward, mean_forward, squared, squared_slope
from lstmcore.ops.masking import masking_forward
from lstmcore.ops.recurrence import reference

PACKAGE = Path(ops.__file__).parents[1]


class Step(NamedTuple):
    """What goes into a training step of one row. targets: of the squared error; or dy, the gradient of the outputs."""

    params: Mapping[str, np.ndarray]
    x: np.ndarray  # (T, 1, I)
    state0: tuple[np.ndarray, ...]  # (1, H) each
    mask: np.ndarray | None = None  # (T, 1) bool
    targets: np.ndarray | None = None  # (T, 1, H)
    dy: np.ndarray | None = None  # (T, 1, H)
    dstate: tuple[np.ndarray, ...] | None = None  # (1, H) each; None: the final state is not used


class Line(NamedTuple):
    """A line of the package's source, and the equation that its comment cites; 0: none."""

    file: str
    line: int
    equation: int


class Graph(NamedTuple):
    """The numbers of a step, each behind its operands; which bear a name; and which is the loss."""

    cell: Cell
    shape: tuple[int, int, int]  # T, I, H
    masked: bool
    numbers: list[Number]
    names: dict[str, tuple[int, int]]  # name -> the first and the last number that bore it: a mask chooses anew
    calls: dict[int, tuple[str, int]]  # a number -> the function that gave it, and what that was given
    blocks: tuple[str, ...]  # what the step calls its pre-activations
    loss: int
    named_at: dict[int, list[tuple[str, int]]]

    def value(self, name: str) -> float:
        """The number that bears the name at the end."""
        return self.numbers[self.names[name][1]].value

    def lines(self, number: int) -> list[Line]:
        """What made it, and then what only gave it a name: h = n, say."""
        made = self.numbers[number].lines
        at = [telling(made)] if made else []
        return [_line(*each) for each in dict.fromkeys(at + self.named_at.get(number, []))]

    def plain(self) -> Plain:
        """As JSON holds it: of the values only those of leaves and constants, from which a page replays all others."""
        sites: dict[Line, int] = {}
        at = [[sites.setdefault(line, len(sites)) for line in self.lines(k)] for k in range(len(self.numbers))]
        kinds = ["leaf", "constant", *OPERATIONS]
        T, I, H = self.shape
        return {
            "cell": self.cell.name, "T": T, "I": I, "H": H, "masked": self.masked, "loss": self.loss,
            "states": self.cell.states, "gates": self.cell.gates, "blocks": self.blocks,
            "words": dict(self.cell.words), "previous": self.cell.previous,
            "ends": {gate: ends for gate, ends in self.cell.ends.items() if np.isfinite(ends).all()},
            "fed": {"W_ih": self.cell.input_blocks, "W_hh": self.cell.recurrent_blocks, **self.cell.biases},
            "kinds": kinds, "op": [kinds.index(n.op) for n in self.numbers],
            "of": [list(n.operands) if n.operands else _plain(n.value) for n in self.numbers],
            "step": [-1 if n.step is None else n.step for n in self.numbers],
            "at": at, "sites": list(sites),
            "names": {name: [first] if first == last else [first, last] for name, (first, last) in self.names.items()},
            "calls": {str(k): [function, of] for k, (function, of) in self.calls.items()},
        }  # fmt: skip


def graph(cell: Cell, step: Step, engine: Any = reference) -> Graph:
    """Runs the engine, forward and back, over numbers that remember how they were made.

    engine: the reference, or a mutant of it. Shapes are as `Step` says; they are not looked at here.
    """
    tape, watch = Tape(), Watch(cell)
    mask_outputs: Any = masking_forward  # of any array library
    params = {name: tape.leaves(value) for name, value in step.params.items()}
    x, state0 = tape.leaves(step.x), tuple(map(tape.leaves, step.state0))
    mask = None if step.mask is None else tape.leaves(step.mask)
    for name, value in params.items():
        watch.name(name, value)
    watch.name("x", x[:, 0, ...])
    for state, value in zip(cell.states, state0):
        watch.name(f"{state}0", value[0, ...])
    if mask is not None:
        watch.name("mask", mask[:, 0])
    with watch, np.errstate(all="ignore"):
        cache = engine.forward(cell, x, params, state0, mask)
        y: Scalars = mask_outputs(cache.states[0][1:, ...], mask)
    watch.name("y", y[:, 0, ...])
    loss, dy, dstate = _loss(tape, watch, cell, step, y, tuple(s[-1, ...] for s in cache.states), mask)
    with watch, np.errstate(all="ignore"):
        dx, dstate0, dparams = engine.backward(cell, dy, dstate, params, cache)
    for state, value in zip(cell.states, dstate0):
        watch.name(f"d{state}0", value[0, ...])
    T, _, I = step.x.shape
    numbers = tape.numbers
    looked_at = _behind(numbers, loss, dx, *dstate0, *dparams.values())
    names: dict[str, tuple[int, int]] = {}
    for name, k in watch.names:
        # A variant's step computes what it leaves out, too, and looks at none of it. A mistake is to be seen.
        if k in looked_at or engine is not reference or name.partition("[")[0] in cell.gates:
            names[name] = (names[name][0] if name in names else k, k)
    _name_second_terms(numbers, names)
    blocks = watch.blocks or tuple(f"a_{gate}" for gate in cell.gates)  # a variant takes them all as one argument
    return Graph(cell, (T, I, y.shape[-1]), mask is not None, numbers, names, watch.calls, blocks, loss, watch.named_at)


def _loss(
    tape: Tape, watch: Watch, cell: Cell, step: Step, y: Scalars, last: tuple[Scalars, ...], mask: Scalars | None
) -> tuple[int, Scalars, tuple[Scalars, ...]]:
    """The loss, dy (T, 1, H) and the gradient of the final state."""
    if step.targets is not None:
        every: Any = None if mask is None else tape.broadcast_to(mask[..., None], y.shape)
        targets: Any = tape.leaves(step.targets)
        outputs: Any = y
        watch.name("target", targets[:, 0, ...])
        loss: Any = mean_forward(squared, outputs, targets, every)
        slope: Any = mean_backward(squared_slope, outputs, targets, every)
        total, dy = loss, slope
    else:
        dy = tape.leaves(step.dy)
        total = tape.sum(y * dy)  # the loss whose gradient is dy
    watch.name("dy", dy[:, 0, ...])
    dstate = tuple(tape.zeros_like(s) for s in last)
    if step.dstate is not None:
        dstate = tuple(map(tape.leaves, step.dstate))
        for state, d, s in zip(cell.states, dstate, last):
            watch.name(f"d{state}_last", d[0, ...])
            total = total + tape.sum(s * d)
    return int(total.places), dy, dstate


def _behind(numbers: list[Number], loss: int, *gradients: Scalars) -> set[int]:
    """What these were made of, themselves, and all that was given."""
    found = {loss, *(int(k) for each in gradients for k in each.places.ravel())}
    for k in reversed(range(len(numbers))):
        if k in found:
            found.update(numbers[k].operands)
        elif not numbers[k].operands:
            found.add(k)
    return found


def _name_second_terms(numbers: list[Number], names: dict[str, tuple[int, int]]) -> None:
    """dc is what came along c and, the second term of (8), what comes through h: `dc_through`."""
    for name, (first, _) in list(names.items()):
        made, along = numbers[first], names.get(name.replace("[", "_along["))
        if made.op == "+" and along is not None and made.operands[0] == along[1]:
            names[name.replace("[", "_through[")] = (made.operands[1],) * 2


def _plain(value: float) -> float | str:
    """As JSON holds it, which has no numbers that are not finite."""
    return value if np.isfinite(value) else {np.inf: "Infinity", -np.inf: "-Infinity"}.get(value, "NaN")


@cache
def _line(file: str, line: int) -> Line:
    path = Path(file)
    inside = path.is_relative_to(PACKAGE)
    return Line(path.relative_to(PACKAGE.parent).as_posix() if inside else file, line, equation(file, line) or 0)
