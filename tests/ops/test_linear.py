"""The linear map: the row formula in plain Python, and the gradients of its sum with dy."""

import numpy as np
import pytest

from lstmcore.ops.linear import linear_backward, linear_forward


@pytest.mark.parametrize("shape", [(1, 1), (4, 3), (2, 3, 5), (1, 1, 1)])
def test_values_and_gradients(shape):
    """Sums of at most 6 terms near 1: 20 eps."""
    rng = np.random.default_rng(0)
    I, O = shape[-1], 4
    x, W, b, dy = rng.normal(size=shape), rng.normal(size=(I, O)), rng.normal(size=O), rng.normal(size=(*shape[:-1], O))
    y = linear_forward(x, W, b)
    dx, dW, db = linear_backward(dy, x, W)
    want = {"y": np.zeros_like(y), "dx": np.zeros_like(x), "dW": np.zeros_like(W), "db": np.zeros_like(b)}
    for place in np.ndindex(shape[:-1]):
        for o in range(O):
            want["y"][(*place, o)] = b[o] + sum(x[(*place, i)] * W[i, o] for i in range(I))
            want["db"][o] += dy[(*place, o)]
            for i in range(I):
                want["dx"][(*place, i)] += dy[(*place, o)] * W[i, o]
                want["dW"][i, o] += dy[(*place, o)] * x[(*place, i)]
    for name, value in {"y": y, "dx": dx, "dW": dW, "db": db}.items():
        assert value.shape == want[name].shape
        assert np.max(np.abs(value - want[name])) <= 20 * np.finfo(float).eps * np.max(np.abs(want[name])), name


def test_without_bias():
    x, W = np.array([[1.0, 2.0]]), np.array([[3.0], [4.0]])
    assert linear_forward(x, W, None).tolist() == [[11.0]]
