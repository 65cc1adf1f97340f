"""The small products of a dense layer, compiled: all of a pass in one call, where NumPy's calls outlast their work.

The product tile reads whole vectors. So what it multiplies with is packed into panels, whose lanes beyond the last
column hold zeros, and what it gives is copied from there to its place.
"""

import functools
from collections.abc import Callable
from pathlib import Path

import numba
import numpy as np
from numba.core import types

from lstmcore.ops.compiled.jitable_cpu import jitable
from lstmcore.ops.compiled.kernel_cpu import compile_kernel
from lstmcore.ops.compiled.panels_cpu import packing, panel_range
from lstmcore.ops.compiled.threads_cpu import workspace
from lstmcore.ops.compiled.tile_cpu import panel_vectors
from lstmcore.ops.compiled.tile_cpu import product as product_of
from lstmcore.ops.compiled.vector_cpu import register_bytes, vectors
from lstmcore.ops.linear import WIDEST

ROWS = 96  # rows of x or dy that are multiplied at once: what they give for one panel stays in the cache
DEPTH = 256  # terms of a weight gradient that are summed at once: a long sum rounds block by block


def linear(x: np.ndarray, W: np.ndarray, b: np.ndarray | None) -> np.ndarray:
    """y (..., O) = x W + b; x (..., I), W (I, O), b (O,) or None, C-contiguous and of one dtype."""
    I, O = W.shape
    y = np.empty((*x.shape[:-1], O), x.dtype)
    bias = np.zeros(O, x.dtype) if b is None else b
    _kernels(x.dtype)[0](x.reshape(-1, I), W, bias, y.reshape(-1, O), workspace(SCRATCH))
    return y


def undo_linear(dy: np.ndarray, x: np.ndarray, W: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """dx (..., I), dW (I, O) and db (O,) from dy (..., O), all C-contiguous and of one dtype."""
    I, O = W.shape
    dx, dW, db = np.empty(x.shape, x.dtype), np.empty((I, O), x.dtype), np.empty(O, x.dtype)
    rows = dy.reshape(-1, O), x.reshape(-1, I)
    _kernels(x.dtype)[1](*rows, W, dx.reshape(-1, I), dW, db, workspace(SCRATCH))
    return dx, dW, db


@functools.cache
def _kernels(dtype: np.dtype) -> tuple[Callable, Callable]:
    """Forward and backward."""
    v = vectors(dtype.name)
    lanes, size, wide, number = v.lanes, v.size, v.lanes * panel_vectors(), dtype.type
    copy, clear = packing(dtype.name).copy, packing(dtype.name).clear
    pack, pack_transposed = packing(dtype.name).pack, packing(dtype.name).pack_transposed
    product, one = product_of(dtype.name), number(1)

    @jitable(dtype.name)
    def copy_rows(out, columns, vector, source, rows, width):
        """`rows` rows of one panel, to the columns of a matrix at `out` that begin with this vector."""
        for i in range(rows):
            here = out + (i * columns + vector * lanes) * size
            copy(here, source + i * width * lanes * size, min(width * lanes, columns - vector * lanes))

    def forward(x, W, b, y, scratch):
        (N, I), O = x.shape, W.shape[1]
        panels = -(-O // wide)
        packed, bias, sums = scratch.ctypes.data, scratch.ctypes.data + PANEL, scratch.ctypes.data + 2 * PANEL
        for p in range(panels):
            u, width = panel_range(p, O, lanes, panels)
            row = width * lanes * size
            pack(packed, W.ctypes.data, O * size, I, O, u, width)
            pack(bias, b.ctypes.data, 0, 1, O, u, width)
            for n in range(0, N, ROWS):
                rows = min(ROWS, N - n)
                here = x.ctypes.data + n * I * size
                product(rows, width, I, here, I * size, size, packed, row, bias, 0, sums, row)  # (50)
                copy_rows(y.ctypes.data + n * O * size, O, u, sums, rows, width)

    def backward(dy, x, W, dx, dW, db, scratch):
        (N, I), O = x.shape, W.shape[1]
        packed, ones, sums = scratch.ctypes.data, scratch[PANEL:].view(number), scratch.ctypes.data + 2 * PANEL
        ones[0] = one
        panels = -(-O // wide)
        for p in range(panels):
            u, width = panel_range(p, O, lanes, panels)
            row = width * lanes * size
            clear(sums, (I + 1) * width * lanes)
            for n in range(0, N, DEPTH):
                rows, here = min(DEPTH, N - n), x.ctypes.data + n * I * size
                pack(packed, dy.ctypes.data + n * O * size, O * size, rows, O, u, width)
                product(I, width, rows, here, size, I * size, packed, row, sums, row, sums, row)  # (52)
                last = sums + I * row
                product(1, width, rows, ones.ctypes.data, 0, 0, packed, row, last, row, last, row)  # (51)
            copy_rows(dW.ctypes.data, O, u, sums, I, width)
            copy_rows(db.ctypes.data, O, u, sums + I * row, 1, width)
        panels = -(-I // wide)
        for p in range(panels):
            u, width = panel_range(p, I, lanes, panels)
            row = width * lanes * size
            pack_transposed(packed, W.ctypes.data, O * size, O, I, u, width)
            for n in range(0, N, ROWS):
                rows, here = min(ROWS, N - n), dy.ctypes.data + n * O * size
                clear(sums, rows * width * lanes)
                product(rows, width, O, here, O * size, size, packed, row, sums, row, sums, row)  # (53)
                copy_rows(dx.ctypes.data + n * I * size, I, u, sums, rows, width)

    scalar = numba.from_dtype(dtype)
    given, made = (functools.partial(types.Array, scalar, layout="C", readonly=readonly) for readonly in (True, False))
    scratch = types.Array(types.uint8, 1, "C")
    one_way = types.void(given(2), given(2), given(1), made(2), scratch)
    back = types.void(given(2), given(2), given(2), made(2), made(2), made(1), scratch)
    return (
        compile_kernel(forward, f"linear-forward-{dtype.name}", one_way, SOURCES),
        compile_kernel(backward, f"linear-backward-{dtype.name}", back, SOURCES),
    )


PANEL = (max(WIDEST, ROWS, DEPTH) + 1) * panel_vectors() * register_bytes()  # bytes of a panel, at most
SCRATCH = 3 * PANEL
HERE = Path(__file__).parent
SOURCES = (HERE / "linear_cpu.py", HERE / "linear.py", HERE / "compiled")
