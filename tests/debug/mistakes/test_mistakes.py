"""The alarm: gradcheck catches every mistake that an engine can make, and says nothing where there is none."""

import functools

import numpy as np
import pytest

import lstmcore as lc
from lstmcore.debug.mistakes import ENGINE, LSTM, Mistake, mutant
from lstmcore.debug.mistakes import MISTAKES as CATALOGUE

# What an engine can get wrong; test_diagnose.py holds the rest. A clip that no number here reaches is left out.
UNREACHED = ("clipped to 1", "clipped to 5")
MISTAKES = tuple(m for m in CATALOGUE if m.module in ENGINE and not m.name.endswith(UNREACHED))
KINDS = {"lstm": (lc.LSTM,), "gru": (lc.GRU,), "rnn": (lc.RNN,)}  # a mistake of no cell is tried on all three
T, B, I, H = 32, 3, 2, 4


def case(kind, seed=1, I=I):
    """A layer, an input, a small initial state, a mask with gaps, and upstream gradients."""
    rng = np.random.default_rng(seed)
    layer = kind(I, H, dtype="float64", seed=seed, engine="reference")
    x = rng.standard_normal((T, B, I))
    mask = rng.random((T, B)) < 0.8
    state = tuple(0.05 * rng.standard_normal((B, H)) for _ in layer.cell.states)
    return layer, x, state, mask, rng


def gradients(layer, x, state, mask, seed):
    rng = np.random.default_rng(seed)
    y, final, cache = layer.forward(x, state, mask)
    dstate = tuple(rng.standard_normal(s.shape) for s in final)
    dx, dstate0, grads = layer.backward(rng.standard_normal(y.shape), cache, dstate)
    return [dx, *dstate0, *grads.values()]


def width(mistake: Mistake) -> int:
    """W_ih and W_hh are taken for each other only where they have the same shape."""
    return H if "square" in mistake.needs else I


@functools.cache
def shift(mistake: Mistake, kind) -> float:
    """How far the mistake moves the gradients: the largest relative difference of any array."""
    layer, x, state, mask, _ = case(kind, I=width(mistake))
    right = gradients(layer, x, state, mask, 2)
    wrong = gradients(layer.to(engine=mutant(mistake)), x, state, mask, 2)
    return max(float(np.max(np.abs(a - b)) / np.max(np.abs(a))) for a, b in zip(right, wrong, strict=True))


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_every_mistake_is_caught(mistake, nightly):
    """By day in the first cell that it shows in; nightly in each."""
    shown = 0
    for kind in KINDS.get(mistake.cell, (lc.LSTM, lc.GRU, lc.RNN)):
        moved = shift(mistake, kind)
        layer, x, state, mask, _ = case(kind, I=width(mistake))
        check = lc.debug.gradcheck(layer.to(engine=mutant(mistake)), x, state, mask, seed=3, directions=3)
        if moved > 1e-11:  # a hundred times what rounding leaves (1e-13); below, the numbers are right
            shown += 1
            assert not check.ok, f"moved the gradient by {moved:.1e}, and the check said nothing:\n{check}"
        else:
            assert moved < 1e-13
            assert check.ok, str(check)
        if shown and not nightly:
            break
    assert shown, "the mistake changes nothing anywhere: it tests nothing"


@pytest.mark.parametrize("kind", [lc.LSTM, lc.GRU, lc.RNN])
def test_no_alarm_without_a_mistake(kind):
    layer, x, state, mask, _ = case(kind)
    own_text = layer.to(engine=mutant())
    assert lc.debug.gradcheck(own_text, x, state, mask, seed=3, directions=3).ok
    for a, b in zip(gradients(layer, x, state, mask, 2), gradients(own_text, x, state, mask, 2), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_mutant_remembers_nothing():
    """What it is given may change in place, and another call is another step."""
    layer, x, _, _, _ = case(lc.LSTM)
    wrong = layer.to(engine=mutant(next(m for m in MISTAKES if m.name == "c_t for c_{t-1} in the forget gate")))
    first = wrong.forward(x)[0].copy()
    for array in (x, wrong.params["W_hh"]):
        array *= 2
        again = wrong.forward(x)[0]
        assert np.any(again != first)
        np.testing.assert_array_equal(again, wrong.to(engine="reference").forward(x)[0])
        first = again.copy()


def test_at_least_ten_shift_the_gradient_by_less_than_one_percent():
    shifts = [
        max(shift(mistake, kind) for kind in KINDS.get(mistake.cell, (lc.LSTM, lc.GRU, lc.RNN))) for mistake in MISTAKES
    ]
    assert len(MISTAKES) >= 20
    assert sum(s < 0.01 for s in shifts) >= 10
    assert sum(s > 0.01 for s in shifts) >= 10


def test_a_mistake_whose_line_is_gone_is_refused():
    with pytest.raises(ValueError, match=r"right line should occur once in .*lstm; it occurs 0 times"):
        mutant(Mistake("gone", LSTM, "no such line", ""))
    with pytest.raises(ValueError, match="two mistakes on one line"):
        mutant(MISTAKES[0], MISTAKES[0])


@pytest.mark.parametrize("mistake", CATALOGUE, ids=lambda mistake: mistake.name)
def test_every_right_line_is_where_it_should_be(mistake):
    """An edit of a source file must not leave a mistake of the catalogue behind: its right line occurs once."""
    mutant(mistake)
