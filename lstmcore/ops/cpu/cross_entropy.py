"""Softmax cross-entropy, compiled: one pass over the rows, loss and gradient of each while it is at hand.

The formulas are those of ops/losses/cross_entropy.py, which tests hold this to; only the order of the sums is another.
Targets, masks and weights have been checked.
"""

import functools
import math
from collections.abc import Callable

import numba
import numpy as np
from numba.core import types

from lstmcore.ops.cpu.across import largest_of, sum_of
from lstmcore.ops.cpu.kernel import compile_tasks
from lstmcore.ops.cpu.maths import elementary
from lstmcore.ops.cpu.memory import address, vectors
from lstmcore.ops.cpu.panels import packing
from lstmcore.ops.cpu.pieces import flat, in_rows, over_pieces
from lstmcore.ops.cpu.vector import where_less


def softmax_cross_entropy(
    logits: np.ndarray, targets: np.ndarray, mask: np.ndarray | None, weights: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """loss () and dlogits (..., V) of logits (..., V), float32 or float64; targets and mask (...), weights (V,)."""
    V = logits.shape[-1]
    if weights is None:
        n = targets.size if mask is None else np.count_nonzero(mask)
        weights = np.empty(0, logits.dtype)
    else:
        n = weights[targets if mask is None else targets[mask]].sum(dtype=np.float64)
        weights = in_rows(weights, logits.dtype)
    dlogits = np.empty(logits.shape, logits.dtype)
    total = over_pieces(
        _cross_entropy(logits.dtype),
        (in_rows(logits, logits.dtype).reshape(-1, V), in_rows(targets, np.int64).reshape(-1), flat(mask), weights, n),
        targets.size,
        dlogits.reshape(-1, V),
    )
    return np.array(total / n, logits.dtype), dlogits


@functools.cache
def _cross_entropy(dtype: np.dtype) -> Callable:
    """A piece of `rows` rows: what they add to the loss, and their gradients."""
    v = vectors(dtype.name)
    lanes, size, constant = v.lanes, v.size, v.constant
    load_some, load_padded, store_some, keep_some = v.load_some, v.load_padded, v.store_some, v.keep_some
    clear, (exp, _, _) = packing(dtype.name).clear, elementary(dtype.name)
    number, zero, one = dtype.type, dtype.type(0), dtype.type(1)

    def kernel(logits, targets, mask, weights, n, rows, losses, dlogits, task, scratch):
        V = logits.shape[1]
        first, end = task * rows, min((task + 1) * rows, logits.shape[0])
        share, loss = one / number(n), 0.0
        for i in range(first, end):  # each row goes three times along its vectors: maximum, sum, gradient
            row, out = address(logits) + i * V * size, address(dlogits) + i * V * size
            if mask.size > 0 and not mask[i]:
                clear(out, V)
                continue
            tops, totals = constant(logits[i, 0]), constant(zero)
            for k in range(0, V, lanes):
                x = load_padded(row + k * size, V - k, logits[i, 0])
                tops = where_less(tops, x, x, tops)
            top = largest_of(tops)
            for k in range(0, V, lanes):
                e = exp(load_padded(row + k * size, V - k, top) - top)  # 1 in the lanes beyond V: tiny ones are slow
                store_some(out + k * size, V - k, e)
                totals = totals + keep_some(e, V - k)
            total, target = sum_of(totals), targets[i]
            times = weights[target] if weights.size > 0 else one
            weight = times * share
            loss += times * (math.log(np.float64(total)) - (logits[i, target] - top))  # (61)
            p = dlogits[i, target] / total  # (60)
            for k in range(0, V, lanes):
                store_some(out + k * size, V - k, load_some(out + k * size, V - k) * (weight / total))
            dlogits[i, target] = (p - one) * weight  # (62)
        losses[task] = loss

    scalar, count = numba.from_dtype(dtype), types.int64
    given = [
        types.Array(kind, dimensions, "C", readonly=True)
        for kind, dimensions in ((scalar, 2), (types.int64, 1), (types.boolean, 1), (scalar, 1))
    ]
    signature = types.void(
        *given, types.float64, count, types.Array(types.float64, 1, "C"), types.Array(scalar, 2, "C")
    )
    return compile_tasks(kernel, f"softmax-cross-entropy-{dtype.name}", signature)
