"""Losses that look at one number at a time, loss next to slope: squared, absolute and Huber's error, and binary
cross-entropy. Each is the mean (63) of its `losses`; its gradient (64) is their slopes over the count.
"""

import functools
from collections.abc import Callable
from types import ModuleType

import numpy as np

from lstmcore.arrays import Array, is_float32_or_64, namespace, real
from lstmcore.ops.activation import sigmoid
from lstmcore.ops.cpu.compiler import has_compiler
from lstmcore.ops.losses.mean import count, mean
from lstmcore.shapes import check_positive, check_probabilities, check_valid, check_values

OfNumbers = Callable[[Array, Array, float], Array]  # (y, targets, delta) -> losses, or their slopes by y


def squared_error(y: Array, targets: Array, mask: Array | None = None) -> tuple[Array, Array]:
    """The loss and its gradient: mean of (y - t)^2 over the valid items, without a half.

    y, targets (...) of one dtype; mask bool, of the shape of the targets, or of that less its last axis. Returns
    loss () and dy (...), zero at masked items. Raises TypeError and ValueError for what does not fit.
    """
    return _mean_of(squared, squared_slope, y, targets, mask)


def absolute_error(y: Array, targets: Array, mask: Array | None = None) -> tuple[Array, Array]:
    """The loss and its gradient: mean of |y - t| over the valid items. Arrays and errors as in `squared_error`.

    Its best constant guess is the median. The slope is -1 or 1, and 0 where y = t.
    """
    return _mean_of(absolute, absolute_slope, y, targets, mask)


def huber(y: Array, targets: Array, mask: Array | None = None, delta: float = 1.0) -> tuple[Array, Array]:
    """The loss and its gradient: mean over the valid items of (y - t)^2 / 2 up to |y - t| = delta, and of the straight
    line that goes on from there, delta (|y - t| - delta / 2). Arrays and errors as in `squared_error`.

    Outliers pull no harder than delta (Huber 1964, Annals of Mathematical Statistics 35, 73-101). Raises ValueError
    for a delta that is not positive.
    """
    check_positive("delta", delta)
    return _mean_of(huber_line, huber_slope, y, targets, mask, delta)


def binary_cross_entropy(logits: Array, targets: Array, mask: Array | None = None) -> tuple[Array, Array]:
    """The loss and its gradient: mean of -t log p - (1 - t) log(1 - p), in nats, p = sigmoid(logit), over the valid
    items. For several labels at once, each true or false by itself. Arrays and errors as in `squared_error`.

    targets: 0 and 1, or probabilities between them. Computed from the logits, so that there is no log(0): give it the
    output of a Linear layer, not of a Sigmoid. Raises ValueError for a valid target outside [0, 1].
    """
    return _mean_of(binary, binary_slope, logits, targets, mask, check=check_probabilities)


# ---- one number --------------------------------------------------------------------------------------------------
# Branches go by the real part, so that a complex step passes.


def squared(y: Array, t: Array, delta: float) -> Array:
    return (y - t) * (y - t)


def squared_slope(y: Array, t: Array, delta: float) -> Array:
    return 2 * (y - t)


def absolute(y: Array, t: Array, delta: float) -> Array:
    return (y - t) * absolute_slope(y, t, delta)


def absolute_slope(y: Array, t: Array, delta: float) -> Array:
    xp = namespace(y)
    return xp.astype(xp.sign(real(y - t)), y.dtype)


def huber_line(y: Array, t: Array, delta: float) -> Array:
    d = y - t
    return namespace(y).where(_near(d, delta), d * d / 2, delta * (absolute(y, t, delta) - delta / 2))


def huber_slope(y: Array, t: Array, delta: float) -> Array:
    d = y - t
    return namespace(y).where(_near(d, delta), d, delta * absolute_slope(y, t, delta))


def binary(y: Array, t: Array, delta: float) -> Array:
    """log(1 + e^y) - t y, as log(1 + e^-|y|) plus (1 - t) y or -t y: nothing overflows, and nothing cancels."""
    xp = namespace(y)
    positive = real(y) > 0
    return xp.log1p(xp.exp(xp.where(positive, -y, y))) + xp.where(positive, (1 - t) * y, -t * y)


def binary_slope(y: Array, t: Array, delta: float) -> Array:
    return sigmoid(y) - t


def _near(d: Array, delta: float) -> Array:
    return (real(d) <= delta) & (real(d) >= -delta)


# ---- their mean --------------------------------------------------------------------------------------------------


def _mean_of(
    losses: OfNumbers,
    slopes: OfNumbers,
    y: Array,
    targets: Array,
    mask: Array | None,
    delta: float = 1.0,
    check: Callable[[Array, Array | None], None] | None = None,
) -> tuple[Array, Array]:
    """loss () and dy (...): the mean of the losses, and their slopes over the count."""
    check_values(targets, y)
    of_rows = targets.ndim > 0 and mask is not None and getattr(mask, "shape", None) == targets.shape[:-1]
    check_valid(None if of_rows else mask, targets, "targets")
    if of_rows:
        check_valid(mask, targets[..., 0], "targets")
    if check is not None:
        check(targets, mask[..., None] if mask is not None and of_rows else mask)
    if type(y) is np.ndarray and is_float32_or_64(y.dtype) and has_compiler():
        return _compiled().mean_of(losses.__name__, y, targets, mask, delta)
    if mask is not None and of_rows:
        mask = namespace(mask).broadcast_to(mask[..., None], targets.shape)
    return mean_forward(losses, y, targets, mask, delta), mean_backward(slopes, y, targets, mask, delta)


def mean_forward(losses: OfNumbers, y: Array, targets: Array, mask: Array | None, delta: float = 1.0) -> Array:
    """Mean over the valid items; y, targets, mask (...) -> loss ()."""
    return mean(losses(y, _read(y, targets, mask), delta), mask)  # (63)


def mean_backward(slopes: OfNumbers, y: Array, targets: Array, mask: Array | None, delta: float = 1.0) -> Array:
    """dy (...), zero at masked items."""
    dy = slopes(y, _read(y, targets, mask), delta) / count(mask, y, y)  # (64) undoes (63)
    return dy if mask is None else namespace(y).where(mask, dy, namespace(y).zeros_like(dy))


def _read(y: Array, targets: Array, mask: Array | None) -> Array:
    """The targets of the valid items; in place of the others y itself, whatever marks they hold."""
    return targets if mask is None else namespace(y).where(mask, targets, y)


@functools.cache
def _compiled() -> ModuleType:
    """The compiled losses, imported when they are needed: Numba takes a while."""
    from lstmcore.ops.cpu import losses_of_numbers

    return losses_of_numbers
