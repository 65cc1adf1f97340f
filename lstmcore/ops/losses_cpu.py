"""Softmax cross-entropy, compiled: one pass over the rows, loss and gradient of each while it is at hand.

The formulas are those of losses.py, which tests hold this to; only the order of the sums is another.
"""

import functools
import math
from collections.abc import Callable
from pathlib import Path

import numba
import numpy as np
from numba.core import types

from lstmcore.ops.compiled.across_cpu import largest_of, sum_of
from lstmcore.ops.compiled.kernel_cpu import compile_kernel
from lstmcore.ops.compiled.maths_cpu import elementary
from lstmcore.ops.compiled.panels_cpu import packing
from lstmcore.ops.compiled.threads_cpu import run
from lstmcore.ops.compiled.vector_cpu import vectors, where_less

PIECE = 65_536  # logits of a task, about: some 100 us of work
NO_MASK = np.empty(0, bool)


def softmax_cross_entropy(
    logits: np.ndarray, targets: np.ndarray, mask: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """loss () and dlogits (..., V), both of the dtype of the logits (..., V), float32 or float64.

    targets (...) and mask (...) have been checked. Rows do not meet but in the loss, whose sum is one of sums over
    pieces that follow from the shape: the bits are the same for any number of threads.
    """
    V = logits.shape[-1]
    N, n = targets.size, targets.size if mask is None else np.count_nonzero(mask)
    own = _rows(logits, logits.dtype).reshape(N, V)
    targets = _rows(targets, np.int64).reshape(N)
    valid = NO_MASK if mask is None else _rows(mask, np.bool_).reshape(N)
    dlogits = np.empty((N, V), logits.dtype)
    rows = max(1, PIECE // V)
    losses = np.empty(-(-N // rows))  # of each task
    tasks = [(own, targets, valid, n, k * rows, min((k + 1) * rows, N), losses, k, dlogits) for k in range(losses.size)]
    run(_kernel(logits.dtype), tasks, 0)
    return np.array(sum(losses.tolist()) / n, logits.dtype), dlogits.reshape(logits.shape)


@functools.cache
def _kernel(dtype: np.dtype) -> Callable:
    """Rows `first` to `end`: what they add to the loss, and their gradients."""
    v = vectors(dtype.name)
    lanes, size, constant = v.lanes, v.size, v.constant
    load_some, load_padded, store_some, keep_some = v.load_some, v.load_padded, v.store_some, v.keep_some
    clear, (exp, _, _) = packing(dtype.name).clear, elementary(dtype.name)
    number, zero, one = dtype.type, dtype.type(0), dtype.type(1)

    def kernel(logits, targets, mask, n, first, end, losses, task, dlogits, scratch):
        V = logits.shape[1]
        weight, loss = one / number(n), 0.0
        for i in range(first, end):  # each row goes three times along its vectors: maximum, sum, gradient
            row, out = logits.ctypes.data + i * V * size, dlogits.ctypes.data + i * V * size
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
            loss += math.log(np.float64(total)) - (logits[i, target] - top)  # (61)
            p = dlogits[i, target] / total  # (60)
            for k in range(0, V, lanes):
                store_some(out + k * size, V - k, load_some(out + k * size, V - k) * (weight / total))
            dlogits[i, target] = (p - one) * weight  # (62)
        losses[task] = loss

    scalar, count = numba.from_dtype(dtype), types.int64

    def given(kind, ndim):
        return types.Array(kind, ndim, "C", readonly=True)

    signature = types.void(
        given(scalar, 2), given(count, 1), given(types.boolean, 1), *[count] * 3,
        types.Array(types.float64, 1, "C"), count, types.Array(scalar, 2, "C"), types.Array(types.uint8, 1, "C"),
    )  # fmt: skip
    return compile_kernel(kernel, f"softmax-cross-entropy-{dtype.name}", signature, SOURCES)


def _rows(a: np.ndarray, dtype: np.dtype | type) -> np.ndarray:
    """`a`, copied if it is of another dtype or does not lie in memory as kernels read it."""
    return a if a.dtype == dtype and a.flags.c_contiguous and a.flags.aligned else np.array(a, dtype, order="C")


HERE = Path(__file__).parent
SOURCES = (Path(__file__), HERE / "compiled", HERE / "cells")
