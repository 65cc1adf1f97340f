"""The kernels of one cell and dtype, and their signatures: each compiled when it is needed."""

import functools
from collections.abc import Callable

import numba
import numpy as np
from numba.core import types

from lstmcore.ops.cells import Cell
from lstmcore.ops.cpu.kernel import compile_tasks
from lstmcore.ops.recurrence.cpu import loop as loop_cpu
from lstmcore.ops.recurrence.cpu import weights as weights_cpu

MAKERS = {"forward": loop_cpu.forward, "backward": loop_cpu.backward}


@functools.cache
def kernel(cell: Cell, dtype: str, way: str) -> Callable:
    """The kernel that runs the cell one way, "forward" or "backward", in "float32" or "float64": compiled, or loaded
    from disk, when it is first asked for."""
    scalar, count = numba.from_dtype(np.dtype(dtype)), types.int64

    def given(ndim, layout="A", scalar=scalar):
        """An array that is only read; layout "A" may have any strides."""
        return types.Array(scalar, ndim, layout, readonly=True)

    def made(ndim, scalar=scalar):
        """An array of ours, C-contiguous, to be written."""
        return types.Array(scalar, ndim, "C")

    def table(rows):
        return given(1, "C", numba.from_dtype(rows))

    weights, mask = given(2, "C"), given(2, "A", types.boolean)
    states = types.UniTuple(given(2), len(cell.states))  # type: ignore[attr-defined]
    edges, counters, memory = given(1, "C", types.int64), made(1, types.int64), made(1, types.uint8)
    signatures = {
        "forward": (
            given(3), mask, states, made(4), made(4), made(3), made(3), mask, weights, weights, given(1, "C"), made(1),
            table(weights_cpu.GROUPS), table(weights_cpu.PANELS), types.boolean, edges, count, count, counters,
        ),
        "backward": (
            given(3), mask, given(3), given(4, "C"), given(4, "C"), weights, weights, made(1), states,
            made(3), made(3), made(4), memory, edges, *[count] * 4, counters,
        ),
    }  # fmt: skip
    return compile_tasks(MAKERS[way](cell, dtype), f"{cell.name}-{way}-{dtype}", types.void(*signatures[way]))
