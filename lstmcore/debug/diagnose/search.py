"""Which mistake, or which two, give exactly these numbers?

Singles are all run. So are pairs of a mistake in the loop and one that changes all finished gradients alike (a factor,
an order of blocks), or only those that are off: that costs no run. The other pairs are too many, and are put in order
by what the singles tell of them: the effects of two mistakes on an array add up, as long as they are small or in
different places. The pairs whose sum leaves least of the deviation are run first. Effects that do not add up are found
only if one of the two explains much alone: the singles that explain most are run with every other. Two that change what
the layers are given may explain nothing alone, and are run last. Every pair that is named has been run.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import combinations, islice
from typing import NamedTuple

import numpy as np

from lstmcore.debug.diagnose.trial import Bench, Numbers, residual, same, within
from lstmcore.debug.mistakes import MISTAKES, VARIANT_MISTAKES, Mistake
from lstmcore.debug.mistakes.mistake import GIVEN, READ

PAIRS = 500  # how many pairs are run at most


class Suspicion(NamedTuple):
    """A set of mistakes, and how far the given gradients are from the numbers that it gives."""

    mistakes: tuple[Mistake, ...]
    residual: float


class Search:
    """Everything that was run for one case."""

    def __init__(self, bench: Bench, tell: Callable[[str], None] = lambda words: None):
        self.bench: Bench = bench
        self.grads: Numbers = bench.case.grads
        self.tell: Callable[[str], None] = tell
        self.tried: list[Suspicion] = []

    @property
    def right(self) -> bool:
        """Whether rounding alone is left between the gradients and those without a mistake."""
        (suspicion,) = self.run([()])
        return self.explains(suspicion)

    def run(self, sets: Iterable[tuple[Mistake, ...]]) -> list[Suspicion]:
        """Runs each set of mistakes. Two that cannot both be made are left out."""
        ran = []
        for mistakes in sets:
            with suppress(ValueError):
                ran.append(Suspicion(mistakes, residual(self.grads, self.bench.numbers(*mistakes))))
            if (tried := len(self.tried) + len(ran)) % OFTEN == 0 and tried:
                self.tell(f"{tried} sets of mistakes tried")
        self.tried.extend(ran)
        return ran

    def explains(self, suspicion: Suspicion) -> bool:
        """True if rounding alone is left between the gradients and these numbers."""
        if not suspicion.residual < self.bench.chaos:
            return False
        mistakes = suspicion.mistakes
        return within(self.grads, self.bench.numbers(*mistakes), self.bench.allowed(*mistakes))

    def found(self, size: int) -> list[Suspicion]:
        """The best explanation by this many mistakes, and all with the same numbers; none if nothing explains them. A
        number that was fitted to the gradients comes nearer to them than it should: the catalogue's own come first.
        """
        nearest = sorted((s for s in self.tried if len(s.mistakes) == size), key=lambda s: s.residual)
        good = [s for s in nearest[:CLOSEST] if self.explains(s)]
        if not good:
            return []
        best = min(good, key=lambda s: (sum(m not in KNOWN for m in s.mistakes), s.residual))
        numbers, bound = self.bench.numbers(*best.mistakes), self.bench.bound(*best.mistakes)
        answer = {frozenset(best.mistakes): best}  # each set of mistakes once, whatever their order
        for s in nearest:
            if s.residual > 2 * best.residual + CLOSE:
                break
            new = frozenset(s.mistakes) not in answer
            if new and same(self.bench.numbers(*s.mistakes), numbers, bound):
                answer[frozenset(s.mistakes)] = s
        return list(answer.values())

    def pairs(self, right: Numbers, known: list[Mistake]) -> None:
        """Runs pairs of the singles tried until one explains the gradients; then its kin, which may do so too."""
        singles = self._able(right)
        known = [m for m in known if m in singles]
        self._until_one_explains(right, known, singles)
        for best in self.found(2)[:1]:
            for a, b in (best.mistakes, best.mistakes[::-1]):
                self.run(pair for m in known if m != a and m.module == b.module for pair in ((a, m), (m, a)))

    def _able(self, right: Numbers) -> dict[Mistake, Numbers]:
        """The singles that can be one of two, and their numbers: those that move no number that is right.

        Two mistakes do not cancel there. A variant has not every line: what cannot be made is left out too.
        """
        allowed, able = self.bench.allowed(), {}
        kept = {k: np.abs(self.grads[k] - right[k]) <= allowed[k] for k in right}
        for suspicion in self.tried:
            if len(suspicion.mistakes) == 1 and np.isfinite(suspicion.residual):
                numbers = self.bench.numbers(*suspicion.mistakes)
                moved = {k: np.abs(numbers[k] - right[k]) for k in right}
                if any(np.any(a) for a in moved.values()) and not any(
                    np.any(moved[k] > 2 * allowed[k], where=kept[k]) for k in moved
                ):
                    able[suspicion.mistakes[0]] = numbers
        return able

    def _until_one_explains(self, right: Numbers, known: list[Mistake], able: dict[Mistake, Numbers]) -> None:
        """Pairs, those that promise most first. known: what is run with each mistake that changes every array."""
        singles, numbers = list(able), list(able.values())
        everywhere = [m for m, n in zip(singles, numbers) if m.afterwards and _moves_all(n, right)]
        self.run((m, after) for m in known if not m.afterwards for after in everywhere)
        if any(within({k: self.grads[k]}, right, self.bench.allowed()) for k in right):  # where some are right
            self.run((m, after) for m in singles if not m.afterwards for after in singles if after.afterwards)
        if self._one_explains(self.tried):
            return
        self.tell(f"{len(self.tried)} sets of mistakes tried; now the pairs that promise most")
        ranked = _ranked(self.grads, right, numbers)
        if self._tried_until_one_explains(islice(((singles[a], singles[b]) for a, b in ranked), PAIRS)):
            return
        self.tell(f"{len(self.tried)} sets of mistakes tried; now what explains most alone, with every other")
        alone = unexplained(self.grads, right, [able[m] for m in known])
        for k in np.argsort(alone, kind="stable")[:LEADERS]:
            if self._one_explains(self.run((known[k], m) for m in known if m is not known[k])):
                return
        self.tell(f"{len(self.tried)} sets of mistakes tried; now pairs around the layers")
        forward = [m for m in known if any(edit.right in (READ, GIVEN) for edit in m.edits)]
        self._tried_until_one_explains(combinations(forward, 2))

    def _tried_until_one_explains(self, pairs: Iterator[tuple[Mistake, ...]]) -> bool:
        while batch := list(islice(pairs, BATCH)):
            if self._one_explains(self.run(batch)):
                return True
        return False

    def _one_explains(self, tried: list[Suspicion]) -> bool:
        nearest = sorted((s for s in tried if len(s.mistakes) == 2), key=lambda s: s.residual)[:CLOSEST]
        return any(self.explains(s) for s in nearest)


def _moves_all(numbers: Numbers, right: Numbers) -> bool:
    """True if every array that holds anything is changed: then what the loop did wrong shows in none of them."""
    return all(np.any(numbers[key] != right[key]) or not np.any(right[key]) for key in right)


KNOWN = frozenset((*MISTAKES, *VARIANT_MISTAKES))
OFTEN = 2000  # sets of mistakes between two words of how far it is
CLOSEST = 5  # this many of the nearest are compared with their own rounding bound
CLOSE = 1e-6  # residuals nearer to each other than this may be of the same numbers; the numbers then decide
BATCH = 50
LEADERS = 6  # this many of the best single mistakes are run with every other: effects that do not add up


def unexplained(grads: Numbers, right: Numbers, singles: list[Numbers]) -> np.ndarray:
    """What each single leaves of the deviation, as a sum of logarithms over arrays: the least explains the most."""
    score = np.zeros(len(singles))
    for key, given in grads.items():
        size = float(np.linalg.norm(given - right[key])) or float(np.linalg.norm(right[key])) or 1.0
        left = np.array([float(np.linalg.norm(given - single[key])) for single in singles]) / size
        score += np.log(np.maximum(np.nan_to_num(left, nan=np.inf), 1e-7))
    return score


def _ranked(grads: Numbers, right: Numbers, singles: list[Numbers]) -> list[tuple[int, int]]:
    """Pairs of singles, those first whose effects add up to most of the deviation.

    For each array: the deviation D and the effects d_a of the singles, and |D - d_a - d_b| for all pairs from their
    inner products. An array explained to the last digit weighs as much as one explained tenfold better, hence the
    logarithms; what is below 1e-7 of the deviation counts as explained.
    """
    N = len(singles)
    score = np.zeros((N, N))
    for key, given in grads.items():
        D = (given - right[key]).ravel()
        effects = np.array([(single[key] - right[key]).ravel() for single in singles]).reshape(N, -1)
        size = float(np.linalg.norm(D)) or float(np.linalg.norm(right[key])) or 1.0
        with np.errstate(all="ignore"):
            left = D - effects  # what each single leaves
            squares = (
                np.sum(left**2, axis=1)[:, None] + np.sum(effects**2, axis=1)[None, :] - 2 * left @ effects.T
            ) / size**2
        score += np.log(np.maximum(np.nan_to_num(squares, nan=np.inf), 1e-14))
    a, b = np.triu_indices(N, 1)
    order = np.argsort(score[a, b], kind="stable")
    return list(zip(a[order].tolist(), b[order].tolist()))
