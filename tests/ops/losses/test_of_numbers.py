"""Losses of single numbers: values by the textbook formula, gradients by complex step, masked items never read, the
compiled held to the array code."""

import functools
import math

import numba
import numpy as np
import pytest
from cases import by_complex_step

import lstmcore as lc
from lstmcore.ops.losses import of_numbers
from lstmcore.ops.losses.of_numbers import mean_backward, mean_forward

DELTA = 0.75
LOSSES = {
    "squared": (lc.squared_error, lambda y, t: (y - t) ** 2),
    "absolute": (lc.absolute_error, lambda y, t: abs(y - t)),
    "huber_line": (
        functools.partial(lc.huber, delta=DELTA),
        lambda y, t: (y - t) ** 2 / 2 if abs(y - t) <= DELTA else DELTA * (abs(y - t) - DELTA / 2),
    ),
    "binary": (
        lc.binary_cross_entropy,
        lambda y, t: -t * math.log(1 / (1 + math.exp(-y))) - (1 - t) * math.log(1 / (1 + math.exp(y))),
    ),
}
SLOPES = dict(zip(LOSSES, ("squared_slope", "absolute_slope", "huber_slope", "binary_slope")))
NEARLY = math.log1p(math.exp(-20))
EPS = np.finfo(float).eps


def given(shape, kind, dtype="float64", mark=np.nan):
    """y, targets in [0, 1], the mask and the whole mask; masked targets hold a mark."""
    rng = np.random.default_rng(2)
    y, targets = rng.normal(size=shape), rng.random(shape)
    mask = {"none": None, "items": rng.random(shape) < 0.6, "rows": rng.random(shape[:-1]) < 0.6}[kind]
    whole = np.ones(shape, bool)
    if mask is not None:
        mask = np.asarray(mask)
        mask.flat[0] = True
        whole = np.broadcast_to(mask[..., None], shape) if kind == "rows" else mask
    return y.astype(dtype), np.where(whole, targets, mark).astype(dtype), mask, whole


@pytest.mark.parametrize("kind", ["none", "items", "rows"])
@pytest.mark.parametrize("mark", [np.nan, -3.0])
@pytest.mark.parametrize("name", LOSSES)
def test_by_the_textbook(name, kind, mark):
    """At most 24 terms of a few roundings each: 100 eps."""
    function, textbook = LOSSES[name]
    y, targets, mask, whole = given((4, 3, 2), kind, mark=mark)
    loss, dy = function(y, targets, mask)
    assert loss.shape == ()
    assert abs(loss - sum(map(textbook, y[whole], targets[whole])) / whole.sum()) <= 100 * EPS
    safe = np.where(whole, targets, 0.0).astype(complex)
    want = by_complex_step(lambda v: mean_forward(getattr(of_numbers, name), v, safe, whole, DELTA), y)
    assert np.max(np.abs(dy - want)) <= 100 * EPS
    assert not dy[~whole].any()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("shape", "kind"),
    [(shape, kind) for shape in [(1,), (50, 3), (7, 6, 33), (40, 30, 6)] for kind in ("none", "items", "rows")]
    + [((), "none"), ((), "items")],
)
@pytest.mark.parametrize("name", LOSSES)
def test_compiled_as_array_code(name, shape, kind, dtype):
    """A mean of n terms that are not negative, each right to 10 roundings (binary: exp, a quotient, the series, 1 - t;
    huber: |d| - delta / 2 doubles the error of d), in long doubles. The gradient is array code's own; the compiled
    sigmoid's is within 3 ULP of a number below 1 (docs/cpu.md), array code's too, and both are rounded twice more."""
    function, _ = LOSSES[name]
    y, targets, mask, whole = given(shape, kind, dtype)
    loss, dy = function(y, targets, mask)
    assert loss.dtype == dy.dtype == dtype
    n, eps, slopes = whole.sum(), np.finfo(dtype).eps, getattr(of_numbers, SLOPES[name])
    safe = np.where(whole, targets, 0)
    exact = mean_forward(getattr(of_numbers, name), y.astype(np.longdouble), safe.astype(np.longdouble), whole, DELTA)
    assert abs(loss - exact) <= (n + 10) * eps * exact
    want = mean_backward(slopes, y, targets, None if mask is None else whole, DELTA)
    if name == "binary":
        assert np.abs(dy - want).max() <= 8 * eps / n
    else:
        np.testing.assert_array_equal(dy, want)


@pytest.mark.parametrize("name", LOSSES)
def test_every_layout_and_number_of_threads_gives_the_same_bits(name):
    function, _ = LOSSES[name]
    y, targets, mask, _ = given((60, 50, 42), "rows", "float32", mark=0.5)
    loss, dy = function(y, targets, mask)
    wide = np.zeros((60, 50, 84), "float32")
    wide[..., ::2] = y
    odd = np.frombuffer(b"-" + y.tobytes(), "float32", offset=1).reshape(y.shape)
    assert not odd.flags.aligned
    before = numba.get_num_threads()
    try:
        for other, threads in ((wide[..., ::2], before), (np.asfortranarray(y), before), (odd, before), (y, 1)):
            numba.set_num_threads(threads)
            again, dagain = function(other, np.asfortranarray(targets), np.asfortranarray(mask))
            assert again == loss
            np.testing.assert_array_equal(dagain, dy)
    finally:
        numba.set_num_threads(before)


def test_sure_answers():
    """Logits far out: nothing overflows; what is nearly right costs log(1 + e^-|y|) to full accuracy, else |y| more."""
    for dtype in ("float32", "float64"):
        y = np.array([20, 20, -20, -20, 700, -700], dtype)
        t = np.array([1, 0, 0, 1, 1, 0], dtype)
        for k, want in enumerate([NEARLY, 20 + NEARLY, NEARLY, 20 + NEARLY, 0, 0]):
            loss, dy = lc.binary_cross_entropy(y[k : k + 1], t[k : k + 1])
            assert abs(loss - want) <= 10 * np.finfo(dtype).eps * want + 1e-300
            assert abs(dy[0] - (1 if t[k] == 0 else -1) * (want >= 1)) <= 2.1e-9
    assert float(lc.huber(np.array([1e300]), np.array([0.0]))[0]) == 1e300


@pytest.mark.parametrize("name", LOSSES)
def test_nan_is_not_hidden(name):
    y = np.array([0.5, np.nan, 2.0])
    loss, dy = LOSSES[name][0](y, np.array([0.0, 1.0, 1.0]))
    assert math.isnan(loss)
    assert np.isnan(dy).tolist() == [False, True, False]


def test_what_is_refused():
    y = np.zeros((2, 2))
    mask = np.array([[True, True], [True, False]])
    for delta in (0, -1, math.inf, math.nan, True, "1"):
        with pytest.raises(ValueError, match="`delta` should be a positive number; got"):
            lc.huber(y, y, delta=delta)
    for mark in (-1.0, 1.5, np.nan):
        targets = np.array([[0.0, 1.0], [mark, 0.0]])
        with pytest.raises(ValueError, match=r"lie in 0 .. 1, false to true; got .* at \(1, 0\)"):
            lc.binary_cross_entropy(y, targets, mask)
        with pytest.raises(ValueError, match=r"lie in 0 .. 1"):
            lc.binary_cross_entropy(y, targets[::-1], np.array([True, True]))
        assert float(lc.binary_cross_entropy(y, targets[:, ::-1].copy(), mask)[0]) == pytest.approx(
            math.log(2), rel=1e-15
        )
    with pytest.raises(TypeError, match="`targets` should be float64"):
        lc.binary_cross_entropy(y, np.zeros((2, 2), bool))
    for function, _ in LOSSES.values():
        with pytest.raises(ValueError, match="the shape of y"):
            function(y, np.zeros(2))
        with pytest.raises(ValueError, match="at least one valid item"):
            function(y, y, np.zeros(2, bool))
