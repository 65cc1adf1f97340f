"""The losses of single numbers, compiled: one pass, loss and gradient of each vector while it is at hand.

The formulas are those of ops/losses/of_numbers.py, which tests hold this to; only the order of the sums is another.
Targets and masks have been checked.
"""

import functools
from collections.abc import Callable

import numba
import numpy as np
from numba.core import types

from lstmcore.ops.cpu.across import sum_of
from lstmcore.ops.cpu.jitable import jitable
from lstmcore.ops.cpu.kernel import compile_tasks
from lstmcore.ops.cpu.maths import elementary, log_of_one_and
from lstmcore.ops.cpu.memory import address, vectors
from lstmcore.ops.cpu.panels import packing
from lstmcore.ops.cpu.pieces import flat, in_rows, over_pieces
from lstmcore.ops.cpu.vector import absolute, where_less, with_sign

BLOCK = 4096  # losses that are summed in their own dtype, and then in float64


def mean_of(
    kind: str, y: np.ndarray, targets: np.ndarray, mask: np.ndarray | None, delta: float
) -> tuple[np.ndarray, np.ndarray]:
    """loss () and dy of y and targets of one shape, float32 or float64; mask of the same, or of that less its last
    axis. kind: the name of the loss in ops/losses/of_numbers.py."""
    N = y.size if mask is None else mask.size
    columns = y.size // N
    n = columns * (N if mask is None else np.count_nonzero(mask))
    dy = np.empty(y.shape, y.dtype)
    total = over_pieces(
        _mean_of(kind, y.dtype),
        (in_rows(y, y.dtype).reshape(N, -1), in_rows(targets, y.dtype).reshape(N, -1), flat(mask), n, delta),
        N,
        dy.reshape(N, -1),
    )
    return np.array(total / n, y.dtype), dy


@functools.cache
def _mean_of(kind: str, dtype: np.dtype) -> Callable:
    """A piece of `rows` rows: what they add to the loss, and their gradients. Neighbours that are valid go as one."""
    v = vectors(dtype.name)
    lanes, size, constant = v.lanes, v.size, v.constant
    load_some, store_some, keep_some = v.load_some, v.store_some, v.keep_some
    clear, number, zero, one = packing(dtype.name).clear, dtype.type, dtype.type(0), dtype.type(1)
    half = dtype.type(0.5)
    _, _, sigmoid = elementary(dtype.name)
    log_of_one_and_exp = log_of_one_and(dtype.name)

    @jitable
    def squared(y, t, delta):
        d = y - t
        return d * d, d + d

    @jitable
    def absolute_(y, t, delta):
        d = y - t
        return absolute(d), where_less(constant(zero), absolute(d), with_sign(constant(one), d), d)  # 0 or NaN: itself

    @jitable
    def huber_line(y, t, delta):
        d = y - t
        size, bend = absolute(d), constant(delta)
        return where_less(bend, size, bend * (size - bend * half), d * d * half), where_less(
            bend, size, with_sign(bend, d), d
        )

    @jitable
    def binary(y, t, delta):
        straight = where_less(constant(zero), y, (constant(one) - t) * y, -t * y)
        return straight + log_of_one_and_exp(absolute(y)), sigmoid(y) - t

    each = {"squared": squared, "absolute": absolute_, "huber_line": huber_line, "binary": binary}[kind]

    def kernel(y, targets, mask, n, delta, rows, losses, dy, task, scratch):
        columns, loss = y.shape[1], 0.0
        i, end = task * rows, min((task + 1) * rows, y.shape[0])
        while i < end:
            j, valid = i + 1, mask.size == 0 or mask[i]
            while j < end and (mask.size == 0 or mask[j] == valid):
                j += 1
            here, count = i * columns * size, (j - i) * columns
            i = j
            if not valid:
                clear(address(dy) + here, count)
                continue
            for block in range(0, count, BLOCK):
                total = constant(zero)
                for k in range(block, min(block + BLOCK, count), lanes):
                    place = here + k * size
                    t = load_some(address(targets) + place, count - k)
                    some, slope = each(load_some(address(y) + place, count - k), t, number(delta))
                    total = total + keep_some(some, count - k)  # (63)
                    store_some(address(dy) + place, count - k, slope / number(n))  # (64)
                loss += sum_of(total)
        losses[task] = loss

    scalar, count = numba.from_dtype(dtype), types.int64
    values = types.Array(scalar, 2, "C", readonly=True)
    mask = types.Array(types.boolean, 1, "C", readonly=True)
    signature = types.void(
        values,
        values,
        mask,
        count,
        types.float64,
        count,
        types.Array(types.float64, 1, "C"),
        types.Array(scalar, 2, "C"),
    )
    return compile_tasks(kernel, f"mean-of-{kind}-{dtype.name}", signature)
