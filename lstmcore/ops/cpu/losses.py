"""The losses, compiled: one pass over the rows, loss and gradient of each while it is at hand.

The formulas are those of losses.py, which tests hold this to; only the order of the sums is another. Rows do not meet
but in the loss, whose sum is one of sums over pieces that follow from the shape: the bits are the same for any number
of threads. Targets and masks have been checked.
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
from lstmcore.ops.cpu.memory import vectors
from lstmcore.ops.cpu.panels import packing
from lstmcore.ops.cpu.threads import run
from lstmcore.ops.cpu.vector import where_less

PIECE = 65_536  # numbers of a task, about: some 100 us of work
BLOCK = 4096  # squares that are summed in their own dtype, and then in float64
NO_MASK = np.empty(0, bool)


def softmax_cross_entropy(
    logits: np.ndarray, targets: np.ndarray, mask: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """loss () and dlogits (..., V) of logits (..., V), float32 or float64; targets and mask (...)."""
    V = logits.shape[-1]
    n = targets.size if mask is None else np.count_nonzero(mask)
    dlogits = np.empty(logits.shape, logits.dtype)
    total = _over_pieces(
        _cross_entropy(logits.dtype),
        (_rows(logits, logits.dtype).reshape(-1, V), _rows(targets, np.int64).reshape(-1), _flat(mask), n),
        targets.size,
        dlogits.reshape(-1, V),
    )
    return np.array(total / n, logits.dtype), dlogits


def squared_error(y: np.ndarray, targets: np.ndarray, mask: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """loss () and dy of y and targets of one shape, float32 or float64; mask of the same, or of that less its last
    axis."""
    N = y.size if mask is None else mask.size
    columns = y.size // N
    n = columns * (N if mask is None else np.count_nonzero(mask))
    dy = np.empty(y.shape, y.dtype)
    total = _over_pieces(
        _squared_error(y.dtype),
        (_rows(y, y.dtype).reshape(N, -1), _rows(targets, y.dtype).reshape(N, -1), _flat(mask), n),
        N,
        dy.reshape(N, -1),
    )
    return np.array(total / n, y.dtype), dy


def _over_pieces(kernel: Callable, given: tuple, N: int, gradient: np.ndarray) -> float:
    """Hands the rows to the threads, piece by piece; the sum of what the pieces add to the loss."""
    rows = max(1, PIECE // gradient.shape[1])
    losses = np.empty(-(-N // rows))
    run(kernel, (*given, rows, losses, gradient), losses.size, 0)
    return sum(losses.tolist())


@functools.cache
def _cross_entropy(dtype: np.dtype) -> Callable:
    """A piece of so many rows: what they add to the loss, and their gradients."""
    v = vectors(dtype.name)
    lanes, size, constant = v.lanes, v.size, v.constant
    load_some, load_padded, store_some, keep_some = v.load_some, v.load_padded, v.store_some, v.keep_some
    clear, (exp, _, _) = packing(dtype.name).clear, elementary(dtype.name)
    number, zero, one = dtype.type, dtype.type(0), dtype.type(1)

    def kernel(logits, targets, mask, n, rows, losses, dlogits, task, scratch):
        V = logits.shape[1]
        first, end = task * rows, min((task + 1) * rows, logits.shape[0])
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

    target = types.Array(types.int64, 1, "C", readonly=True)
    return compile_tasks(kernel, f"softmax-cross-entropy-{dtype.name}", _signature(dtype, target))


@functools.cache
def _squared_error(dtype: np.dtype) -> Callable:
    """The same of the squared error. Neighbours that are valid go as one."""
    v = vectors(dtype.name)
    lanes, size, constant, load_some, store_some = v.lanes, v.size, v.constant, v.load_some, v.store_some
    clear, number, zero = packing(dtype.name).clear, dtype.type, dtype.type(0)

    def kernel(y, targets, mask, n, rows, losses, dy, task, scratch):
        columns, loss = y.shape[1], 0.0
        i, end = task * rows, min((task + 1) * rows, y.shape[0])
        while i < end:
            j, valid = i + 1, mask.size == 0 or mask[i]
            while j < end and (mask.size == 0 or mask[j] == valid):
                j += 1
            here, count = i * columns * size, (j - i) * columns
            i = j
            if not valid:
                clear(dy.ctypes.data + here, count)
                continue
            for block in range(0, count, BLOCK):
                squares = constant(zero)
                for k in range(block, min(block + BLOCK, count), lanes):
                    place = here + k * size
                    t = load_some(targets.ctypes.data + place, count - k)
                    difference = load_some(y.ctypes.data + place, count - k) - t
                    squares = squares + difference * difference  # (63)
                    store_some(dy.ctypes.data + place, count - k, (difference + difference) / number(n))  # (64)
                loss += sum_of(squares)
        losses[task] = loss

    values = types.Array(numba.from_dtype(dtype), 2, "C", readonly=True)
    return compile_tasks(kernel, f"squared-error-{dtype.name}", _signature(dtype, values))


def _signature(dtype: np.dtype, targets: types.Array) -> numba.core.typing.Signature:
    """(outputs, targets, mask, valid items, rows of a piece, losses of the pieces, gradient)."""
    scalar, count = numba.from_dtype(dtype), types.int64
    mask = types.Array(types.boolean, 1, "C", readonly=True)
    return types.void(
        types.Array(scalar, 2, "C", readonly=True), targets, mask, count, count,
        types.Array(types.float64, 1, "C"), types.Array(scalar, 2, "C"),
    )  # fmt: skip


def _flat(mask: np.ndarray | None) -> np.ndarray:
    return NO_MASK if mask is None else _rows(mask, np.bool_).reshape(-1)


def _rows(a: np.ndarray, dtype: np.dtype | type) -> np.ndarray:
    """`a`, copied if it is of another dtype or does not lie in memory as kernels read it."""
    return a if a.dtype == dtype and a.flags.c_contiguous and a.flags.aligned else np.array(a, dtype, order="C")
