"""The kernels of one cell and kind of factors, and their signatures: each compiled when it is needed."""

import functools
import inspect
from collections.abc import Callable

import numba
import numpy as np
from numba.core import types

from lstmcore.ops.cells import Cell
from lstmcore.ops.cpu.factors import factors
from lstmcore.ops.cpu.kernel import compile_tasks
from lstmcore.ops.recurrence.cpu import loop as loop_cpu
from lstmcore.ops.recurrence.cpu import weights as weights_cpu

MAKERS = {"forward": loop_cpu.forward, "backward": loop_cpu.backward}


@functools.cache
def kernel(cell: Cell, kind: str, way: str) -> Callable:
    """The kernel that runs the cell one way, "forward" or "backward", with factors of this kind (ops/cpu/factors.py):
    compiled, or loaded from disk, when it is first asked for."""
    scalar, count = numba.from_dtype(np.dtype(factors(kind).dtype)), types.int64

    def given(ndim, layout="A", scalar=scalar):
        """An array that is only read; layout "A" may have any strides."""
        return types.Array(scalar, ndim, layout, readonly=True)

    def made(ndim, scalar=scalar):
        """An array of ours, C-contiguous, to be written."""
        return types.Array(scalar, ndim, "C")

    def table(rows):
        return given(1, "C", numba.from_dtype(rows))

    mask, states = given(2, "A", types.boolean), types.UniTuple(given(2), len(cell.states))  # type: ignore[attr-defined]
    both = {
        "x": given(3), "mask": mask, "W_ih": given(2, "C"), "W_hh": given(2, "C"), "packed": made(1),
        "edges": given(1, "C", types.int64), "parts": count, "chunk": count, "counters": made(1, types.int64),
    }  # fmt: skip
    kinds = {
        "forward": {
            "state0": states, "states": made(4), "gates": made(4), "y": made(3), "x_kept": made(3), "clean": mask,
            "bias": given(1, "C"), "groups": table(weights_cpu.GROUPS), "panels": table(weights_cpu.PANELS),
            "unpacked": count, "joined": types.boolean,
        },
        "backward": {
            "dy": given(3), "states": given(4, "C"), "gates": given(4, "C"), "dstate_end": states, "dstate": made(3),
            "dx": made(3), "sums": made(4), "shared": made(1, types.uint8), "unit_panels": count, "input_panels": count,
        },
    }  # fmt: skip
    text = MAKERS[way](cell, kind)
    signature = types.void(*((both | kinds[way])[name] for name in arguments(text)))
    return compile_tasks(text, f"{cell.name}-{way}-{kind}", signature)


def arguments(text: Callable) -> list[str]:
    """The names of what a call gives the kernel, in their order (fused.py); the last two are each task's own."""
    return list(inspect.signature(text).parameters)[:-2]
