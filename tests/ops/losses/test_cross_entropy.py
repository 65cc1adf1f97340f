"""Softmax cross-entropy: values by the textbook formula, gradients by complex step, masked items never read."""

import math

import numba
import numpy as np
import pytest
from cases import by_complex_step

import lstmcore as lc
from lstmcore.ops.losses.cross_entropy import (
    softmax_cross_entropy_backward,
    softmax_cross_entropy_forward,
)

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


def logits_of(shape, V, dtype):
    rng = np.random.default_rng(V)
    return (3 * rng.standard_normal((*shape, V))).astype(dtype), rng.integers(0, V, shape), rng.random(shape) < 0.6


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("shape", "V"), [((50,), 21), ((7, 6), 1), ((9,), 32), ((5, 4), 65), ((40, 30), 100)])
@pytest.mark.parametrize("masked", [False, True])
def test_compiled_as_array_code(shape, V, dtype, masked):
    """The compiled loss and the array code in long doubles. With logits up to D in size, e^(l - max) errs by D eps for
    its rounded exponent and 1.1 eps for exp, their sum by V / 2 eps more; p and the gradient by three roundings."""
    logits, targets, mask = logits_of(shape, V, dtype)
    mask = mask if masked else None
    n, D = targets.size if mask is None else mask.sum(), np.abs(logits).max()
    allowed = (2 * D + V / 2 + 5) * np.finfo(dtype).eps
    exact, p = softmax_cross_entropy_forward(logits.astype(np.longdouble), targets, mask)
    loss, dlogits = lc.softmax_cross_entropy(logits, targets, mask)
    assert abs(loss - exact) <= allowed + exact * np.finfo(dtype).eps
    assert np.abs(dlogits - softmax_cross_entropy_backward(p, targets, mask)).max() <= allowed / n


def test_every_layout_gives_the_same_bits():
    logits, targets, mask = logits_of((6, 5), 21, "float32")
    loss, dlogits = lc.softmax_cross_entropy(logits, targets, mask)
    wide = np.zeros((6, 5, 42), "float32")
    wide[..., ::2] = logits
    odd = np.frombuffer(b"-" + logits.tobytes(), "float32", offset=1).reshape(logits.shape)
    assert not odd.flags.aligned
    for other in (wide[..., ::2], np.asfortranarray(logits), odd):
        for marks in (targets.astype("uint8"), np.asfortranarray(targets)):
            again, dagain = lc.softmax_cross_entropy(other, marks, np.asfortranarray(mask))
            assert again == loss
            np.testing.assert_array_equal(dagain, dlogits)


def test_threads_change_no_bit():
    logits, targets, mask = logits_of((100, 100), 21, "float32")
    before = numba.get_num_threads()
    results = []
    try:
        for threads in range(1, before + 1):
            numba.set_num_threads(threads)
            results.append(lc.softmax_cross_entropy(logits, targets, mask))
    finally:
        numba.set_num_threads(before)
    for loss, gradient in results:
        assert loss == results[0][0]
        np.testing.assert_array_equal(gradient, results[0][1])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("V", [3, 21])
def test_nan_and_infinity_stay_in_their_rows(V, dtype):
    """NaN and plus infinity leave no probability; minus infinity is a class that cannot be."""
    logits, targets, _ = logits_of((4,), V, dtype)
    targets[:] = 1
    _, want = lc.softmax_cross_entropy(logits, targets)
    for where in (0, V - 1):
        for bad in (math.nan, math.inf):
            spoilt = logits.copy()
            spoilt[2, where] = bad
            loss, dlogits = lc.softmax_cross_entropy(spoilt, targets)
            assert math.isnan(loss)
            assert np.isnan(dlogits[2]).all()
            np.testing.assert_array_equal(dlogits[[0, 1, 3]], want[[0, 1, 3]])
        logits[2, where] = -math.inf
        loss, dlogits = lc.softmax_cross_entropy(logits, targets)
        assert math.isfinite(loss)
        assert dlogits[2, where] == 0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("masked", [False, True])
def test_class_weights(dtype, masked):
    """Weights 2, 1, 0, ... are what counting a row twice, once or never gives, but for the order of the sum: both are
    within the bound of test_compiled_as_array_code, for n the sum of the weights, whose own sum is exact."""
    logits, targets, mask = logits_of((40, 5), 7, dtype)
    mask = mask if masked else None
    weights = np.array([2, 1, 0, 3, 1, 0, 4], dtype)
    rows = (slice(None),) if mask is None else mask
    times = weights.astype(int)[targets[rows]].ravel()
    l, t = np.repeat(logits[rows].reshape(-1, 7), times, axis=0), np.repeat(targets[rows].ravel(), times)
    allowed = 2 * (2 * np.abs(logits).max() + 7 / 2 + 5) * np.finfo(dtype).eps
    loss, dlogits = lc.softmax_cross_entropy(logits, np.where(mask, targets, -1) if masked else targets, mask, weights)
    want, each = lc.softmax_cross_entropy(l, t)
    assert loss.dtype == dlogits.dtype == dtype
    assert abs(loss - want) <= allowed + want * np.finfo(dtype).eps
    dwant = np.zeros((times.size, 7))
    np.add.at(dwant, np.repeat(np.arange(times.size), times), each)
    assert np.abs(dlogits[rows].reshape(-1, 7) - dwant).max() <= 4 * allowed / times.sum()
    if masked:
        assert not dlogits[~mask].any()
    exact, p = softmax_cross_entropy_forward(*(a.astype(np.longdouble) for a in (logits,)), targets, mask, weights)
    assert abs(loss - exact) <= allowed + exact * np.finfo(dtype).eps
    darray = softmax_cross_entropy_backward(p, targets, mask, weights)
    assert np.abs(dlogits - darray).max() <= 4 * allowed / times.sum()


def test_bad_class_weights():
    logits, targets = np.zeros((4, 3)), np.array([0, 1, 1, 0])
    for weights, error, words in (
        (np.ones(4), ValueError, r"one per class; got \(4,\) \(one per item"),
        ([1.0, 1.0, 1.0], TypeError, "`weights` should be an array of numpy; got list"),
        (np.ones(3, "float32"), TypeError, "`weights` should be float64"),
        (np.array([1.0, -1.0, 1.0]), ValueError, "finite and not negative"),
        (np.array([1.0, np.nan, 1.0]), ValueError, "finite and not negative"),
        (np.array([0.0, 0.0, 1.0]), ValueError, "count at least one valid target; all of theirs are 0"),
    ):
        with pytest.raises(error, match=words):
            lc.softmax_cross_entropy(logits, targets, None, weights)
    mask = np.array([True, False, False, False])
    with pytest.raises(ValueError, match="all of theirs are 0"):
        lc.softmax_cross_entropy(logits, targets, mask, np.array([0.0, 1.0, 1.0]))


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


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dtypes_stay(dtype):
    loss, gradient = lc.softmax_cross_entropy(np.ones((2, 3), dtype), np.array([0, 1]))
    assert loss.dtype == gradient.dtype == dtype


def test_softmax():
    """Positive, adds up to 1, ignores a shift, and does not overflow."""
    logits = np.array([[0.0, math.log(3.0)], [1000.0, 1000.0], [-1e5, 1e5]])
    p = lc.softmax(logits)
    assert np.max(np.abs(p - [[0.25, 0.75], [0.5, 0.5], [0.0, 1.0]])) <= 4 * EPS
    assert np.max(np.abs(lc.softmax(logits[:1] + 700) - p[:1])) <= 700 * EPS  # the shift itself rounds at 700
