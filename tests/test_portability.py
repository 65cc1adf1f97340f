"""The reference engine and ops/ on a strict array library, so that CuPy holds no surprise.

array_api_strict has the functions of the array API standard and nothing else: what only NumPy knows raises there. The
numbers must be NumPy's: the same sums, at most in another order, so within the oracle's bounds, or to a few eps.
"""

import numpy as np
import pytest
from cases import CELLS, MASKS, Problem, assert_within, flatten, witness

import lstmcore as lc
from lstmcore.ops import activation, dropout, embedding, last, linear, masking
from lstmcore.ops.cells import CELLS as ALL_CELLS
from lstmcore.ops.losses import cross_entropy, of_numbers
from lstmcore.ops.recurrence import reference


@pytest.fixture
def strict(array_api_strict):
    """Turns host arrays, in tuples and dicts too, into strict ones."""

    def turn(tree):
        if isinstance(tree, dict):
            return {name: turn(value) for name, value in tree.items()}
        if isinstance(tree, tuple):
            return tuple(turn(value) for value in tree)
        return None if tree is None else array_api_strict.asarray(tree)

    return turn


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("cell", CELLS)
def test_reference_engine(strict, cell, mask, dtype):
    """Forward, predict and backward; against the oracle's numbers."""
    problem = Problem((cell, 3, 4), 4, 3, mask, seed=1, dtype=dtype)
    want, bounds = witness(problem)
    x, params, state, where, dy, dstate = map(
        strict, (problem.x, problem.params, problem.state, problem.mask, problem.dy, problem.dstate)
    )
    cache = reference.forward(ALL_CELLS[cell], x, params, state, where)
    y, last = reference.predict(ALL_CELLS[cell], x, params, state, where)
    dx, dstate0, grads = reference.backward(ALL_CELLS[cell], dy, dstate, params, cache)
    got = {"y": y, "state": last, "dx": dx, "dstate0": dstate0, "grads": grads}
    assert type(dx).__module__.startswith("array_api_strict")
    assert_within(flatten(got), want, bounds, dtype)
    assert np.array_equal(np.asarray(cache.states[0])[-1], np.asarray(last[0]))


def test_ops(strict):
    """Every other operation, forward and backward: the bits of NumPy, since no order of summation is left open, but for
    products, which get 8 eps."""
    rng = np.random.default_rng(2)
    x, dy, W, b = rng.normal(size=(4, 3, 5)), rng.normal(size=(4, 3, 2)), rng.normal(size=(5, 2)), rng.normal(size=2)
    mask = rng.random((4, 3)) < 0.6
    index = rng.integers(0, 5, size=(4, 3))
    targets = rng.integers(0, 5, size=(4, 3))

    def everything(turn):
        x_, dy_, W_, b_, mask_, index_, targets_ = map(turn, (x, dy, W, b, mask, index, targets))
        scale = dropout.dropout_scale(np.random.default_rng(3), (4, 3, 5), 0.3, x_)
        loss, p = cross_entropy.softmax_cross_entropy_forward(x_, targets_, mask_)
        each = mask_[..., None] & (x_ == x_)
        return {
            "sigmoid": activation.sigmoid(100 * x_),
            "sigmoid_backward": activation.sigmoid_backward(dy_, activation.sigmoid_forward(dy_)),
            "tanh": activation.tanh_backward(x_, activation.tanh_forward(x_)),
            "linear": linear.linear_forward(x_, W_, b_),
            "linear_backward": linear.linear_backward(dy_, x_, W_),
            "embedding": embedding.embedding_forward(index_, W_),
            "embedding_backward": embedding.embedding_backward(dy_, index_, W_),
            "dropout": dropout.dropout_backward(x_, scale),
            "masking": masking.masking_backward(dy_, mask_),
            "last": (last.last_forward(x_, mask_), last.last_backward(dy_[0, ...], 4, mask_)),
            "softmax": lc.softmax(x_),
            "cross-entropy": (loss, cross_entropy.softmax_cross_entropy_backward(p, targets_, mask_)),
            **{
                losses.__name__: (
                    of_numbers.mean_forward(losses, x_, 2 * x_, each, 0.5),
                    of_numbers.mean_backward(slopes, x_, 2 * x_, each, 0.5),
                )
                for losses, slopes in (
                    (of_numbers.squared, of_numbers.squared_slope),
                    (of_numbers.absolute, of_numbers.absolute_slope),
                    (of_numbers.huber_line, of_numbers.huber_slope),
                    (of_numbers.binary, of_numbers.binary_slope),
                )
            },
        }

    got, want = flatten(everything(strict)), flatten(everything(lambda value: value))
    assert got.keys() == want.keys()
    assert len(got) == 24
    for name, value in want.items():
        assert got[name].dtype == value.dtype, name
        assert np.max(np.abs(got[name] - value)) <= 8 * np.finfo(float).eps * np.max(np.abs(value)), name
