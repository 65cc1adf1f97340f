"""The small products of a dense layer, compiled: all of a pass in one call, where NumPy's calls outlast their work.

The product tile reads whole vectors of what it multiplies with. So that is packed into panels, whose lanes beyond the
last column hold zeros.
"""

import functools
from collections.abc import Callable

import numba
import numpy as np
from numba.core import types

from lstmcore.ops.cpu.kernel import compile_kernel
from lstmcore.ops.cpu.memory import address, vectors
from lstmcore.ops.cpu.panels import packing, panel_range
from lstmcore.ops.cpu.target import target
from lstmcore.ops.cpu.threads import workspace
from lstmcore.ops.cpu.tile import panel_vectors
from lstmcore.ops.cpu.tile import product as product_of

ROWS = 96  # rows of x or dy that are multiplied at once: what they give for one panel stays in the cache
DEPTH = 256  # terms of a weight gradient that are summed at once: a long sum rounds block by block
WIDE = panel_vectors() * target().register_bytes  # bytes of a row of a panel, at most


def linear(x: np.ndarray, W: np.ndarray, b: np.ndarray | None) -> np.ndarray:
    """y (..., O) = x W + b; x (..., I), W (I, O), b (O,) or None, C-contiguous and of one dtype."""
    I, O = W.shape
    y = np.empty((*x.shape[:-1], O), x.dtype)
    bias = np.zeros(O, x.dtype) if b is None else b
    _kernels(x.dtype)[0](x.reshape(-1, I), W, bias, y.reshape(-1, O), workspace(_scratch(W)))
    return y


def undo_linear(dy: np.ndarray, x: np.ndarray, W: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """dx (..., I), dW (I, O) and db (O,) from dy (..., O), all C-contiguous and of one dtype."""
    I, O = W.shape
    dx, dW, db = np.empty(x.shape, x.dtype), np.empty((I, O), x.dtype), np.empty(O, x.dtype)
    rows = dy.reshape(-1, O), x.reshape(-1, I)
    _kernels(x.dtype)[1](*rows, W, dx.reshape(-1, I), dW, db, workspace(_scratch(W)))
    return dx, dW, db


def _scratch(W: np.ndarray) -> int:
    """Bytes for a row of ones or zeros, and a panel of W, of its transpose or of DEPTH rows of dy behind it."""
    return WIDE * (2 + max(*W.shape, DEPTH))


@functools.cache
def _kernels(dtype: np.dtype) -> tuple[Callable, Callable]:
    """Forward and backward."""
    v = vectors(dtype.name)
    lanes, size, wide, store, constant = v.lanes, v.size, v.lanes * panel_vectors(), v.store, v.constant
    own = packing(dtype.name)
    clear, pack, pack_transposed = own.clear, own.pack, own.pack_transposed
    product, one = product_of(dtype.name), dtype.type(1)

    def forward(x, W, b, y, packed):
        (N, I), O = x.shape, W.shape[1]
        panels = -(-O // wide)
        for p in range(panels):
            u, width = panel_range(p, O, lanes, panels)
            place, columns = u * lanes * size, min(width * lanes, O - u * lanes)
            pack(packed, address(W), O * size, I, O, u, width)
            for n in range(0, N, ROWS):
                rows, here, out = min(ROWS, N - n), address(x) + n * I * size, address(y) + n * O * size + place
                bias = address(b) + place
                row = width * lanes * size
                product(rows, columns, I, here, I * size, size, packed, row, bias, 0, out, O * size, packed)  # (50)

    def backward(dy, x, W, dx, dW, db, packed):
        (N, I), O = x.shape, W.shape[1]
        ones, packed = packed, packed + WIDE
        store(ones, constant(one))
        panels = -(-O // wide)
        clear(address(dW), I * O)
        clear(address(db), O)
        for p in range(panels):
            u, width = panel_range(p, O, lanes, panels)
            row, place, columns = width * lanes * size, u * lanes * size, min(width * lanes, O - u * lanes)
            out, last = address(dW) + place, address(db) + place
            for n in range(0, N, DEPTH):
                rows, here = min(DEPTH, N - n), address(x) + n * I * size
                pack(packed, address(dy) + n * O * size, O * size, rows, O, u, width)
                product(
                    I, columns, rows, here, size, I * size, packed, row, out, O * size, out, O * size, packed
                )  # (52)
                product(1, columns, rows, ones, 0, 0, packed, row, last, 0, last, 0, packed)  # (51)
        zeros = ones  # their place
        clear(zeros, wide)
        panels = -(-I // wide)
        for p in range(panels):
            u, width = panel_range(p, I, lanes, panels)
            row, place, columns = width * lanes * size, u * lanes * size, min(width * lanes, I - u * lanes)
            pack_transposed(packed, address(W), O * size, O, I, u, width)
            for n in range(0, N, ROWS):
                rows, here, out = min(ROWS, N - n), address(dy) + n * O * size, address(dx) + n * I * size + place
                product(rows, columns, O, here, O * size, size, packed, row, zeros, 0, out, I * size, packed)  # (53)

    scalar = numba.from_dtype(dtype)
    given, made = (functools.partial(types.Array, scalar, layout="C", readonly=readonly) for readonly in (True, False))
    one_way = types.void(given(2), given(2), given(1), made(2), types.intp)
    back = types.void(given(2), given(2), given(2), made(2), made(2), made(1), types.intp)
    return (
        compile_kernel(forward, f"linear-forward-{dtype.name}", one_way),
        compile_kernel(backward, f"linear-backward-{dtype.name}", back),
    )
