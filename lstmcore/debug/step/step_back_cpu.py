"""The pointwise part of the loop back, compiled: one pass over the rows of a step (see step_back.py).

The cell's own `step_backward`, the text that the engines run, is asked once for each path, with zero in place of what
arrives on the other. Its answers for one row and one vector of units stay in registers until they are written.
"""

import functools
import itertools
from collections.abc import Callable

import numba
import numpy as np
from numba.core import types

from lstmcore.debug.step.paths import asked, paths, reached
from lstmcore.ops.cells import Cell
from lstmcore.ops.cpu.jitable import jitable, pick
from lstmcore.ops.cpu.kernel import compile_kernel
from lstmcore.ops.cpu.maths import vector_maths
from lstmcore.ops.cpu.memory import address, vectors


def compiled_undo(cell: Cell, dtype: str, split: bool, B: int, H: int) -> Callable[..., tuple[np.ndarray, ...]]:
    """A function (real, arriving, saved gates, states) -> the fields of `Undone`.

    real (B,) bool, arriving (P, B, H), saved (B, K, H), states (B, H) each. Fresh memory would cost more than the work,
    so every call writes to the same; but what one call hands on arrives at the next, so of `held` there are two.
    """
    kernel, blocks = _kernel(cell, dtype, split), reached(cell, split)
    P, N, carries = len(paths(cell)), sum(map(len, blocks)), len(blocks) * len(cell.previous)
    da, da_h, held, other, squares, handed = (
        np.empty(shape, dtype)
        for shape in (
            (B, N, H), (B, len(cell.recurrent_blocks), H), (P, B, H), (P, B, H), (N + P + carries, H), (carries, H)
        )
    )  # fmt: skip
    rooms = itertools.cycle((held, other))

    def undo(
        real: np.ndarray, arriving: np.ndarray, saved: np.ndarray, states: list[np.ndarray]
    ) -> tuple[np.ndarray, ...]:
        read = np.stack(states) if states else np.empty((0, B, H), dtype)
        out = da, da_h, next(rooms), squares
        kernel(np.ascontiguousarray(real), arriving, np.ascontiguousarray(saved), read, *out, handed)
        return out

    return undo


@functools.cache
def _kernel(cell: Cell, dtype: str, split: bool) -> Callable[..., None]:
    number = numba.from_dtype(np.dtype(dtype))
    real = types.Array(types.boolean, 1, "C", readonly=True)
    given = [types.Array(number, 3, "C", readonly=True)] * 3
    made = [types.Array(number, ndim, "C") for ndim in (3, 3, 3, 2, 2)]
    name = f"{cell.name}-step-back{'-by-path' if split else ''}-{dtype}"
    return compile_kernel(_undo(cell, dtype, split), name, types.void(real, *given, *made))


def _undo(cell: Cell, dtype: str, split: bool) -> Callable[..., None]:
    K, P, reads = len(cell.gates), len(paths(cell)), len(cell.previous) + len(cell.current)
    blocks, recurrent, C = reached(cell, split), cell.recurrent_blocks, len(cell.previous)
    Q, N, K_h = len(blocks), sum(map(len, blocks)), len(recurrent)
    places = [k for ks in blocks for k in ks]  # the block at each place of da
    gathered = [[n for n in range(N) if places[n] == k] for k in recurrent]  # the places that reach h_prev @ W_hh
    starts = (0, *itertools.accumulate(map(len, gathered)))
    from_place = tuple(n for some in gathered for n in some)
    v = vectors(dtype)
    lanes, size, load_some, store_some = v.lanes, v.size, v.load_some, v.store_some
    load_each, store_each, constant = v.load_each, v.store_each, v.constant
    zero = np.dtype(dtype).type(0)
    step_backward = jitable(cell.make_step(vector_maths(dtype))[1])

    def answers(q: int) -> Callable[..., None]:
        """Stores what answer q gives, and those behind it: the blocks that it reaches, and what it hands on."""
        first, count_here = sum(map(len, blocks[:q])), len(blocks[q])
        of_states = [[p for p in asked(cell, split)[q] if paths(cell)[p].state == s] for s in range(len(cell.states))]
        arriving = pick(tuple(some[0] if some else P for some in of_states))
        both = len(of_states[0]) > 1  # h alone can have two paths
        reaches = pick(blocks[q] or (0,))

        @jitable
        def store(parts, rest, da, handed, row, count):
            dstates = arriving(parts + (constant(zero),))
            if both:
                dstates = (parts[0] + parts[1],) + dstates[1:]
            answer = step_backward(*(dstates + rest))
            if count_here:
                store_each(reaches(answer), da + first * row, row, count)
            store_each(answer[K:], handed + q * C * row, row, count)

        if q + 1 == Q:
            return store
        behind = answers(q + 1)

        @jitable
        def store_all(parts, rest, da, handed, row, count):
            store(parts, rest, da, handed, row, count)
            behind(parts, rest, da, handed, row, count)

        return store_all

    store_answers = answers(0)

    @jitable
    def add_square(address, value, count):
        store_some(address, count, load_some(address, count) + value * value)

    def undo(real, arriving, saved, read, da, da_h, held, squares, handed):
        B, H = arriving.shape[1:]
        row, plane = H * size, B * H * size  # of (B, H), in bytes
        squares[:] = zero
        for b in range(B):
            for unit in range(0, H, lanes):
                count, place = H - unit, b * row + unit * size
                da_here = address(da) + b * N * row + unit * size
                da_h_here = address(da_h) + b * K_h * row + unit * size
                held_here, squares_here = address(held) + place, address(squares) + unit * size
                handed_here = address(handed) + unit * size
                parts = load_each(P, address(arriving) + place, plane, count)
                if not real[b]:
                    for n in range(N):
                        store_some(da_here + n * row, count, constant(zero))
                    for k in range(K_h):
                        store_some(da_h_here + k * row, count, constant(zero))
                    store_each(parts, held_here, plane, count)
                    continue
                kept = load_each(K, address(saved) + b * K * row + unit * size, row, count)
                rest = kept + load_each(reads, address(read) + place, plane, count)
                store_answers(parts, rest, da_here, handed_here, row, count)
                for n in range(N):
                    add_square(squares_here + n * row, load_some(da_here + n * row, count), count)
                for p in range(P):
                    arrived = load_some(address(arriving) + place + p * plane, count)
                    add_square(squares_here + (N + p) * row, arrived, count)
                for m in range(Q * C):
                    carry = load_some(handed_here + m * row, count)
                    add_square(squares_here + (N + P + m) * row, carry, count)
                store_some(held_here, count, constant(zero))
                for j in range(C):
                    total = load_some(handed_here + j * row, count)
                    for q in range(1, Q):
                        total = total + load_some(handed_here + (q * C + j) * row, count)
                    store_some(held_here + (1 + j) * plane, count, total)
                for j in range(K_h):
                    whole = constant(zero)
                    for n in range(starts[j], starts[j + 1]):
                        whole = whole + load_some(da_here + from_place[n] * row, count)
                    store_some(da_h_here + j * row, count, whole)

    return undo
