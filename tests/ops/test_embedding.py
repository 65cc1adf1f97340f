"""Looking up rows, and gathering their gradients: an index that occurs twice collects twice."""

import numpy as np
import pytest

from lstmcore.ops.embedding import embedding_backward, embedding_forward


@pytest.mark.parametrize("shape", [(6,), (3, 2), (1, 1)])
def test_lookup_and_scatter(shape):
    """Integers in float64: every sum is exact."""
    rng = np.random.default_rng(0)
    W, index = rng.integers(-9, 9, size=(4, 3)).astype(float), rng.integers(0, 4, size=shape)
    dy = rng.integers(-9, 9, size=(*shape, 3)).astype(float)
    y, dW = embedding_forward(index, W), np.zeros_like(W)
    for place in np.ndindex(shape):
        assert np.array_equal(y[place], W[index[place]])
        dW[index[place]] += dy[place]
    assert np.array_equal(embedding_backward(dy, index, W), dW)


def test_repeated_indices_add_up():
    dW = embedding_backward(np.ones((5, 1)), np.array([1, 1, 1, 0, 1]), np.zeros((3, 1)))
    assert dW.tolist() == [[1.0], [4.0], [0.0]]
