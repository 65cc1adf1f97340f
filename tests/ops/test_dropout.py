"""Dropout: the factors' statistics, and their replay."""

import numpy as np
import pytest

from lstmcore.ops.dropout import dropout_backward, dropout_forward, dropout_scale

N = 200_000


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.9])
def test_statistics(p):
    """The share of zeros is p, the others are 1 / (1 - p). The share of N draws has the standard deviation
    sqrt(p (1 - p) / N), below 0.0012; six of them, so that one seed in 500 million would fail."""
    scale = dropout_scale(np.random.default_rng(0), (N,), p, np.zeros(1))
    assert set(np.unique(scale)) <= {0.0, 1 / (1 - p)}
    assert abs(np.mean(scale == 0) - p) <= 6 * np.sqrt(p * (1 - p) / N)
    assert abs(scale.mean() - 1) <= 6 * np.sqrt(p / (1 - p) / N)


def test_neighbours_are_independent():
    """Along every axis the correlation of neighbours is below six standard deviations, 6 / sqrt(n)."""
    kept = dropout_scale(np.random.default_rng(1), (50, 40, 30), 0.5, np.zeros(1)) - 1.0  # -1 or 1
    for axis in range(3):
        a, b = np.take(kept, range(kept.shape[axis] - 1), axis), np.take(kept, range(1, kept.shape[axis]), axis)
        assert abs(np.mean(a * b)) <= 6 / np.sqrt(a.size)


def test_the_same_seed_repeats_in_every_dtype():
    single, double = (
        dropout_scale(np.random.default_rng(2), (4, 3, 2), 0.3, np.zeros(1, dtype)) for dtype in ("float32", "float64")
    )
    assert single.dtype == np.float32
    assert np.array_equal(single == 0, double == 0)
    assert 0 < np.count_nonzero(single) < single.size


def test_forward_and_backward_use_the_same_factors():
    scale = np.array([0.0, 2.0])
    assert dropout_forward(np.array([np.inf, 3.0]), scale).tolist() == [0.0, 6.0]
    assert dropout_backward(np.array([np.nan, 5.0]), scale).tolist() == [0.0, 10.0]
