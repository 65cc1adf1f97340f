"""Products of layers, masks, engines and dtypes, cut to as few cases as let every two values meet.

A mistake that needs three values at once (this mask, in this layer, on this engine) may slip through by day; nightly
the whole product runs.
"""

from collections.abc import Collection, Hashable, Mapping, Sequence
from itertools import combinations

Case = Mapping[str, Hashable]  # the name of a factor -> its value


def pairs(case: Case, apart: Collection[str] = ()) -> set[frozenset]:
    """Every two values of a case that meet in it, but for those of two factors that are both `apart`; and every value
    by itself."""
    values = list(case.items())
    met = {frozenset(two) for two in combinations(values, 2) if not {two[0][0], two[1][0]} <= set(apart)}
    return met | {frozenset([value]) for value in values}


def covering(cases: Sequence[Case], apart: Collection[str] = ()) -> list[int]:
    """The places of a few of these cases in which all pairs of all of them occur, in their order.

    Greedy: each time the case with the most pairs that are still missing, the first of several.
    """
    having = [pairs(case, apart) for case in cases]
    missing = set().union(*having)
    chosen = []
    while missing:
        best = max(range(len(cases)), key=lambda k: len(having[k] & missing))
        chosen.append(best)
        missing -= having[best]
    return sorted(chosen)
