"""The oracle is itself held to central differences of its own loss, and its rounding bound to exact arithmetic."""

import math
import random
from fractions import Fraction

import oracle
import pytest
from rounding import Real

WITNESSED = ("lstm", "gru", "rnn")


def values(rng: random.Random, *shape: int):
    return rng.gauss(0.0, 0.8) if not shape else [values(rng, *shape[1:]) for _ in range(shape[0])]


def parameters(rng: random.Random, cell: str, I: int, H: int) -> dict:
    K = {"lstm": 4, "gru": 3, "rnn": 1}[cell]
    params = {"W_ih": values(rng, I, K * H), "W_hh": values(rng, H, K * H), "b": values(rng, K * H)}
    return params | ({"b_hn": values(rng, H)} if cell == "gru" else {})


def places(tree):
    """(list, index) of every float in nested lists, tuples and dicts."""
    if isinstance(tree, dict):
        tree = tuple(tree.values())
    if isinstance(tree, tuple) or (isinstance(tree, list) and isinstance(tree[0], list)):
        return [place for inner in tree if inner is not None for place in places(inner)]
    return [(tree, k) for k in range(len(tree))]


@pytest.mark.parametrize("cell", WITNESSED)
@pytest.mark.parametrize(("join", "masked"), [("bidirectional", False), ("bidirectional", True), ("sum", True)])
def test_gradients_are_central_differences(cell, join, masked, nightly):
    """By every eighth number, nightly by every one; through a bidirectional layer, a layer that gives its final state,
    and a linear one. Error of the difference (L(v + s) - L(v - s)) / 2s: s^2 L''' / 6 plus rounding u |L| / s. With
    s = 1e-4, |L| below 10 and third derivatives below 100 (the weights are of size 1): 2e-7 + 1e-11."""
    rng = random.Random(7)
    T, B, I, H = 3, 2, 2, 2
    width = 2 * H if join == "bidirectional" else H
    spec = ("stack", (join, (cell, I, H), (cell, I, H)), (cell, width, H, "last"), ("linear", H, 2), ("tanh",))
    params = {}
    for prefix, below in (("0.fw.", I), ("0.bw.", I), ("1.", width)):
        params |= {prefix + name: value for name, value in parameters(rng, cell, below, H).items()}
    params |= {"2.W": values(rng, H, 2), "2.b": values(rng, 2)}

    def states():
        count = 2 if cell == "lstm" else 1
        one, two, three = (tuple(values(rng, B, H) for _ in range(count)) for _ in range(3))
        return ((one, two), three, None, None)

    x, state, dy, dstate = values(rng, T, B, I), states(), values(rng, B, 2), states()
    mask = [[True, True], [False, True], [True, False]] if masked else None

    def loss():
        result = oracle.answer(spec, params, x, state, mask, dy, dstate)
        return sum(u.value * v for u, v in oracle.pairs(result["y"], dy) + oracle.pairs(result["state"], dstate))

    result = oracle.answer(spec, params, x, state, mask, dy, dstate)
    seen = 0
    for tree, gradient in ((params, result["grads"]), (x, result["dx"]), (state, result["dstate0"])):
        pairs = list(zip(places(tree), places(gradient), strict=True))
        for (values_, k), (gradients, _) in pairs[:: 1 if nightly else 8]:
            before = values_[k]
            values_[k] = before + 1e-4
            above = loss()
            values_[k] = before - 1e-4
            below = loss()
            values_[k] = before
            assert gradients[k].value == pytest.approx((above - below) / 2e-4, abs=2e-7, rel=1e-6)
            seen += 1
    assert seen >= 8


def test_masked_steps_are_not_looked_at():
    nan = math.nan
    params = parameters(random.Random(0), "lstm", 1, 1)
    state, mask, dy = ([[0.3]], [[0.4]]), [[False], [False]], [[[1.0]], [[1.0]]]
    result = oracle.answer(("lstm", 1, 1), params, [[[nan]], [[nan]]], state, mask, dy, None)
    assert [row[0][0].value for row in result["y"]] == [0.0, 0.0]
    assert result["state"][0][0][0].value == 0.3
    assert all(gradient.value == 0.0 for (gradients, k) in places(result["grads"]) for gradient in [gradients[k]])


def test_sums_and_products_stay_within_their_bound():
    """Random sums of products in random order, in binary64, against exact fractions."""
    rng = random.Random(1)
    for _ in range(200):
        terms = [(rng.gauss(0, 1) * 10 ** rng.randint(-3, 3), rng.gauss(0, 1)) for _ in range(rng.randint(1, 12))]
        exact = sum(Fraction(a) * Fraction(b) for a, b in terms)
        total = Real(0.0)
        for a, b in terms:
            total = total + Real(a) * Real(b)
        rng.shuffle(terms)
        anyhow = sum(a * b for a, b in terms)
        assert abs(Fraction(anyhow) - exact) <= Fraction(total.error * 2.0**-53 * 1.01)
        assert total.error <= len(terms) * sum(abs(a * b) for a, b in terms) * 1.01  # and the bound is not idle


def test_slopes_without_cancellation():
    """sigma' and tanh' far out, where s (1 - s) and 1 - t^2 would be zero."""
    import rounding

    for a in (-40.0, 40.0):
        assert rounding.sigmoid(Real(a))[1].value == pytest.approx(math.exp(-40.0), rel=1e-12)
        assert rounding.tanh(Real(a))[1].value == pytest.approx(4.0 * math.exp(-80.0), rel=1e-12)
    assert rounding.sigmoid(Real(0.0))[1].value == 0.25
    assert rounding.tanh(Real(0.0))[1].value == 1.0
