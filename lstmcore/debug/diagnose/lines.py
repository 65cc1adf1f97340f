"""Each line of the way back judged by itself, from its own inputs: then mistakes do not multiply, and all are named.

This needs the gradients of the pre-activations, da (T, B, H) of every gate, and is the sharper for dh and dc: as they
were seen in the program, or, in a short case, as its weight gradients tell them. Every prediction is made of what the
program itself had one line before, by the package's own text: the step for all t at once, the loop and the products
around a step that gives back the program's own numbers.
"""

from collections.abc import Callable, Iterator
from itertools import combinations, product
from typing import NamedTuple

import numpy as np

from lstmcore.arrays import namespace
from lstmcore.debug.diagnose.inside import GATES, Seen, kept_ahead, seen_inside, with_step
from lstmcore.debug.diagnose.rounded import Rounded
from lstmcore.debug.diagnose.training_step import Prepared
from lstmcore.debug.diagnose.trial import BREAKS, Bench, Numbers, residual, within
from lstmcore.debug.mistakes import Edit, Mistake, mutant
from lstmcore.debug.mistakes.mistake import ENGINE
from lstmcore.ops.activation import array_maths
from lstmcore.ops.cells.cell import Step
from lstmcore.ops.cells.symbol import Number

CARRY = "dc_prev = dc * f"
INTO_C = ("dc = ", "tanh_c", "(one - tanh_c")  # how right lines begin that make dc
ROUNDS = 3  # what is found is taken as made, and the rest judged again, this many times


class Judgement(NamedTuple):
    """What was found line by line."""

    mistakes: tuple[Mistake, ...]
    unknown: tuple[str, ...]  # arrays that are off, and nothing known says why
    right: tuple[str, ...]


def judge(bench: Bench, known: list[Mistake]) -> Judgement | None:
    """Every mistake, each by its own line; None if the case does not hold enough, or nothing is found."""
    seen = seen_inside(bench)
    if seen is None:
        return None
    known = [m for m in known if m.afterwards or (not m.function and all(edit.module in ENGINE for edit in m.edits))]
    found: tuple[Mistake, ...] = ()
    for _ in range(ROUNDS):
        lines = Lines(Bench(bench.reading, (*bench.base, *found)), seen)
        judgement = lines.judge(known)
        found += judgement.mistakes
        if not judgement.mistakes or not judgement.unknown:
            break
    return judgement._replace(mistakes=found) if found else None


class Lines:
    """The lines of one case's way back."""

    def __init__(self, bench: Bench, seen: Seen):
        self.bench: Bench = bench
        self.seen: Seen = seen

    def judge(self, known: list[Mistake]) -> Judgement:
        """Which lines are off, and the fewest known mistakes that say why."""
        given = {
            k: self.seen.arrays[k] if k in self.seen.arrays else self.bench.case.grads[k] for k in self.seen.judged
        }
        right, allowed = self.numbers(), self.allowed()
        off = {k for k in given if not within({k: given[k]}, right, allowed)}
        explains: dict[tuple[Mistake, ...], set[str]] = {}
        moved: dict[Mistake, set[str]] = {}
        for mistakes in self._sets(known, moved, off, explains):
            try:
                numbers = self.numbers(*mistakes)
            except (*BREAKS, ZeroDivisionError):
                continue
            changed = {k for k in given if np.any(numbers[k] != right[k])}
            if len(mistakes) == 1:
                moved[mistakes[0]] = changed
            near = {k for k in changed & off if residual({k: given[k]}, numbers) < self.bench.chaos}
            if near and all(within({k: numbers[k]}, right, allowed) for k in changed - off):
                bound = self.allowed(*mistakes)
                explains[mistakes] = {k for k in near if within({k: given[k]}, numbers, bound)}
        found: list[Mistake] = []
        left = set(off)
        while best := max(explains, key=lambda m: (len(explains[m] & left), -len(m)), default=()):
            if not explains[best] & left:
                break
            left -= explains[best]
            found += [m for m in best if m not in found]
        return Judgement(tuple(found), tuple(k for k in given if k in left), tuple(k for k in given if k not in off))

    def _sets(
        self,
        known: list[Mistake],
        moved: dict[Mistake, set[str]],
        off: set[str],
        explains: dict[tuple[Mistake, ...], set[str]],
    ) -> Iterator[tuple[Mistake, ...]]:
        """Singles; then, for an array that none explains, a line of the products and what was done to it at the end."""
        yield from ((m,) for m in known)
        ends = off & set(self.bench.case.grads)
        left = ends.difference(*explains.values())
        inside = [m for m, keys in moved.items() if not m.afterwards and keys and keys <= ends]
        after = [m for m, keys in moved.items() if m.afterwards and keys and keys <= ends]
        yield from ((a, b) for a, b in product(inside, after) if moved[a] & moved[b] & left)
        for key in off.difference(ends, *explains.values()):  # two on one line of the loop
            yield from combinations([m for m, keys in moved.items() if keys == {key}], 2)

    def numbers(self, *mistakes: Mistake) -> Numbers:
        """What every line gives, from the program's own numbers one line before, with these mistakes."""
        with np.errstate(all="ignore"):
            lines, grads = self._run(mistakes, self.bench.prepared(), lambda name, a: a)
        answer = {**lines, **self.bench.handed(mistakes, grads)}
        return {k: answer[k] for k in self.seen.judged}

    def allowed(self, *mistakes: Mistake) -> Numbers:
        """How far the program's arrays may be from that: rounding, and what its own numbers before may be off."""
        bench, seen, unit = self.bench, self.seen, self.bench.reading.unit

        def lift(name: str, a: np.ndarray) -> Rounded:
            return Rounded(a, a**2 + (seen.slack[name] / unit) ** 2)

        with np.errstate(all="ignore"):
            exact = self._run(mistakes, bench.prepared(), lambda name, a: a)[1]
            lines, grads = self._run(mistakes, bench.rounded(()), lift)
        deviations = {name: np.sqrt(a.variance) for name, a in lines.items()}
        deviations |= bench.spread(mistakes, exact, {name: np.sqrt(a.variance) for name, a in grads.items()})
        numbers, tiny = self.numbers(*mistakes), np.finfo(float).tiny
        own = {k: seen.slack[k] if k in seen.slack else bench.reading.written[k].moved(numbers[k]) for k in numbers}
        return {k: unit * bench.deviations * deviations[k] + own[k] + tiny for k in numbers}

    def _run(
        self, mistakes: tuple[Mistake, ...], given: Prepared, lift: Callable[[str, np.ndarray], Number]
    ) -> tuple[dict[str, Number], dict[str, Number]]:
        """The lines of the loop, (T, B, H) each, and the gradients that it ends in, over any arrays."""
        params, x, _, _, dy, dstate = given
        cache, xp = kept_ahead(self.bench, given), namespace(x)
        c_prev, c = cache.states[1][:-1], cache.states[1][1:]
        kept = (*(cache.gates[:, :, k] for k in range(4)), c_prev, c)
        _, f, _, o = kept[:4]
        shown = xp.tanh(c)
        slope = o * (1 - shown * shown)  # of (8)
        own = {name: lift(name, a) for name, a in self.seen.arrays.items()}
        last = (dstate["h0"], dstate["c0"])

        engine = mutant(*self.bench.base, *mistakes)
        step = engine.cells["lstm"].make_step(array_maths(xp))[1]

        def part(wanted: Callable[[Edit], bool]) -> Step:
            """The step with those edits alone, of the function that it is."""
            every = (*self.bench.base, *mistakes)
            chosen = [m if m.function else m.only(wanted) for m in every if m.function or any(map(wanted, m.edits))]
            return mutant(*chosen).cells["lstm"].make_step(array_maths(xp))[1]

        carry = part(lambda edit: edit.right == CARRY)
        into_c = part(lambda edit: edit.right != CARRY)
        from_c = part(lambda edit: edit.right in edit.wrong or not edit.right.startswith(INTO_C))
        dh, along, t = xp.zeros_like(dy), xp.zeros_like(dy), len(x)

        def step_backward(dh_t: Number, along_t: Number, *_: Number) -> tuple[Number, ...]:
            nonlocal t
            t -= 1
            dh[t, ...], along[t, ...] = dh_t, along_t
            had, at = own["dh"][t, ...] if "dh" in own else dh_t, [a[t, ...] for a in kept]
            if "dc" in own:
                dc_prev = carry(had, own["dc"][t, ...] - had * slope[t, ...], *at)[4]
            else:
                dc_prev = step(had, along_t, *at)[4]
            return (*(own[name][t, ...] for name in GATES), dc_prev)

        cell = with_step(engine, step_backward)
        dx, (dh0, dc0), grads = engine.loop.backward(cell, dy, last, params, cache)
        ends = {**grads, "x": dx, "h0": dh0, "c0": dc0}

        had_dh = own.get("dh", dh)
        had_along = own["dc"] - had_dh * slope if "dc" in own else along
        lines = {"dh": dh, **dict(zip(GATES, step(had_dh, had_along, *kept)))}
        if "dc" in own:  # the program's own, whatever made it
            lines |= dict(zip(GATES[:3], from_c(had_dh, had_along, *kept)))
            lines["dc"] = into_c(had_dh, along, *kept)[4] / f
        return lines, ends
