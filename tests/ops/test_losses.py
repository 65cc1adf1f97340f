"""The losses: values by the textbook formula, gradients by complex step, masked items never read."""

import math

import numpy as np
import pytest
from cases import by_complex_step

import lstmcore as lc

EPS = np.finfo(float).eps


def textbook_cross_entropy(logits, targets, mask) -> float:
    """Mean of -log p[target] over the valid items, in plain Python."""
    total, n = 0.0, 0
    for place in np.ndindex(targets.shape):
        if mask is None or mask[place]:
            p = [math.exp(v) for v in logits[place].tolist()]
            total -= math.log(p[targets[place]] / sum(p))
            n += 1
    return total / n


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("shape", [(3,), (4, 3), (2, 4, 3), (1,)])
def test_cross_entropy(shape, masked):
    """At most 24 terms of a few roundings each: 100 eps."""
    rng = np.random.default_rng(0)
    logits, targets = rng.normal(size=(*shape, 5)), rng.integers(0, 5, size=shape)
    mask = rng.random(shape) < 0.6 if masked else None
    if masked:
        mask.flat[0] = True
    loss, dlogits = lc.softmax_cross_entropy(logits, targets, mask=mask)
    assert loss.shape == ()
    assert abs(loss - textbook_cross_entropy(logits, targets, mask)) <= 100 * EPS
    want = by_complex_step(lambda v: lc.softmax_cross_entropy(v, targets, mask=mask)[0], logits)
    assert np.max(np.abs(dlogits - want)) <= 100 * EPS
    if masked:
        assert not dlogits[~mask].any()


def test_cross_entropy_is_never_infinite():
    """From logits there is no log(0): a target with probability exp(-2000) costs 2000."""
    logits = np.array([[1000.0, -1000.0], [-1000.0, 1000.0]])
    loss, dlogits = lc.softmax_cross_entropy(logits, np.array([1, 1]))
    assert loss == 1000.0
    assert dlogits.tolist() == [[0.5, -0.5], [0.0, 0.0]]


@pytest.mark.parametrize("mark", [-1, -100, 99])
def test_masked_targets_are_never_read(mark):
    rng = np.random.default_rng(1)
    logits, targets = rng.normal(size=(4, 5)), np.array([0, 1, mark, mark])
    mask = np.array([True, True, False, False])
    loss, dlogits = lc.softmax_cross_entropy(logits, targets, mask=mask)
    first, dfirst = lc.softmax_cross_entropy(logits[:2], targets[:2])
    assert loss == first
    assert np.array_equal(dlogits[:2], dfirst)
    assert not dlogits[2:].any()


@pytest.mark.parametrize("kind", ["none", "items", "less the last axis"])
@pytest.mark.parametrize("mark", [np.nan, -3.0])
def test_squared_error(kind, mark):
    """mean (y - t)^2, without a half; a mask of the items or of whole rows; masked targets hold a mark."""
    rng = np.random.default_rng(2)
    y, targets = rng.normal(size=(2, 4, 3, 2))
    mask = {"none": None, "items": rng.random((4, 3, 2)) < 0.6, "less the last axis": rng.random((4, 3)) < 0.6}[kind]
    valid = np.ones((4, 3, 2), bool) if mask is None else np.broadcast_to(mask.reshape(4, 3, -1), (4, 3, 2))
    targets = np.where(valid, targets, mark)
    loss, dy = lc.squared_error(y, targets, mask=mask)
    assert loss.shape == ()
    assert abs(loss - sum((u - v) ** 2 for u, v in zip(y[valid], targets[valid])) / valid.sum()) <= 100 * EPS
    want = by_complex_step(lambda v: lc.squared_error(v, targets.astype(complex), mask=mask)[0], y)
    assert np.max(np.abs(dy - want)) <= 100 * EPS
    assert not dy[~valid].any()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dtypes_stay(dtype):
    logits = np.ones((2, 3), dtype)
    for loss, gradient in (
        lc.softmax_cross_entropy(logits, np.array([0, 1])),
        lc.squared_error(logits, 2 * logits),
    ):
        assert loss.dtype == gradient.dtype == dtype


def test_softmax():
    """Positive, adds up to 1, ignores a shift, and does not overflow."""
    logits = np.array([[0.0, math.log(3.0)], [1000.0, 1000.0], [-1e5, 1e5]])
    p = lc.softmax(logits)
    assert np.max(np.abs(p - [[0.25, 0.75], [0.5, 0.5], [0.0, 1.0]])) <= 4 * EPS
    assert np.max(np.abs(lc.softmax(logits[:1] + 700) - p[:1])) <= 700 * EPS  # the shift itself rounds at 700
