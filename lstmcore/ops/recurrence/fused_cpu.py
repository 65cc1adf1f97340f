"""The compiled engine for CPUs: the whole loop over time in machine code, products included.

This file checks nothing and computes nothing: it finds the plan and the buffers for a call and hands the kernels of
loop_cpu.py to the threads. The three ideas, and where they are:

- A tile of rows (or of units) goes through all its steps while its weights and states stay in the cache: loop_cpu.py.
- Products and gate functions are vector instructions: ../compiled/tile_cpu.py and ../compiled/maths_cpu.py.
- The step itself is the cell's own text, the same that the reference engine runs: ../cells/.

Numba is imported at the first call that computes.
"""

import functools
from collections.abc import Mapping
from types import SimpleNamespace

import numpy as np

from lstmcore.arrays import dtype_name
from lstmcore.ops import gates
from lstmcore.ops.cells import CELLS, Cell
from lstmcore.ops.recurrence.cache import Cache

NAME = "fused-cpu"
LIBRARY = "numpy"
DTYPES = {np.dtype(name): name for name in ("float32", "float64")}


def supports(cell: Cell, dtype: object) -> bool:
    """LSTM, GRU and RNN, in float32 and float64."""
    return CELLS.get(cell.name) is cell and dtype_name(dtype) in ("float32", "float64")


def forward(
    cell: Cell,
    x: np.ndarray,  # (T, B, I)
    params: Mapping[str, np.ndarray],
    state0: tuple[np.ndarray, ...],  # (B, H) each
    mask: np.ndarray | None,  # (T, B) bool
    reuse: Cache | None = None,
) -> Cache:
    """All steps, with everything kept that `backward` needs. Buffers of `reuse` are overwritten where they fit."""
    T, B, I = x.shape
    S, K, H = len(state0), len(cell.gates), state0[0].shape[-1]
    if reuse is not None and reuse.engine == NAME and _fits(reuse.private, (S, T + 1, B, H), x.dtype):
        states, kept = reuse.private, reuse.gates
    else:
        states, kept = np.empty((S, T + 1, B, H), x.dtype), np.empty((T, B, K, H), x.dtype)
    x_kept = np.empty((T if mask is not None else 0, B, I), x.dtype)
    _run(cell, x, params, state0, mask, states, kept, np.empty((0, B, H), x.dtype), x_kept)
    return Cache(x if mask is None else x_kept, tuple(states), kept, mask, NAME, states)


def predict(
    cell: Cell,
    x: np.ndarray,
    params: Mapping[str, np.ndarray],
    state0: tuple[np.ndarray, ...],
    mask: np.ndarray | None,
) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """All steps, with nothing kept but the outputs: y (T, B, H), zero at masked steps, and the final state."""
    T, B, I = x.shape
    S, K, H = len(state0), len(cell.gates), state0[0].shape[-1]
    states = np.empty((S, 2, B, H), x.dtype)  # the loop writes to one slot what it reads from the other
    y = np.empty((T, B, H), x.dtype)
    _run(cell, x, params, state0, mask, states, np.empty((0, B, K, H), x.dtype), y, np.empty((0, B, I), x.dtype))
    return y, tuple(states[:, T % 2])


def _run(cell, x, params, state0, mask, states, kept, y, x_kept) -> None:
    """The forward kernels, for `forward` and `predict`."""
    T, B, I = x.shape
    K, H = len(cell.gates), y.shape[-1]
    machine, dtype = _machine(), DTYPES[x.dtype]
    run, threads, kernels = machine.run, machine.thread_count(), machine.kernels(cell.name, dtype)
    p = machine.plan(K, T, B, I, H, dtype, mask is not None, threads)
    W_ih, W_hh, bias = packed = [
        np.empty(n * -(-H // p.lanes) * p.lanes, x.dtype)
        for n in (len(cell.input_blocks) * I, len(cell.recurrent_blocks) * H, K)
    ]
    biases = [params[name] for name in cell.biases]
    b = (biases[0] if len(biases) == 1 else np.concatenate(biases)).reshape(K, H)
    tiles, workers = p.tiles, 1 if p.alone else threads
    shares = [(j * p.unit_panels // workers, (j + 1) * p.unit_panels // workers) for j in range(workers)]
    run(kernels.pack_forward, [(params["W_ih"], params["W_hh"], b, *packed, p.unit_panels, *s) for s in shares], 0)
    for s, s0 in zip(states, state0):
        s[0] = s0
    mask = p.real if mask is None else mask
    meeting = np.zeros(1, np.int64)
    run(
        kernels.forward,
        [
            (_rows(x), mask, states, kept, y, x_kept, W_ih, W_hh, bias, first, end, part, p.parts, p.unit_panels,
             p.forward_chunk, meeting)
            for first, end in tiles
            for part in range(p.parts)
        ],
        p.forward_scratch,
    )  # fmt: skip


def backward(
    cell: Cell,
    dy: np.ndarray | None,  # (T, B, H); None: nothing reaches the outputs
    dstate: tuple[np.ndarray, ...],  # (B, H) each: the gradients of the final state
    params: Mapping[str, np.ndarray],
    cache: Cache,
) -> tuple[np.ndarray, tuple[np.ndarray, ...], dict[str, np.ndarray]]:
    """Undoes `forward`, last step first: dx (T, B, I), dstate0, and the gradient of every parameter."""
    x, mask, states, kept = cache.x, cache.mask, cache.private, cache.gates
    T, B, I = x.shape
    K, H = kept.shape[2:]
    machine, dtype = _machine(), DTYPES[x.dtype]
    run, threads, kernels = machine.run, machine.thread_count(), machine.kernels(cell.name, dtype)
    p = machine.plan(K, T, B, I, H, dtype, mask is not None, threads)
    W_ih, W_hh = packed = [
        np.empty(-(-W.shape[0] // p.lanes) * p.lanes * W.shape[1], x.dtype) for W in (params["W_ih"], params["W_hh"])
    ]
    tiles, workers = p.tiles, 1 if p.alone else threads
    run(
        kernels.pack_backward,
        [
            (params["W_ih"], params["W_hh"], *packed, p.input_panels, p.unit_panels, j, workers)
            for j in range(workers)
        ],
        0,
    )  # fmt: skip
    if dy is None:
        dy = np.broadcast_to(np.zeros(H, x.dtype), (T, B, H))
    mask = p.real if mask is None else mask
    dstate0 = np.array(dstate, order="C")  # (S, B, H), a copy
    dx = np.empty((T, B, I), x.dtype)
    sums = np.zeros((len(tiles), I + 1 + H, K, -(-H // p.lanes) * p.lanes), x.dtype)  # every tile sums for itself
    shared, meeting = np.empty(p.da_bytes, np.uint8), np.zeros(1, np.int64)
    run(
        kernels.backward,
        [
            (_rows(x), mask, _rows(dy), states, kept, W_ih, W_hh, dstate0, dx, sums, shared, first, end, tile,
             part, p.parts, p.unit_panels, p.input_panels, p.backward_chunk, meeting)
            for tile, (first, end) in enumerate(tiles)
            for part in range(p.parts)
        ],
        p.backward_scratch,
    )  # fmt: skip
    total, *others = sums[..., :H]
    for other in others:  # always in this order
        total += other
    dparams = {
        "W_ih": gates.join(total[:I], cell.input_blocks),  # (21)
        "W_hh": gates.join(total[I + 1 :], cell.recurrent_blocks),  # (20)
        **{name: gates.join(total[I], blocks) for name, blocks in cell.biases.items()},  # (19)
    }
    return dx, tuple(dstate0), dparams


@functools.cache
def _machine() -> SimpleNamespace:
    """What needs Numba, imported when it is needed."""
    from lstmcore.ops.compiled.threads_cpu import run, thread_count
    from lstmcore.ops.recurrence.kernels_cpu import kernels
    from lstmcore.ops.recurrence.plan_cpu import plan

    return SimpleNamespace(run=run, thread_count=thread_count, kernels=kernels, plan=plan)


def _fits(buffer: np.ndarray | None, shape: tuple[int, ...], dtype: np.dtype) -> bool:
    return buffer is not None and buffer.shape == shape and buffer.dtype == dtype


def _rows(a: np.ndarray) -> np.ndarray:
    """`a`, copied if its last axis is not contiguous: kernels read whole rows. The other axes may lie as they like."""
    return a if a.strides[-1] == a.itemsize and a.flags.aligned else np.ascontiguousarray(a)
