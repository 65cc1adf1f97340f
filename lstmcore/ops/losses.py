"""Losses and their gradients, averaged over the valid items. Targets of masked items are never read."""

import functools
from types import ModuleType

import numpy as np

from lstmcore.arrays import Array, is_float32_or_64, library_name, namespace, real
from lstmcore.ops.cpu.compiler import has_compiler
from lstmcore.shapes import check_targets, check_valid, check_values


def softmax_cross_entropy(logits: Array, targets: Array, mask: Array | None = None) -> tuple[Array, Array]:
    """The loss and its gradient: mean of -log softmax(logits)[target], in nats, over the valid items.

    logits (..., V) floating; targets (...) integers in [0, V), never read where the mask is false; mask (...) bool.
    Returns loss () and dlogits (..., V), zero at masked items. Raises TypeError and ValueError for what does not fit,
    a target out of range, and a mask without a valid item.
    """
    check_targets(targets, logits, mask)
    if type(logits) is np.ndarray and is_float32_or_64(logits.dtype) and has_compiler():
        return _compiled().softmax_cross_entropy(logits, targets, mask)
    if library_name(logits) == "cupy" and is_float32_or_64(logits.dtype):
        return _on_gpu(logits, targets, mask)
    loss, p = softmax_cross_entropy_forward(logits, targets, mask)
    return loss, softmax_cross_entropy_backward(p, targets, mask)


def squared_error(y: Array, targets: Array, mask: Array | None = None) -> tuple[Array, Array]:
    """The loss and its gradient: mean of (y - t)^2 over the valid items, without a half.

    y, targets (...) of one dtype; mask bool, of the shape of the targets, or of that less its last axis. Returns
    loss () and dy (...), zero at masked items. Raises TypeError and ValueError for what does not fit.
    """
    check_values(targets, y)
    of_rows = targets.ndim > 0 and mask is not None and getattr(mask, "shape", None) == targets.shape[:-1]
    check_valid(None if of_rows else mask, targets, "targets")
    if of_rows:
        check_valid(mask, targets[..., 0], "targets")
    if type(y) is np.ndarray and is_float32_or_64(y.dtype) and has_compiler():
        return _compiled().squared_error(y, targets, mask)
    if mask is not None and of_rows:
        mask = namespace(mask).broadcast_to(mask[..., None], targets.shape)
    loss, difference = squared_error_forward(y, targets, mask)
    return loss, squared_error_backward(difference, mask)


def softmax(logits: Array) -> Array:
    """Probabilities over the last axis: exp(l_v) / sum_v exp(l_v), shifted by the maximum so that nothing overflows."""
    e = namespace(logits).exp(_shifted(logits))
    return e / namespace(logits).sum(e, axis=-1, keepdims=True)


def softmax_cross_entropy_forward(logits: Array, targets: Array, mask: Array | None) -> tuple[Array, Array]:
    """Mean of -log p[target] over the valid rows, from logits: no log of a probability, so never log(0).

    logits (..., V), targets (...) integers, mask (...) bool or None -> loss (), p (..., V).
    """
    xp = namespace(logits)
    n = _count(mask, targets, logits)
    shifted = _shifted(logits)
    e = xp.exp(shifted)
    total = xp.sum(e, axis=-1, keepdims=True)
    picked = xp.sum(xp.where(_one_hot(targets, logits), shifted, xp.zeros_like(shifted)), axis=-1)
    losses = xp.log(total[..., 0]) - picked  # -log p[target] = log sum_v exp(l_v) - l[target]
    return _mean(losses, mask, n), e / total  # (61), (60)


def softmax_cross_entropy_backward(p: Array, targets: Array, mask: Array | None) -> Array:
    """dlogits (..., V) = (p - onehot(target)) / n on valid rows, zero elsewhere."""
    xp = namespace(p)
    n = _count(mask, targets, p)
    dlogits = (p - xp.astype(_one_hot(targets, p), p.dtype)) / n  # (62) undoes (61)
    return dlogits if mask is None else xp.where(mask[..., None], dlogits, xp.zeros_like(dlogits))


def squared_error_forward(y: Array, targets: Array, mask: Array | None) -> tuple[Array, Array]:
    """Mean of (y - t)^2 over the valid items, without a half; all (...) -> loss (), difference (...)."""
    xp = namespace(y)
    difference = y - targets
    if mask is not None:
        difference = xp.where(mask, difference, xp.zeros_like(difference))
    return _mean(difference * difference, None, _count(mask, y, y)), difference  # (63)


def squared_error_backward(difference: Array, mask: Array | None) -> Array:
    """dy (...) = 2 (y - t) / n on valid items, zero elsewhere."""
    return 2 * difference / _count(mask, difference, difference)  # (64) undoes (63)


def _shifted(logits: Array) -> Array:
    # The maximum of the real part enters as a constant: it cancels, so it has no gradient.
    return logits - namespace(logits).max(real(logits), axis=-1, keepdims=True)


def _one_hot(targets: Array, logits: Array) -> Array:
    """(..., V) bool; a mark that is no class, on a masked row, equals none."""
    return targets[..., None] == namespace(logits).arange(logits.shape[-1])


def _count(mask: Array | None, items: Array, like: Array) -> Array | int:
    """How many items are valid. From a mask on a GPU an array () of the dtype of `like`: the host need not know."""
    if mask is None:
        return items.size
    xp = namespace(mask)
    n = xp.count_nonzero(mask)
    return int(n) if xp is np else xp.astype(n, like.dtype)


def _mean(losses: Array, mask: Array | None, n: Array | int) -> Array:
    xp = namespace(losses)
    if mask is not None:
        losses = xp.where(mask, losses, xp.zeros_like(losses))
    return xp.asarray(xp.sum(losses) / n)


def _on_gpu(logits: Array, targets: Array, mask: Array | None) -> tuple[Array, Array]:
    """Softmax cross-entropy by a kernel."""
    from lstmcore.ops.gpu.cupy_machine import current_machine
    from lstmcore.ops.gpu.losses import softmax_cross_entropy

    return softmax_cross_entropy(current_machine(), logits, targets, mask)


@functools.cache
def _compiled() -> ModuleType:
    """The compiled losses, imported when they are needed: Numba takes a while."""
    from lstmcore.ops.cpu import losses as losses_cpu

    return losses_cpu
