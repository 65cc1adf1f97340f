"""The product of two matrices on the product tile, for layers beside the recurrent ones.

NumPy hands large products to a pool of threads of its own, which goes on spinning for a while beside the threads of the
recurrence, on the same cores. Here they run on the same threads, and the result is the same for any number of them.
"""

import functools
from collections.abc import Callable

import numba
import numpy as np
from numba.core import types

from lstmcore.ops.cpu.barrier import together
from lstmcore.ops.cpu.jitable import jitable
from lstmcore.ops.cpu.kernel import compile_tasks
from lstmcore.ops.cpu.memory import address, vectors
from lstmcore.ops.cpu.panels import packing, panel_range
from lstmcore.ops.cpu.threads import run
from lstmcore.ops.cpu.tile import panel_vectors
from lstmcore.ops.cpu.tile import product as product_of

TASK = 500_000  # multiplications of a task, at least: some 10 us of work, which a second thread takes to wake
ROWS = 96  # rows of a block: what they give for one panel stays in the cache
DEPTH = 256  # terms summed at once: a panel of this many rows stays in the cache, and a long sum rounds block by block


def matmul(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a @ b for a (M, D) of any strides and b (D, N), C-contiguous or the transpose of such; float32 or float64."""
    (M, D), N = a.shape, b.shape[1]
    dtype = a.dtype.name
    lanes = vectors(dtype).lanes
    packed, out = np.empty(-(-N // lanes) * D * lanes, a.dtype), np.empty((M, N), a.dtype)
    transposed = not b.flags.c_contiguous
    tasks = max(1, min(-(-M // min(ROWS, -(-M // 2))), M * D * N // TASK))  # two of few rows, if there is work
    arguments = (a, b.T if transposed else b, packed, out, tasks, np.zeros(4, np.int64))
    run(_multiply(dtype, transposed), arguments, tasks, 0)
    return out


@functools.cache
def _multiply(dtype: str, transposed: bool) -> Callable:
    """Some rows of a @ b, or of a @ b.T, once all tasks together have packed b as the tile reads it."""
    v = vectors(dtype)
    lanes, size, widest = v.lanes, v.size, panel_vectors()
    product = product_of(dtype)
    pack = packing(dtype).pack_transposed if transposed else packing(dtype).pack

    @jitable
    def pack_panel(p, b, packed, panels):
        depth, N = (b.shape[1], b.shape[0]) if transposed else b.shape
        u, width = panel_range(p, N, lanes, panels)
        # pack reads the columns of its panel; pack_transposed the rows that become them
        pack(address(packed) + u * depth * lanes * size, address(b), b.strides[0], depth, N, u, width)

    pack_panels = together(pack_panel)

    def multiply(a, b, packed, out, tasks, counters, task, scratch):
        first, end = task * out.shape[0] // tasks, (task + 1) * out.shape[0] // tasks
        D, N = a.shape[1], out.shape[1]
        panels = (N + lanes * widest - 1) // (lanes * widest)
        pack_panels(panels, address(counters), b, packed, panels)
        zeros = np.zeros(widest * lanes, out.dtype)
        for row in range(first, end, ROWS):
            # Panels inside, block by block: a panel of b stays in the cache while all rows of the block pass.
            for p in range(panels):
                u, width = panel_range(p, N, lanes, panels)
                here = address(out) + (row * N + u * lanes) * size
                for k in range(0, D, DEPTH):  # in blocks, each from zero
                    before, before_row = (here, N * size) if k > 0 else (address(zeros), 0)
                    part = address(packed) + (u * D + k * width) * lanes * size
                    product(
                        min(ROWS, end - row), min(width * lanes, N - u * lanes), min(DEPTH, D - k),
                        address(a) + row * a.strides[0] + k * a.strides[1], a.strides[0], a.strides[1],
                        part, width * lanes * size, before, before_row, here, N * size,
                        part + min(DEPTH, D - k) * width * lanes * size,
                    )  # fmt: skip

    scalar, counts = numba.from_dtype(np.dtype(dtype)), types.Array(types.int64, 1, "C")
    given_a, given_b = types.Array(scalar, 2, "A", readonly=True), types.Array(scalar, 2, "C", readonly=True)
    packed, out = types.Array(scalar, 1, "C"), types.Array(scalar, 2, "C")
    signature = types.void(given_a, given_b, packed, out, types.intp, counts)
    return compile_tasks(multiply, f"matmul{'-transposed' * transposed}-{dtype}", signature)
