"""A backward direction by itself: that of a Bidirectional, to the bit, through every tool."""

import numpy as np
import pytest

import lstmcore as lc
from lstmcore.layers.tree import is_flipped

T, B, I, H = 5, 3, 3, 2
MASK = np.array([[1, 1, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0], [1, 0, 0]], bool)


def given():
    return np.random.default_rng(0).standard_normal((T, B, I))


def layer(**options):
    return lc.LSTM(I, H, dtype="float64", seed=1, **options)


@pytest.mark.parametrize("return_sequences", [True, False])
def test_it_is_the_backward_half(return_sequences, tmp_path):
    x, inner = given(), layer(return_sequences=return_sequences)
    both = lc.Bidirectional(layer(return_sequences=return_sequences), inner)
    back = lc.Reversed(inner)
    y, state, cache = back.forward(x, mask=MASK)
    y_both, (_, want_state), cache_both = both.forward(x, mask=MASK)
    assert y.tobytes() == np.ascontiguousarray(y_both[..., H:]).tobytes() == back.predict(x, mask=MASK)[0].tobytes()
    assert all(a.tobytes() == b.tobytes() for a, b in zip(state[0], want_state))
    dy = np.random.default_rng(1).standard_normal(y.shape)
    dx, dstate0, grads = back.backward(dy, cache)
    dx_both, _, want = both.backward(np.concatenate([np.zeros_like(dy), dy], axis=-1), cache_both)
    np.testing.assert_array_equal(dx, dx_both)
    assert list(grads) == [f"bw.{name}" for name in inner.params] == list(back.params)
    for name in grads:
        np.testing.assert_array_equal(grads[name], want[name])
    assert len(dstate0) == 1
    assert lc.debug.gradcheck(back, x, mask=MASK, seed=0).worst < 1e-12
    assert lc.debug.padding(back, x, mask=MASK).ok
    lc.save(tmp_path / "back.safetensors", back)
    twin = lc.load(tmp_path / "back.safetensors")
    assert repr(twin) == repr(back)
    assert twin.predict(x, mask=MASK)[0].tobytes() == y.tobytes()


def test_the_tools_know_that_its_time_is_flipped():
    back = lc.Reversed(layer())
    assert is_flipped(back, "bw")
    assert lc.debug.ledger(back, given(), mask=MASK).ok
    assert lc.debug.flow(back, given(), mask=MASK).layers[0].direction == "backward in time"
    x = given()
    x[1, 0, 0] = np.nan
    trip = lc.debug.tripwire(back, x, mask=MASK).trip
    assert (trip.step, trip.row) == (1, 0)
    with pytest.raises(TypeError, match="a Reversed layer cannot step: it starts at the end of the sequence"):
        back.step(given()[0])


def directions(seed):
    """Outputs (T, B, 2, H): a layer whose outputs have four axes."""
    fw, bw = (lc.LSTM(I, H, dtype="float64", seed=seed + k) for k in range(2))
    return lc.Bidirectional(fw, bw, merge="none")


def test_outputs_of_four_axes_are_turned_back():
    x, inner = given(), directions(1)
    want = inner.predict(x[::-1], mask=MASK[::-1])[0][::-1]
    back = lc.Reversed(inner)
    np.testing.assert_array_equal(back.predict(x, mask=MASK)[0], want)
    assert lc.debug.gradcheck(back, x, mask=MASK, seed=0).worst < 1e-12
    both = lc.Bidirectional(directions(3), inner)
    y = both.predict(x, mask=MASK)[0]
    np.testing.assert_array_equal(y, np.concatenate([both.fw.predict(x, mask=MASK)[0], want], axis=-1))
    assert lc.debug.gradcheck(both, x, mask=MASK, seed=0).worst < 1e-12
