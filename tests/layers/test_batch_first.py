"""The batch first: the same numbers with two axes exchanged."""

import numpy as np
import pytest

import lstmcore as lc

T, B, I, H = 5, 3, 3, 2
MASK = np.array([[1, 1, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0], [1, 0, 0]], bool)


@pytest.mark.parametrize("return_sequences", [True, False])
def test_it_is_the_model_with_two_axes_exchanged(return_sequences, tmp_path):
    x = np.random.default_rng(0).standard_normal((T, B, I))
    inner = lc.Stack([lc.GRU(I, H, dtype="float64", seed=1, return_sequences=return_sequences), lc.Tanh()])
    model = lc.BatchFirst(inner)
    want, last, inner_cache = inner.forward(x, mask=MASK)
    y, state, cache = model.forward(x.swapaxes(0, 1), mask=MASK.T)
    np.testing.assert_array_equal(y, want.swapaxes(0, 1) if return_sequences else want)
    np.testing.assert_array_equal(state[0][0], last[0])
    dy = np.random.default_rng(1).standard_normal(want.shape)
    dx, _, grads = model.backward(dy.swapaxes(0, 1) if return_sequences else dy, cache)
    want_dx, _, want_grads = inner.backward(dy, inner_cache)
    np.testing.assert_array_equal(dx, want_dx.swapaxes(0, 1))
    for name in want_grads:
        np.testing.assert_array_equal(grads[f"model.{name}"], want_grads[name])
    assert lc.debug.gradcheck(model, x.swapaxes(0, 1), mask=MASK.T, seed=0).worst < 1e-12
    y_0, streamed = model.step(x[0])
    np.testing.assert_array_equal(y_0, inner.step(x[0])[0])
    model.step(x[1], streamed)
    lc.save(tmp_path / "model.safetensors", model)
    again = lc.load(tmp_path / "model.safetensors").predict(x.swapaxes(0, 1), mask=MASK.T)[0]
    assert again.tobytes() == np.ascontiguousarray(y).tobytes()


def test_what_the_model_refuses_is_refused():
    model = lc.BatchFirst(lc.LSTM(I, H, seed=0))
    with pytest.raises(ValueError, match=r"`x` should be \(T, B, I\)"):
        model.forward(np.zeros((B, T, I + 1), "float32"))
    with pytest.raises(TypeError, match="`x` should be an array of numpy; got list"):
        model.forward([[0.0]])
