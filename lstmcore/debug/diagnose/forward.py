"""Which function is it? Somebody's outputs, compared with those of an LSTM and of what else people compute.

Gradients can only be judged for the function that was differentiated. So where outputs are given, they come first: the
mistakes that change the way forward are run, alone and in twos, and what gives these outputs is taken for the function.
"""

from itertools import combinations, product
from typing import NamedTuple

import numpy as np

from lstmcore.debug.diagnose.training_step import Prepared, outputs
from lstmcore.debug.diagnose.trial import BREAKS, Bench, Numbers, residual, within
from lstmcore.debug.mistakes import Mistake, is_ahead, mutant
from lstmcore.debug.mistakes.around_layers import READ_IN_ORDER
from lstmcore.debug.mistakes.mistake import AROUND
from lstmcore.ops.cells import Cell
from lstmcore.ops.cells.symbol import Number


class Leaves(NamedTuple):
    """Where outputs leave those of every known function."""

    step: int
    array: str  # "y", or the first array of the step that is off
    off: float  # largest difference, relative to the largest number
    given: tuple[str, ...]  # the arrays that could tell

    def __str__(self) -> str:
        where = f"{'gate ' if self.array not in ('y', 'h', 'c') else ''}{self.array}"
        more = "" if len(self.given) > 1 else "; with c and the gates (steps=) it can be told in which"
        return f"your forward leaves this function at step {self.step}, in {where} (off by {self.off:.1e}){more}"


class Forward:
    """The forward arrays of a case, and what mistakes make of them."""

    order: tuple[str, ...]  # of the arrays, as they are computed
    final: tuple[str, ...]  # the names of the final states, where they alone came out

    def __init__(self, bench: Bench):
        self.bench: Bench = bench
        self.cell: Cell = bench.case.kind
        steps = bench.case.steps
        single = tuple(bench.case.state) == tuple(f"{name}0" for name in self.cell.states)  # one layer, one direction
        self.order = (*self.cell.gates, *self.cell.states[::-1], "y") if single else ("y",)
        self.final = bench.case.top if steps.get("y", bench.case.x).ndim == 2 else ()
        self.seen: Numbers = {n: self._real(steps[n].astype(float)) for n in self.order if n in steps}

    def numbers(self, *mistakes: Mistake) -> Numbers:
        """The same arrays with these mistakes. Raises what a program with two mistakes may raise."""
        return self._run(mistakes, self.bench.prepared(*mistakes))

    def explained(self, *mistakes: Mistake) -> bool:
        """Whether rounding alone is left between the arrays and these numbers."""
        try:
            numbers = self.numbers(*mistakes)
        except BREAKS:
            return False
        if not residual(self.seen, numbers) < self.bench.chaos:
            return False
        return within(self.seen, numbers, self._allowed(mistakes, numbers))

    def found(self, known: list[Mistake], size: int) -> tuple[Mistake, ...] | None:
        """The mistakes, this many, that give these outputs; None if no known ones do.

        Of two, one lies in what the layers are given, or in how weights are read.
        """
        able = [m for m in known if _ahead(m)]
        if size == 1:
            able.sort(key=lambda m: (not (self.bench.reading.open_order and m in READ_IN_ORDER), not m.function))
            return next(((m,) for m in able if self.explained(m)), None)
        right = self.numbers()
        able = [m for m in able if self._moves(m, (), right, {n: np.zeros(()) for n in right})]
        around = [m for m in able if m.module == AROUND]
        inside = [m for m in able if m.module != AROUND]
        sets = [*product(around, inside), *combinations(around, 2)]
        return next((mistakes for mistakes in sets if self.explained(*mistakes)), None)

    def leaves(self) -> Leaves:
        """The first step and array that are off."""
        numbers = self.numbers()
        allowed = self._allowed((), numbers)
        off = {n: ~(np.abs(self.seen[n] - numbers[n]) <= allowed[n]) for n in self.seen}
        steps = {n: int(np.argmax(a.any(axis=(1, 2)))) if a.ndim == 3 else 0 for n, a in off.items() if a.any()}
        step = min(steps.values())
        name = next(n for n in self.order if steps.get(n) == step)
        return Leaves(step, name, residual({name: self.seen[name]}, numbers), tuple(self.seen))

    def kept(self, known: list[Mistake], function: tuple[Mistake, ...]) -> list[Mistake]:
        """Those that leave the outputs of a function as they are: where these are right, others were not made."""
        if not self.seen:
            return known
        right = self.numbers(*function)
        twice = {n: 2 * a for n, a in self._allowed(function, right).items()}
        return [m for m in known if not _ahead(m) or not self._moves(m, function, right, twice)]

    def _moves(self, mistake: Mistake, function: tuple[Mistake, ...], right: Numbers, bound: Numbers) -> bool:
        try:
            return not within(self.numbers(*function, mistake), right, bound)
        except BREAKS:
            return False

    def _allowed(self, mistakes: tuple[Mistake, ...], numbers: Numbers) -> Numbers:
        reading, variances = self.bench.reading, self._run(mistakes, self.bench.rounded(mistakes))
        return {
            n: reading.unit * self.bench.deviations * np.sqrt(variances[n].variance) + reading.written[n].moved(a)
            for n, a in numbers.items()
        }

    def _run(self, mistakes: tuple[Mistake, ...], given: Prepared) -> dict[str, Number]:
        params, x, mask, state, *_ = given
        with np.errstate(all="ignore"):  # some mistakes explode
            y, cache = outputs(mutant(*mistakes).twin(self.bench.model, params), x, mask, state, self.final)
        arrays = {"y": y}
        if len(self.order) > 1:
            arrays |= {name: s[1:] for name, s in zip(self.cell.states, cache.states)}
            arrays |= {gate: cache.gates[:, :, k] for k, gate in enumerate(self.cell.gates)}
        return {n: self._real(arrays[n]) for n in self.seen}

    def _real(self, a: Number) -> Number:
        """Zero on padding, where some keep the state and some give zeros: nobody reads it."""
        mask = self.bench.case.mask
        return a if mask is None or a.ndim == 2 else a * mask[:, :, None]


def _ahead(mistake: Mistake) -> bool:
    """Whether it may change the way forward."""
    return not mistake.afterwards and any(map(is_ahead, mistake.edits))
