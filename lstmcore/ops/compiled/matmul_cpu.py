"""The product of two matrices on the product tile, for layers beside the recurrent ones.

NumPy hands large products to a pool of threads of its own, which goes on spinning for a while beside the threads of the
recurrence, on the same cores. Here they run on the same threads, and the result is the same for any number of them.
"""

import functools
from collections.abc import Callable
from pathlib import Path

import numba
import numpy as np
from numba.core import types

from lstmcore.ops.compiled.kernel_cpu import compile_kernel
from lstmcore.ops.compiled.panels_cpu import packing, panel_count
from lstmcore.ops.compiled.threads_cpu import run, thread_count
from lstmcore.ops.compiled.tile_cpu import panel_vectors
from lstmcore.ops.compiled.tile_cpu import product as product_of
from lstmcore.ops.compiled.vector_cpu import vectors

TASK = 500_000  # multiplications of a task, at least: some 10 us of work, which a second thread takes to wake
PACK = 500_000  # numbers of b below which one thread packs them: in less time than a second takes to wake
ROWS = 96  # rows of a block: what they give for one panel stays in the cache
DEPTH = 256  # terms summed at once: a panel of so many rows stays in the cache, and a long sum rounds block by block


def matmul(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a @ b for a (M, D) of any strides and b (D, N), C-contiguous or the transpose of such; float32 or float64."""
    (M, D), N = a.shape, b.shape[1]
    dtype = a.dtype.name
    lanes = vectors(dtype).lanes
    V = -(-N // lanes)
    panels = panel_count(N, lanes, 1)
    packed, out = np.empty(V * D * lanes, a.dtype), np.empty((M, N), a.dtype)
    packers = thread_count() if b.size >= PACK else 1
    pack = _pack(dtype, transposed=not b.flags.c_contiguous)
    b = b if b.flags.c_contiguous else b.T
    run(pack, [(b, packed, panels, k * panels // packers, (k + 1) * panels // packers) for k in range(packers)], 0)
    tasks = max(1, min(-(-M // ROWS), M * D * N // TASK))
    parts = [(a, packed, out, k * M // tasks, (k + 1) * M // tasks) for k in range(tasks)]
    run(_multiply(dtype), parts, 0)
    return out


@functools.cache
def _pack(dtype: str, transposed: bool) -> Callable:
    """b or its transpose, as the tile reads it."""
    v = vectors(dtype)
    lanes, size = v.lanes, v.size
    pack = packing(dtype).pack_transposed if transposed else packing(dtype).pack

    def pack_panels(b, packed, panels, first, end, scratch):
        depth, N = (b.shape[1], b.shape[0]) if transposed else b.shape
        V = (N + lanes - 1) // lanes
        for p in range(first, end):
            u, width = p * V // panels, (p + 1) * V // panels - p * V // panels
            # pack reads the columns of its panel; pack_transposed the rows that become them
            pack(packed.ctypes.data + u * depth * lanes * size, b.ctypes.data, b.strides[0], depth, N, u, width)

    matrix, flat, scratch = _types(dtype)
    signature = types.void(matrix("C"), flat, *[types.intp] * 3, scratch)
    name = "pack-transposed" if transposed else "pack"
    return compile_kernel(pack_panels, f"matmul-{name}-{dtype}", signature, SOURCES)


@functools.cache
def _multiply(dtype: str) -> Callable:
    """Rows `first` to `end` of a @ b."""
    v = vectors(dtype)
    lanes, size, widest = v.lanes, v.size, panel_vectors()
    product = product_of(dtype)

    def multiply(a, packed, out, first, end, scratch):
        D, N = a.shape[1], out.shape[1]
        V = (N + lanes - 1) // lanes
        panels = (V + widest - 1) // widest
        zeros = np.zeros(widest * lanes, out.dtype)
        for row in range(first, end, ROWS):
            # Panels inside, block by block: a panel of b stays in the cache while all rows of the block pass.
            for p in range(panels):
                u, width = p * V // panels, (p + 1) * V // panels - p * V // panels
                here = out.ctypes.data + (row * N + u * lanes) * size
                for k in range(0, D, DEPTH):  # in blocks, each from zero
                    before, before_row = (here, N * size) if k > 0 else (zeros.ctypes.data, 0)
                    part = packed.ctypes.data + (u * D + k * width) * lanes * size
                    product(
                        min(ROWS, end - row), min(width * lanes, N - u * lanes), min(DEPTH, D - k),
                        a.ctypes.data + row * a.strides[0] + k * a.strides[1], a.strides[0], a.strides[1],
                        part, width * lanes * size, before, before_row, here, N * size,
                        part + min(DEPTH, D - k) * width * lanes * size,
                    )  # fmt: skip

    matrix, flat, scratch = _types(dtype)
    signature = types.void(matrix("A"), flat, matrix("C"), types.intp, types.intp, scratch)
    return compile_kernel(multiply, f"matmul-{dtype}", signature, SOURCES)


def _types(dtype: str) -> tuple[Callable, types.Array, types.Array]:
    """Numba's types: matrix(layout), a flat array, scratch bytes."""
    scalar = numba.from_dtype(np.dtype(dtype))
    return (
        lambda layout: types.Array(scalar, 2, layout),
        types.Array(scalar, 1, "C"),
        types.Array(types.uint8, 1, "C"),
    )


SOURCES = (Path(__file__).parent,)
