"""Linear, Embedding, Tanh, Dropout, Last as layers: gradients, one row or many steps, dropout's replay."""

import numpy as np
import pytest
from cases import MASKS, by_complex_step, make_mask

import lstmcore as lc
from lstmcore.layers import Last, from_config

EPS = np.finfo(float).eps


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("mask", MASKS)
def test_linear(mask, bias):
    """All gradients; sums of at most 12 terms: 50 eps."""
    rng = np.random.default_rng(0)
    layer = lc.Linear(3, 2, bias=bias, dtype="float64", seed=1)
    x, dy, where = rng.normal(size=(4, 3, 3)), rng.normal(size=(4, 3, 2)), make_mask(mask, 4, 3, rng)
    _, state, cache = layer.forward(x, mask=where)
    dx, dstate, grads = layer.backward(dy, cache)
    assert state is None
    assert dstate is None
    assert list(grads) == list(layer.params) == (["W", "b"] if bias else ["W"])

    def loss(name, value):
        twin = layer.to(dtype="complex128")
        if name != "x":
            twin.params[name] = value
        y, _ = twin.predict(value if name == "x" else x.astype(complex), mask=where)
        return np.sum(dy * y)

    assert np.max(np.abs(dx - by_complex_step(lambda v: loss("x", v), x))) <= 50 * EPS
    for name, value in layer.params.items():
        want = by_complex_step(lambda v, name=name: loss(name, v), value)
        assert np.max(np.abs(grads[name] - want)) <= 50 * EPS


ACTIVATIONS = [
    (lc.Tanh(), np.tanh),
    (lc.Sigmoid(), lambda x: 1 / (1 + np.exp(-x))),
    (lc.ReLU(), lambda x: np.maximum(x, 0)),
    (lc.Softmax(), lambda x: np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True)),
]


@pytest.mark.parametrize(("layer", "function"), ACTIVATIONS)
@pytest.mark.parametrize("mask", MASKS)
def test_activations(mask, layer, function):
    rng = np.random.default_rng(1)
    x, dy, where = rng.normal(size=(4, 3, 3)), rng.normal(size=(4, 3, 3)), make_mask(mask, 4, 3, rng)
    y, _, cache = layer.forward(x, mask=where)
    want = function(x) if where is None else np.where(where[..., None], function(x), 0.0)
    assert np.max(np.abs(y - want)) <= 4 * EPS
    dx, _, grads = layer.backward(dy, cache)
    assert grads == {}
    assert np.max(np.abs(dx - by_complex_step(lambda v: np.sum(dy * layer.predict(v, mask=where)[0]), x))) <= 8 * EPS


@pytest.mark.parametrize(
    "make", [lambda: lc.Linear(3, 3, dtype="float64", seed=2), lc.Tanh, lc.Sigmoid, lc.Softmax, lambda: lc.Dropout(0.5)]
)
def test_rows_without_time(make):
    """(B, I) is one step: the same numbers, and `step` gives them too. Products of other shapes may round otherwise."""
    layer, x, dy = make(), *np.random.default_rng(2).normal(size=(2, 4, 3))
    y, _, cache = layer.forward(x)
    dx, _, grads = layer.backward(dy, cache)
    y_1, _, cache_1 = layer.forward(x[None])
    dx_1, _, grads_1 = layer.backward(dy[None], cache_1)
    assert np.max(np.abs(y - y_1[0])) <= 8 * EPS
    assert np.max(np.abs(dx - dx_1[0])) <= 8 * EPS
    assert np.array_equal(layer.step(x)[0], y)
    for name, gradient in grads.items():
        assert np.max(np.abs(gradient - grads_1[name])) <= 16 * EPS


@pytest.mark.parametrize("mask", MASKS)
def test_embedding(mask):
    """Its gradient by complex step through the table; x has none."""
    rng = np.random.default_rng(3)
    layer = lc.Embedding(5, 2, dtype="float64", seed=3)
    x, dy, where = rng.integers(0, 5, size=(4, 3)), rng.normal(size=(4, 3, 2)), make_mask(mask, 4, 3, rng)
    _, _, cache = layer.forward(x, mask=where)
    dx, _, grads = layer.backward(dy, cache)
    assert dx is None
    twin = layer.to(dtype="complex128")

    def loss(W):
        twin.params["W"] = W
        return np.sum(dy * twin.predict(x, mask=where)[0])

    assert np.max(np.abs(grads["W"] - by_complex_step(loss, layer.params["W"]))) <= 30 * EPS
    assert np.array_equal(layer.step(x[0])[0], layer.params["W"][x[0]])


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64"])
def test_embedding_takes_any_integers(dtype):
    layer = lc.Embedding(5, 2, seed=3)
    assert np.array_equal(layer.predict(np.array([[4, 0]], dtype))[0][0], layer.params["W"][[4, 0]])


def test_dropout_at_rest():
    """Without an rng nothing is dropped, forward and backward."""
    x, dy = np.random.default_rng(4).normal(size=(2, 3, 2, 4))
    layer = lc.Dropout(0.9)
    y, _, cache = layer.forward(x)
    assert np.array_equal(y, x)
    assert np.array_equal(layer.backward(dy, cache)[0], dy)
    assert np.array_equal(lc.Dropout(0.9).predict(x)[0], x)


def test_dropout_replays_what_it_drew():
    """Backward multiplies by the very factors of forward; the same seed repeats them, the next draw does not."""
    layer, x = lc.Dropout(0.5), np.random.default_rng(5).normal(size=(5, 4, 3))
    rng = np.random.default_rng(6)
    y, _, cache = layer.forward(x, rng=rng)
    dx, _, _ = layer.backward(np.ones_like(x), cache)
    assert np.array_equal(y, x * dx)
    assert set(np.unique(dx)) == {0.0, 2.0}
    second, _, _ = layer.backward(np.ones_like(x), cache)
    assert np.array_equal(second, dx)
    assert np.array_equal(layer.forward(x, rng=np.random.default_rng(6))[0], y)
    assert not np.array_equal(layer.forward(x, rng=rng)[0], y)


def test_dropout_of_nothing():
    x = np.ones((2, 2, 2))
    y, _, _ = lc.Dropout(0.0).forward(x, rng=np.random.default_rng(0))
    assert np.array_equal(y, x)


@pytest.mark.parametrize("mask", MASKS)
def test_last(mask):
    """Rows are picked, so the numbers are exact: the last real step, or zero where a row has none."""
    rng = np.random.default_rng(7)
    x, dy, where = rng.normal(size=(4, 3, 2)), rng.normal(size=(3, 2)), make_mask(mask, 4, 3, rng)
    real = np.ones((4, 3), bool) if where is None else where
    y, _, cache = Last().forward(x, mask=where)
    dx, _, grads = cache.owner.backward(dy, cache)
    assert grads == {}
    want, dwant = np.zeros_like(y), np.zeros_like(x)
    for b in range(3):
        steps = np.flatnonzero(real[:, b])
        if len(steps):
            want[b], dwant[steps[-1], b] = x[steps[-1], b], dy[b]
    assert np.array_equal(y, want)
    assert np.array_equal(dx, dwant)


def test_last_wants_a_sequence():
    with pytest.raises(ValueError, match=r"`x` should be \(T, B, I\), a sequence; got \(3, 2\)"):
        Last().forward(np.zeros((3, 2)))


@pytest.mark.parametrize(
    "layer",
    [
        lc.Linear(3, 2),
        lc.Linear(3, 2, bias=False),
        lc.Embedding(4, 3),
        lc.Tanh(),
        lc.Sigmoid(),
        lc.Dropout(0.25),
        Last(),
    ],
    ids=repr,
)
def test_configuration(layer):
    twin = from_config(layer.config())
    assert twin.config() == layer.config()
    assert repr(twin) == repr(layer)
    assert [v.shape for v in twin.params.values()] == [v.shape for v in layer.params.values()]


def test_a_wide_head_over_a_recurrent_layer():
    """Products so large that they are compiled, of outputs that cannot be written to: as array code, to rounding (sums
    of at most 4,000 terms of size 10: 1e-10)."""
    rng = np.random.default_rng(0)
    model = lc.Stack([lc.LSTM(3, 64, dtype="float64", seed=0), lc.Linear(64, 100, dtype="float64", seed=1)])
    x, dy = rng.standard_normal((40, 100, 3)), rng.standard_normal((40, 100, 100))
    h, _, below = model.parts["0"].forward(x)
    y, _, cache = model.forward(x)
    W, b = model.params["1.W"], model.params["1.b"]
    assert np.max(np.abs(y - (h @ W + b))) <= 1e-10
    dx, _, grads = model.backward(dy, cache)
    dx_below, _, _ = model.parts["0"].backward(dy @ W.T, below)
    assert np.max(np.abs(grads["1.W"] - np.tensordot(h, dy, ((0, 1), (0, 1))))) <= 1e-10
    assert np.max(np.abs(dx - dx_below)) <= 1e-10
