"""How weights start: orthogonal and Glorot matrices, the forget bias, seeds."""

import numpy as np
import pytest

import lstmcore as lc
from lstmcore.layers.initialise import generator, glorot_uniform, orthogonal

LAYERS = {"LSTM": lc.LSTM, "GRU": lc.GRU, "RNN": lc.RNN}
BLOCKS = {"LSTM": 4, "GRU": 3, "RNN": 1}


@pytest.mark.parametrize("n", [1, 2, 7, 40])
def test_orthogonal(n):
    """Q^T Q = 1: a Householder QR is orthogonal to a few n eps (Higham, theorem 19.4)."""
    Q = orthogonal(np.random.default_rng(0), n)
    assert np.max(np.abs(Q.T @ Q - np.eye(n))) <= 10 * n * np.finfo(float).eps


def test_orthogonal_is_uniform():
    """Every entry has mean 0 and variance 1/n; over 4,000 matrices of 3 x 3, within six standard deviations of a mean.
    A QR without its signs put right has a diagonal with one sign, 20 deviations off."""
    rng = np.random.default_rng(1)
    Q = np.stack([orthogonal(rng, 3) for _ in range(4000)])
    assert np.max(np.abs(Q.mean(axis=0))) <= 6 * np.sqrt(1 / 3 / 4000)
    assert np.max(np.abs((Q**2).mean(axis=0) - 1 / 3)) <= 6 / np.sqrt(4000) * np.std(Q**2)
    assert abs(np.mean(np.linalg.det(Q))) <= 6 / np.sqrt(4000)  # rotations and reflections alike


def test_glorot():
    """Uniform in +-sqrt(6 / (in + out)): bounded, and the variance 2 / (in + out) within six standard deviations."""
    W = glorot_uniform(np.random.default_rng(2), 100, 200)
    assert W.shape == (100, 200)
    limit = np.sqrt(6 / 300)
    assert 0.999 * limit < np.max(np.abs(W)) <= limit
    assert abs(W.var() - 2 / 300) <= 6 * 2 / 300 * np.sqrt(0.8 / W.size)  # var(w^2) = 0.8 var(w)^2 if uniform
    assert abs(W.mean()) <= 6 * np.sqrt(2 / 300 / W.size)


@pytest.mark.parametrize("kind", LAYERS)
def test_blocks_of_a_layer(kind):
    """W_hh: every block orthogonal; W_ih: every block within its own Glorot limit; b zero, but for the forget gate."""
    I, H = 30, 20
    params = LAYERS[kind](I, H, dtype="float64", seed=0).params
    assert set(params) == {"W_ih", "W_hh", "b"} | ({"b_hn"} if kind == "GRU" else set())
    for k in range(BLOCKS[kind]):
        block = params["W_hh"][:, k * H : (k + 1) * H]
        assert np.max(np.abs(block.T @ block - np.eye(H))) <= 10 * H * np.finfo(float).eps
        limit = np.sqrt(6 / (I + H))
        assert 0.95 * limit < np.max(np.abs(params["W_ih"][:, k * H : (k + 1) * H])) <= limit
        for other in range(k):
            assert not np.array_equal(block, params["W_hh"][:, other * H : (other + 1) * H])
    bias = np.zeros(BLOCKS[kind] * H)
    if kind == "LSTM":
        bias[H : 2 * H] = 1.0
    assert np.array_equal(params["b"], bias)
    if kind == "GRU":
        assert not params["b_hn"].any()


@pytest.mark.parametrize("make", [*LAYERS.values(), lc.Linear, lc.Embedding])
def test_seeds(make):
    """The same int repeats; None and a shared generator never give twins; float32 rounds the numbers of float64."""

    def weights(**options):
        return np.concatenate([value.ravel() for value in make(5, 4, **options).params.values()])

    assert np.array_equal(weights(seed=3), weights(seed=3))
    assert not np.array_equal(weights(seed=3), weights(seed=4))
    assert not np.array_equal(weights(), weights())
    shared = np.random.default_rng(3)
    first, second = weights(seed=shared), weights(seed=shared)
    assert np.array_equal(first, weights(seed=3))
    assert not np.array_equal(first, second)
    assert weights(seed=3).dtype == np.float32
    assert np.array_equal(weights(seed=3, dtype="float64").astype("float32"), weights(seed=3))


@pytest.mark.parametrize("seed", [True, 1.5, "1", [1]])
def test_other_seeds_are_refused(seed):
    with pytest.raises(TypeError, match=r"`seed` should be None, an int or a numpy\.random\.Generator; got "):
        generator(seed)
