"""The pointwise part of the loop back, compiled: one pass over the rows of a step (see step_back.py).

The cell's own `step_backward`, the text that the engines run, is asked once for each path, with zero in place of what
arrives on the other. Its answers for one row and one vector of units stay in registers until they are written.
"""

import functools
import itertools
from collections.abc import Callable
from pathlib import Path

import numba
import numpy as np
from numba.core import types

from lstmcore.debug.step.step_back import PATHS, reached
from lstmcore.ops.cells import CELLS, Cell
from lstmcore.ops.cpu.jitable import jitable
from lstmcore.ops.cpu.kernel import compile_kernel
from lstmcore.ops.cpu.maths import vector_maths
from lstmcore.ops.cpu.memory import vectors


def compiled_undo(cell_name: str, dtype: str, split: bool, B: int, H: int) -> Callable[..., tuple[np.ndarray, ...]]:
    """A function (real, arriving, saved gates, states) -> the fields of `Undone`.

    real (B,) bool, arriving (P, B, H), saved (B, K, H), states (B, H) each. Fresh memory would cost more than the work,
    so every call writes to the same; but what one call hands on arrives at the next, so of `held` there are two.
    """
    kernel, N, recurrent, Q = _kernel(cell_name, dtype, split)
    P = len(PATHS[cell_name])
    da, da_h, held, other, squares = (
        np.empty(shape, dtype) for shape in ((B, N, H), (B, recurrent, H), (P, B, H), (P, B, H), (N + P + Q, H))
    )
    rooms = itertools.cycle((held, other))

    def undo(real, arriving, saved, states):
        read = np.stack(states) if states else np.empty((0, B, H), dtype)
        out = da, da_h, next(rooms), squares
        kernel(np.ascontiguousarray(real), arriving, np.ascontiguousarray(saved), read, *out)
        return out

    return undo


@functools.cache
def _kernel(cell_name: str, dtype: str, split: bool) -> tuple[Callable, int, int, int]:
    """The kernel; and how many blocks of da it gives, how many reach h_prev @ W_hh, and how many answers."""
    cell = CELLS[cell_name]
    blocks = reached(cell, split)
    assert all(ks == tuple(range(len(ks))) for ks in blocks), "an answer's blocks are its first ones"
    number = numba.from_dtype(np.dtype(dtype))
    real = types.Array(types.boolean, 1, "C", readonly=True)
    given = [types.Array(number, 3, "C", readonly=True)] * 3
    made = [types.Array(number, ndim, "C") for ndim in (3, 3, 3, 2)]
    name = f"{cell_name}-step-back{'-by-path' if split else ''}-{dtype}"
    kernel = compile_kernel(_undo(cell, dtype, split), name, types.void(real, *given, *made), SOURCES)
    return kernel, sum(map(len, blocks)), len(cell.recurrent_blocks), len(blocks)


def _undo(cell: Cell, dtype: str, split: bool) -> Callable:
    K, S, P, reads = len(cell.gates), len(cell.states), len(PATHS[cell.name]), len(cell.previous) + len(cell.current)
    blocks, recurrent, carries = reached(cell, split), cell.recurrent_blocks, len(cell.previous) > 0
    first, second, two = len(blocks[0]), len(blocks[-1]), len(blocks) == 2
    N, K_h = sum(map(len, blocks)), len(recurrent)
    v = vectors(dtype)
    lanes, size, load_some, store_some = v.lanes, v.size, v.load_some, v.store_some
    load_each, store_each, constant = v.load_each, v.store_each, v.constant
    zero = np.dtype(dtype).type(0)
    step_backward = jitable(dtype)(cell.make_step(vector_maths(dtype))[1])

    @jitable(cell.name, dtype, split)
    def answer(parts, rest, path):
        """What `step_backward` gives for one path, or for all of them in one."""
        if not split:
            return step_backward(*(parts + rest)) if S == P else step_backward(*((parts[0] + parts[-1],) + rest))
        if S == 1:
            return step_backward(*((parts[path],) + rest))
        if path == 0:
            return step_backward(*((parts[0], constant(zero)) + rest))
        return step_backward(*((constant(zero), parts[-1]) + rest))

    @jitable(dtype)
    def add_square(address, value, count):
        store_some(address, count, load_some(address, count) + value * value)

    def undo(real, arriving, saved, read, da, da_h, held, squares):
        B, H = arriving.shape[1:]
        row, plane = H * size, B * H * size  # of (B, H), in bytes
        squares[:] = zero
        for b in range(B):
            for unit in range(0, H, lanes):
                count, place = H - unit, b * row + unit * size
                da_here = da.ctypes.data + b * N * row + unit * size
                da_h_here = da_h.ctypes.data + b * K_h * row + unit * size
                held_here, squares_here = held.ctypes.data + place, squares.ctypes.data + unit * size
                parts = load_each(P, arriving.ctypes.data + place, plane, count)
                if not real[b]:
                    for n in range(N):
                        store_some(da_here + n * row, count, constant(zero))
                    for k in range(K_h):
                        store_some(da_h_here + k * row, count, constant(zero))
                    store_each(parts, held_here, plane, count)
                    continue
                kept = load_each(K, saved.ctypes.data + b * K * row + unit * size, row, count)
                rest = kept + load_each(reads, read.ctypes.data + place, plane, count)
                one = answer(parts, rest, 0)
                store_each(one[:first], da_here, row, count)
                handed = one[-1] if carries else constant(zero)
                add_square(squares_here + (N + P) * row, handed, count)
                if two:
                    other = answer(parts, rest, 1)
                    store_each(other[:second], da_here + first * row, row, count)
                    add_square(squares_here + (N + P + 1) * row, other[-1], count)
                    handed = handed + other[-1]
                for n in range(N):
                    add_square(squares_here + n * row, load_some(da_here + n * row, count), count)
                for p in range(P):
                    arrived = load_some(arriving.ctypes.data + place + p * plane, count)
                    add_square(squares_here + (N + p) * row, arrived, count)
                    store_some(held_here + p * plane, count, handed if carries and p == P - 1 else constant(zero))
                for j in range(K_h):
                    k = recurrent[j]
                    whole = load_some(da_here + k * row, count)
                    if two and k < second:
                        whole = whole + load_some(da_here + (first + k) * row, count)
                    store_some(da_h_here + j * row, count, whole)

    return undo


ROOT = Path(__file__).resolve().parents[2]
SOURCES = (
    Path(__file__),
    Path(__file__).with_name("step_back.py"),
    *(ROOT / "ops" / name for name in ("cpu", "cells", "gates.py")),
)
