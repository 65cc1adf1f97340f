"""By day a product of many factors runs on a few of its cases: each two values that meet in it meet in those."""

from itertools import combinations, product

import pytest
from cases import LAYERS, MASKS
from covering import covering, pairs
from engines import ALL_ENGINES

FACTORS = {
    "layers, masks, engines, dtypes": {
        "name": tuple(LAYERS),
        "mask": MASKS,
        "engine": ALL_ENGINES,
        "dtype": ("float32", "float64"),
    },
    "without a GPU": {"name": tuple(LAYERS), "mask": MASKS, "engine": ALL_ENGINES[:2]},
    "two factors": {"name": ("a", "b", "c"), "mask": (1, 2)},
    "one factor": {"mask": MASKS},
}


def whole(factors):
    return [dict(zip(factors, values)) for values in product(*factors.values())]


@pytest.mark.parametrize("apart", [(), ("name", "mask")], ids=["", "apart"])
@pytest.mark.parametrize("factors", FACTORS.values(), ids=FACTORS)
def test_every_pair_is_covered(factors, apart):
    """Counted one by one here; and no more cases than half as many again as the two largest factors ask for."""
    cases = whole(factors)
    chosen = [cases[k] for k in covering(cases, apart)]
    for one, other in product(factors, factors):
        if one == other or {one, other} <= set(apart):
            assert {case[one] for case in chosen} == set(factors[one])
        else:
            met = {(case[one], case[other]) for case in chosen}
            assert met == set(product(factors[one], factors[other]))
    sizes = [len(values) for values in factors.values()]
    crossed = [two for two in combinations(factors, 2) if not set(two) <= set(apart)]
    least = max([len(factors[one]) * len(factors[other]) for one, other in crossed], default=max(sizes))
    assert least <= len(chosen) <= max(1.5 * least, max(sizes))


def test_what_is_not_there_is_not_asked_for():
    """A product with holes, as `-k` and engines that are not here make them: the pairs of what is left."""
    cases = [case for case in whole(FACTORS["without a GPU"]) if case["name"] != "gru" or case["mask"] == "gaps"]
    chosen = covering(cases)
    assert set().union(*(pairs(cases[k]) for k in chosen)) == set().union(*map(pairs, cases))
    assert covering([]) == []
    assert covering([{}]) in ([], [0])


def test_the_same_cases_everywhere():
    """Workers of one suite must agree on what runs."""
    cases = whole(FACTORS["layers, masks, engines, dtypes"])
    assert covering(cases) == covering(cases)
