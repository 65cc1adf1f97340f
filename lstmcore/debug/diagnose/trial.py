"""Runs a case rightly, and with mistakes in it: the numbers that come out, and how far rounding may move them."""

from functools import lru_cache
from math import sqrt
from typing import Any, cast

import numpy as np

from lstmcore.debug.case import Case
from lstmcore.debug.diagnose.loss import settled
from lstmcore.debug.diagnose.read_case import Reading
from lstmcore.debug.diagnose.rounded import Rounded, deviations
from lstmcore.debug.diagnose.training_step import Prepared, backward, forward, outputs
from lstmcore.debug.mistakes import Edit, Mistake, is_ahead, mutant
from lstmcore.debug.mistakes.mistake import AROUND, HAND_OVER
from lstmcore.layers import Layer
from lstmcore.ops.cells.symbol import Number
from lstmcore.ops.recurrence import Cache

Numbers = dict[str, np.ndarray]
BREAKS = (
    TypeError,
    ValueError,
    KeyError,
    IndexError,
    AttributeError,
    NameError,
)  # what a program with two mistakes may raise
SAMPLES = 8  # runs in float32: their scatter is then known to a quarter


class Bench:
    """One case on the bench. What is run once is kept. base: how its function differs from the plain one.

    Most mistakes lie on the way back, so the way forward is kept too: nobody can write to what it was given.
    """

    def __init__(self, reading: Reading, base: tuple[Mistake, ...] = ()):
        self.reading: Reading = reading
        self.model: Layer = reading.model
        self.base: tuple[Mistake, ...] = base
        self.case: Case = reading.case
        if reading.loss is not None:
            self.case = self.case._replace(dy=self._upstream(base))
        self._prepared: dict[tuple[Edit, ...], Prepared] = {}
        self._numbers = lru_cache(maxsize=512)(self._run)  # some may be large
        self._ahead = lru_cache(maxsize=2)(self._run_ahead)  # so are these
        self._bounds = lru_cache(maxsize=64)(self._bound)
        self._scatter = lru_cache(maxsize=8)(self._scattered)  # this many arrays for each of the samples
        n = sum(value.size for value in self.case.grads.values())
        self.deviations: float = deviations(n)
        lost = max(
            float(np.max(p.moved(a), initial=0) / np.max(np.abs(a), initial=1e-300))
            for a, p in ((self.case.grads[key], reading.written[key]) for key in self.case.grads)
        )
        self.chaos: float = 100 * sqrt(max(reading.unit, lost))  # what is farther off, relatively, no rounding explains

    def numbers(self, *mistakes: Mistake) -> Numbers:
        """The gradients with these mistakes, of the keys that the case gives.

        Raises ValueError for mistakes that cannot be made together: on one line, or such that the program breaks.
        """
        try:
            ours = self._numbers(tuple(m for m in mistakes if not m.afterwards))
            return self.handed(mistakes, ours)
        except BREAKS as error:
            if (
                len(self.base) + len(mistakes) < 2 and not self.case.options and self.case.norm is None
            ):  # a variant lacks some lines
                raise
            names = " and ".join(mistake.name for mistake in (*self.base, *mistakes))
            raise ValueError(f"{names} cannot be made together: {error}") from error

    def bound(self, *mistakes: Mistake) -> Numbers:
        """How far rounding may move `numbers`, in units of roundoff: a multiple of the deviation of each number.

        The deviation is that of rounded.py, which takes the errors of different numbers for independent. Where a long
        loop blows one direction up they are not: so the case is also run in float32, from inputs moved by one rounding,
        and where these runs scatter more, over an array, its deviations are raised to what they show.
        """
        return self._bounds(mistakes, False)

    def allowed(self, *mistakes: Mistake) -> Numbers:
        """How far the case's gradients may be from `numbers`: rounding, and the digits that were written down."""
        unit = self.reading.unit
        tiny = float(np.finfo(np.float32 if unit > 2.0**-30 else np.float64).tiny)  # below, it may be flushed to zero
        bound, numbers = self._bounds(mistakes, True), self.numbers(*mistakes)
        return {k: unit * bound[k] + self.reading.written[k].moved(numbers[k]) + tiny for k in bound}

    def _bound(self, mistakes: tuple[Mistake, ...], written: bool) -> Numbers:
        ours = mutant(*self.base, *mistakes).run(self.model, *self.rounded(mistakes, written))
        deviations = {name: np.sqrt(a.variance) for name, a in cast("dict[str, Rounded]", ours).items()}
        before = tuple(m for m in mistakes if not m.afterwards)
        scatter = self._scatter(before)
        for name, deviation in deviations.items():
            seen = np.mean((scatter[name] / np.where(deviation > 0, deviation, np.inf)) ** 2)
            deviations[name] = deviation * max(1.0, float(np.sqrt(seen))) if np.isfinite(seen) else deviation
        return {k: self.deviations * a for k, a in self.spread(mistakes, self._numbers(before), deviations).items()}

    def _scattered(self, mistakes: tuple[Mistake, ...]) -> Numbers:
        """The errors of runs in float32, (SAMPLES, *shape) of each array, in units of roundoff."""
        engine, given, exact = mutant(*self.base, *mistakes), self.prepared(*mistakes), self._numbers(mistakes)
        with np.errstate(all="ignore"):
            samples = [engine.run(self.model, *_moved(given, seed)) for seed in range(SAMPLES)]
            return {name: np.array([s[name] - exact[name] for s in samples]) / 2.0**-24 for name in exact}

    def spread(self, mistakes: tuple[Mistake, ...], exact: Numbers, deviations: Numbers) -> Numbers:
        """The deviations of gradients handed over, by their effect: what comes of moved ones, less what came."""
        step = 2.0**-30
        still = self.handed(mistakes, exact)
        moved = self.handed(mistakes, {name: exact[name] + step * deviations[name] for name in exact})
        return {k: np.hypot((moved[k] - still[k]) / step, still[k]) for k in still}

    def rounded(self, mistakes: tuple[Mistake, ...], written: bool = True) -> tuple[Any, ...]:
        """What the layers get, each number rounded once on its way in, and by what writing it down did to it."""
        lost = self.reading.inputs if written else None

        def rounded(tree: Any) -> Any:
            if isinstance(tree, dict):
                return {name: rounded(value) for name, value in tree.items()}
            if tree is None or tree.dtype == bool:
                return None if tree is None else Rounded(tree)
            moved = lost.moved(tree) / self.reading.unit if lost else 0.0
            return Rounded(tree, tree**2 + moved**2 * (tree != 0))

        given = tuple(map(rounded, self.prepared(*mistakes)))
        if self.reading.loss is None:
            return given
        dy = self.reading.loss.gradients(self.outputs((*self.base, *mistakes), given))[0]  # no number of it is typed in
        most = float(np.max(dy.variance))
        *before, upstream, dstate = given
        if self.case.dy.ndim == 2:  # dy is a part of it
            dstate = {name: Rounded(d.value, d.variance + most) for name, d in dstate.items()}
        return (*before, Rounded(upstream.value, upstream.variance + most * (upstream.value != 0)), dstate)

    def _run(self, mistakes: tuple[Mistake, ...]) -> Numbers:
        engine, given = mutant(*self.base, *mistakes), self.prepared(*mistakes)
        with np.errstate(all="ignore"):  # some mistakes explode
            if not mistakes:  # all that is asked of most readings
                return engine.run(self.model, *given)
            twin = engine.twin(self.model, given[0])
            cache = self._ahead(tuple(m for m in mistakes if any(map(is_ahead, m.edits))))
            return backward(twin, owned(cache, twin), *given[4:])

    def _run_ahead(self, mistakes: tuple[Mistake, ...]) -> Cache:
        params, x, mask, state, *_ = self.prepared(*mistakes)
        return forward(mutant(*self.base, *mistakes).twin(self.model, params), x, mask, state)[2]

    def prepared(self, *mistakes: Mistake) -> Prepared:
        """What the layers get: found once for all mistakes that leave it as it is."""
        every = (*self.base, *mistakes)
        moves_dy = self.reading.loss is not None and "y" not in self.case.steps  # else the function is known
        edits = tuple(
            e for m in every for e in m.edits if moves_dy or (e.module == AROUND and e.right not in HAND_OVER)
        )
        if edits not in self._prepared:
            case = self.case._replace(dy=self._upstream(every)) if moves_dy else self.case
            self._prepared[edits] = _read_only(mutant(*every).prepare(case))
        return self._prepared[edits]

    def outputs(self, every: tuple[Mistake, ...], given: Prepared | None = None) -> Number:
        """What the loss of the case is computed from, with these mistakes; given: what `prepare` gives, of any kind."""
        engine, case = mutant(*every), self.case
        params, x, mask, state, *_ = given or engine.prepare(case)
        with np.errstate(all="ignore"):
            y, _ = outputs(engine.twin(self.model, params), x, mask, state, case.top if case.dy.ndim == 2 else ())
        drawn = case.dropout.get("y")
        return y if drawn is None else y * drawn

    def _upstream(self, every: tuple[Mistake, ...]) -> np.ndarray:
        """dy, as the loss of the case gives it."""
        assert self.reading.loss is not None
        with np.errstate(all="ignore"):
            return np.nan_to_num(self.reading.loss.gradients(self.outputs(every))[0])

    def handed(self, mistakes: tuple[Mistake, ...], ours: Numbers) -> Numbers:
        """lstmcore's gradients as the program hands them over, with these mistakes."""
        answer = mutant(*self.base, *mistakes).hand_over(dict(ours), self.case)
        return {key: self.seen(key, answer[key]) for key in self.case.grads}

    def seen(self, key: str, value: np.ndarray) -> np.ndarray:
        """What is compared of an array: of dx that the case has as zero on padding, the real steps."""
        real = self.reading.real
        return value if key != "x" or real is None else np.where(real[:, :, None], value, 0)


def with_loss_settled(reading: Reading) -> Reading:
    """The reading with what its loss leaves open settled by the outputs, and noted."""
    if reading.loss is None:
        return reading
    y = reading.case.steps.get("y")
    y = Bench(reading).outputs(()) if y is None or y.ndim != reading.case.dy.ndim else y
    loss, word = settled(reading.loss, y)
    notes = [note if note != str(reading.loss) else str(loss) for note in reading.notes]
    return reading._replace(loss=loss, notes=(*notes, *([word] if word else [])))


def owned(cache: Any, layer: Layer) -> Any:
    """The cache of another layer that is made like this one, as this one's."""
    inside = getattr(cache, "parts", None)
    parts = {} if inside is None else {"parts": tuple(map(owned, inside, layer.parts.values()))}
    return cache._replace(owner=layer, **parts)


def _read_only(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {name: _read_only(value) for name, value in tree.items()}
    if isinstance(tree, tuple):
        return tuple(map(_read_only, tree))
    return None if tree is None else np.broadcast_to(tree, tree.shape)


def _moved(tree: Any, seed: int) -> Any:
    """Arrays in float32, each number moved up or down by one rounding."""
    if isinstance(tree, dict):
        return {name: _moved(value, seed + k) for k, (name, value) in enumerate(tree.items())}
    if isinstance(tree, tuple):
        return tuple(_moved(value, 1000 * (seed + 1) + k) for k, value in enumerate(tree))
    if tree is None or tree.dtype == bool:
        return tree
    signs = np.random.default_rng(seed).choice((-1.0, 1.0), tree.shape)
    return (tree * (1 + 2.0**-24 * signs)).astype(np.float32)


def residual(got: Numbers, want: Numbers) -> float:
    """The largest relative error, max |got - want| / max |want|, of any array; infinite where it is not a number."""
    worst = 0.0
    for key in got:
        difference = np.max(np.abs(got[key] - want[key]), initial=0.0)
        scale = np.max(np.abs(want[key]), initial=0.0)
        if difference != 0:
            worst = max(worst, float(difference / scale) if scale > 0 and np.isfinite(scale) else np.inf)
        if np.isnan(difference):
            return np.inf
    return worst


def within(got: Numbers, want: Numbers, allowed: Numbers) -> bool:
    """No number is farther off than that."""
    return all(bool(np.all(np.abs(got[k] - want[k]) <= allowed[k])) for k in got)


def same(got: Numbers, want: Numbers, bound: Numbers) -> bool:
    """The same to the last digits of float64."""
    return within(got, want, {k: 2 * 2.0**-53 * b + np.finfo(np.float64).tiny for k, b in bound.items()})
