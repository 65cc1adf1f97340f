"""The kinds of numbers that the pack is made with, held to each other."""

from decimal import Decimal

import numpy as np
import pytest
from golden import arithmetic
from golden.arithmetic import EXACT, Exact, rounded_at_random
from rounding import FUNCTIONS, UNIT_ROUNDOFF, Real, Undecided


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_and_their_slopes(name):
    """Exact slopes are exact derivatives; the others are what they say: within their bounds, or near."""
    kinds = (Real, rounded_at_random(2.0**-30))
    assert FUNCTIONS.keys() == EXACT.keys() == arithmetic.SAMPLED.keys()
    for a in (0.03, 0.7, 3.0) if name == "inverse_root" else (-3.0, -0.7, -0.03, 0.7, 3.0):
        exact = [e.value for e in Exact.of(a).function(name)]
        step = Decimal("1e-15")  # squared, times a third derivative below 100: 1e-28; the rounding of 40 digits: 1e-24
        above, below = (Exact(Decimal(a) + s).function(name)[0].value for s in (step, -step))
        assert abs((above - below) / (2 * step) - exact[1]) < Decimal("1e-23")
        real, sampled = (kind.of(a).function(name) for kind in kinds)
        for want, bounded, many in zip(exact, real, sampled, strict=True):
            assert abs(Decimal(bounded.value) - want) <= Decimal(bounded.error * UNIT_ROUNDOFF["float64"])
            assert abs(many.value[0] - float(want)) <= 1e-14 * max(1, abs(float(want)))
            assert 0 < np.std(many.value) <= 16 * 2.0**-30 * max(1, abs(float(want)))


def test_random_rounding_spreads_as_it_should():
    """A sum of n terms of size 1, added one after the other: rounding k has a deviation of k u."""
    u, n = 2.0**-8, 20
    kind = rounded_at_random(u, samples=2000)
    total = kind.of(1.0)
    for _ in range(n - 1):
        total = total + kind.of(1.0)
    assert total.value[0] == n
    want = u * np.sqrt(sum(k * k for k in range(2, n + 1)))
    # an estimate of a deviation from 2000 draws is off by 1 in sqrt(4000) = 1.6 %; four of these, and second order
    assert np.std(total.value) == pytest.approx(want, rel=0.07)


def test_who_cannot_say_on_which_side_a_number_lies_says_so():
    near = Real(1.0, inherited=3.0)
    assert near.above(0.9)
    assert not near.above(1.1)
    with pytest.raises(Undecided, match=r"1.0 is too near to 1.0000001"):
        near.above(1.0000001)
    kind = rounded_at_random(2.0**-8)
    third = kind.of(1 / 3, inexact=True)
    assert third.above(0.3)
    with pytest.raises(Undecided, match=r"is too near to 0.3333"):
        third.above(1 / 3)
