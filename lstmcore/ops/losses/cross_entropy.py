"""Softmax cross-entropy and its gradient, averaged over the valid items. Targets of masked items are never read."""

import functools
from types import ModuleType

import numpy as np

from lstmcore.arrays import Array, is_float32_or_64, library_name, namespace
from lstmcore.ops.activation import without_maximum
from lstmcore.ops.cpu.compiler import has_compiler
from lstmcore.ops.losses.mean import count, mean
from lstmcore.shapes import check_class_weights, check_targets, check_weighed


def softmax_cross_entropy(
    logits: Array, targets: Array, mask: Array | None = None, weights: Array | None = None
) -> tuple[Array, Array]:
    """The loss and its gradient: mean of -log softmax(logits)[target], in nats, over the valid items.

    logits (..., V) floating; targets (...) integers in [0, V), never read where the mask is false; mask (...) bool.
    weights (V,), of the dtype of the logits: an item counts weights[target] times, in the sum and in what the sum is
    divided by, so that a rare class can count more. None: every item once.
    Returns loss () and dlogits (..., V), zero at masked items. Raises TypeError and ValueError for what does not fit,
    a target out of range, a mask without a valid item, and weights that leave nothing to be counted.
    """
    check_targets(targets, logits, mask)
    if weights is not None:
        check_class_weights(weights, logits)
        check_weighed(targets, mask, weights)
    if type(logits) is np.ndarray and is_float32_or_64(logits.dtype) and has_compiler():
        return _compiled().softmax_cross_entropy(logits, targets, mask, weights)
    if library_name(logits) == "cupy" and is_float32_or_64(logits.dtype) and weights is None:
        return _on_gpu(logits, targets, mask)
    loss, p = softmax_cross_entropy_forward(logits, targets, mask, weights)
    return loss, softmax_cross_entropy_backward(p, targets, mask, weights)


def softmax_cross_entropy_forward(
    logits: Array, targets: Array, mask: Array | None, weights: Array | None = None
) -> tuple[Array, Array]:
    """Mean of -log p[target] over the valid rows, from logits: no log of a probability, so never log(0).

    logits (..., V), targets (...) integers, mask (...) bool or None, weights (V,) or None -> loss (), p (..., V).
    """
    xp = namespace(logits)
    shifted = without_maximum(logits)
    e = xp.exp(shifted)
    total = xp.sum(e, axis=-1, keepdims=True)
    picked = xp.sum(xp.where(_one_hot(targets, logits), shifted, xp.zeros_like(shifted)), axis=-1)
    losses = xp.log(total[..., 0]) - picked  # -log p[target] = log sum_v exp(l_v) - l[target]
    return mean(losses, mask, _times(targets, logits, weights)), e / total  # (61), (60)


def softmax_cross_entropy_backward(p: Array, targets: Array, mask: Array | None, weights: Array | None = None) -> Array:
    """dlogits (..., V) = (p - onehot(target)) / n on valid rows, zero elsewhere; times weights[target] if there are."""
    xp = namespace(p)
    times = _times(targets, p, weights)
    dlogits = p - xp.astype(_one_hot(targets, p), p.dtype)
    dlogits = (dlogits if times is None else dlogits * times[..., None]) / count(mask, targets, p, times)
    # (62) undoes (61)
    return dlogits if mask is None else xp.where(mask[..., None], dlogits, xp.zeros_like(dlogits))


def _one_hot(targets: Array, logits: Array) -> Array:
    """(..., V) bool; a mark that is no class, on a masked row, equals none."""
    return targets[..., None] == namespace(logits).arange(logits.shape[-1])


def _times(targets: Array, logits: Array, weights: Array | None) -> Array | None:
    """(...): how many times each row counts; None for once each. A mark that is no class, on a masked row: zero."""
    if weights is None:
        return None
    xp = namespace(logits)
    return xp.sum(xp.where(_one_hot(targets, logits), weights, xp.zeros_like(weights)), axis=-1)


def _on_gpu(logits: Array, targets: Array, mask: Array | None) -> tuple[Array, Array]:
    """Softmax cross-entropy by a kernel."""
    from lstmcore.ops.gpu.cupy_machine import current_machine
    from lstmcore.ops.gpu.losses import softmax_cross_entropy

    return softmax_cross_entropy(current_machine(), logits, targets, mask)


@functools.cache
def _compiled() -> ModuleType:
    """The compiled loss, imported when it is needed: Numba takes a while."""
    from lstmcore.ops.cpu import cross_entropy

    return cross_entropy
