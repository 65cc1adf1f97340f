"""Softmax cross-entropy on a GPU: the kernel against the array text of ops/losses/cross_entropy.py in float64."""

import numpy as np
import pytest
from gpu.stand_in import installed
from rounding import FUNCTION_ULPS, SECOND_ORDER, UNIT_ROUNDOFF

import lstmcore as lc
from lstmcore.ops.gpu.losses import softmax_cross_entropy
from lstmcore.ops.losses.cross_entropy import softmax_cross_entropy_backward, softmax_cross_entropy_forward


def problem(N, V, dtype, masked):
    rng = np.random.default_rng(N + V)
    logits, targets = rng.normal(size=(N, V)).astype(dtype) * 3, rng.integers(0, V, N)
    if not masked:
        return logits, targets, None
    mask = rng.random(N) < 0.6
    mask[0] = True
    logits[~mask], targets[~mask] = np.nan, -1
    return logits, targets, mask


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(1, 1), (5, 12), (50, 33), (300, 2)], ids=str)
def test_loss_and_gradient(emulator, shape, dtype, masked):
    """In units of u. s = logit - largest rounds by |s|, and so exp(s) relatively by |s| + F, F = FUNCTION_ULPS. The sum
    of a row, at least 1, is made in V / 32 + 5 steps; its terms bring F and their mean of |s|, weighted by p, which is
    at most the entropy, log V: so it is relatively off by S = log V + F + V / 32 + 5. Then, p being at most 1 and |s| p
    at most 1 / e, p is off by 1 / e + F + S + 1, and (p - onehot) / n by that and 2 more, over n.

    A row's loss, log(sum) - s of the target, is off by S + F log V, and by 2 of itself for s and the difference; the
    mean is made in float64, and rounded.
    """
    logits, targets, mask = problem(*shape, dtype, masked)
    loss, dlogits = softmax_cross_entropy(emulator(), logits, targets, mask)
    with np.errstate(invalid="ignore"):  # the array text computes masked rows, and then selects them out
        want, p = softmax_cross_entropy_forward(logits.astype("longdouble"), targets, mask)
    dwant = softmax_cross_entropy_backward(p, targets, mask)
    (N, V), F, u = shape, FUNCTION_ULPS, UNIT_ROUNDOFF[dtype] * SECOND_ORDER
    n, S = N if mask is None else np.count_nonzero(mask), np.log(V) + F + V / 32 + 5
    assert abs(loss - want) <= (S + F * np.log(V) + 3 * want) * u
    assert np.max(np.abs(dlogits - dwant)) <= (1 / np.e + F + S + 3) * u / n
    if masked:
        assert not dlogits[~mask].any()


def test_rows_go_on_from_where_the_others_are(emulator):
    """Any number of axes; the order of threads changes no bit."""
    logits, targets, mask = problem(30, 7, "float32", True)
    flat = softmax_cross_entropy(emulator(), logits, targets, mask)
    cut = [a.reshape(5, 6, *a.shape[1:]) for a in (logits, targets, mask)]
    for seed in range(3):
        loss, dlogits = softmax_cross_entropy(emulator(seed=seed), *cut)
        assert loss == flat[0]
        assert np.array_equal(dlogits.reshape(30, 7), flat[1])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_shows(emulator, bad):
    logits, targets, _ = problem(5, 12, "float32", False)
    logits[3, 4] = bad
    loss, dlogits = softmax_cross_entropy(emulator(), logits, targets, None)
    assert np.isnan(loss)
    assert np.isnan(dlogits[3]).any()
    assert np.isfinite(np.delete(dlogits, 3, axis=0)).all()


@pytest.mark.parametrize("target", [-1, 12, 2**31 - 1])
def test_a_target_that_is_no_class_is_not_looked_up(emulator, target):
    """Checked before, where it can be; in a recorded step it shows in the loss, and its row gives nothing."""
    logits, targets, _ = problem(5, 12, "float32", False)
    _, whole = softmax_cross_entropy(emulator(), logits, targets, None)
    targets[2] = target
    loss, dlogits = softmax_cross_entropy(emulator(), logits, targets, None)
    assert np.isnan(loss)
    assert not dlogits[2].any()
    assert np.array_equal(np.delete(dlogits, 2, axis=0), np.delete(whole, 2, axis=0))


def test_logits_that_would_overflow(emulator):
    logits = np.array([[1e4, 0, -1e4]], "float32")
    loss, dlogits = softmax_cross_entropy(emulator(), logits, np.array([0]), None)
    assert loss == 0
    assert not dlogits.any()


def test_it_runs_by_its_public_name(emulator):
    from gpu.stand_in import machine

    with installed() as cupy:
        logits, targets, mask = (cupy.asarray(a) for a in problem(12, 5, "float32", True))
        before = len(machine.launches)
        loss, dlogits = lc.softmax_cross_entropy(logits, targets, mask)
        assert machine.launches[before:] == ["cross_entropy", "mean_loss"]
        assert loss.shape == ()
        assert dlogits.shape == (12, 5)
        twin = cupy.ones((12, 5), dtype="complex128")  # for a complex step: array code
        lc.softmax_cross_entropy(twin, cupy.abs(targets))
        assert len(machine.launches) == before + 2
