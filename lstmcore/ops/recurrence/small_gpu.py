"""Small layers in one launch per sequence: the host's side of cuda/small.cu.

Shapes: T time, B batch, I input width, H hidden width. All arrays keep their public layout: the kernels read and write
the blocks i f g o as they are, so nothing is packed, and a forward pass is one launch.
"""

from collections.abc import Mapping
from typing import NamedTuple

from lstmcore.arrays import Array, namespace
from lstmcore.ops.cells import Cell
from lstmcore.ops.masking import masking_forward
from lstmcore.ops.recurrence.cache import Cache
from lstmcore.ops.recurrence.launch import Kernel, Machine, Strides, contiguous
from lstmcore.ops.recurrent import contract, project

NAME = "small"
FILE = "small.cu"
WIDEST = 48  # units: 4 weights each per thread, of the 255 registers that a thread can have
FUSED_INPUTS = 8  # a wider x goes through one product for all steps, which is faster than so many more in the loop
THREADS = 256  # per block: 255 registers for each are all that a multiprocessor has
SUM_REGISTERS = 164  # for a thread's weights and its share of the weight gradients; the step needs the others
SUM_THREADS = 128  # per block of small_sum


class Geometry(NamedTuple):
    """How the work is cut. `inputs`: how many the kernel reads itself; 0: the products with x are made around it."""

    inputs: int
    rows: int  # of a block: a power of two, so that few kernels are ever compiled
    blocks: int
    threads: int
    shared_bytes: int


def forward_geometry(machine: Machine, B: int, I: int, H: int) -> Geometry:
    """As few rows per block as give every multiprocessor one block."""
    inputs = I if I <= FUSED_INPUTS and H + I <= WIDEST else 0
    rows = _rows(machine, B, H)
    width = -(-(H + inputs) // 4) * 4
    return Geometry(inputs, rows, -(-B // rows), rows * H, 2 * rows * width * 4)


def backward_geometry(machine: Machine, B: int, I: int, H: int) -> Geometry:
    """Likewise; with more rows, if need be, so that a thread's share of the sums fits into its registers."""
    rows, width = _rows(machine, B, H), H + I
    if I <= FUSED_INPUTS and width <= WIDEST:
        more = rows
        while more * width <= THREADS:
            share = -(-(width + 1) * H // (more * width))
            if 4 * (H + share) <= SUM_REGISTERS:
                return Geometry(I, more, -(-B // more), more * width, 2 * more * (4 * H + width + 1) * 4)
            more *= 2
    return Geometry(0, rows, -(-B // rows), rows * H, 2 * rows * 4 * H * 4)


def _rows(machine: Machine, B: int, H: int) -> int:
    rows = 1
    while rows * machine.multiprocessors < B and 2 * rows * H <= THREADS:
        rows *= 2
    return rows


def kernel(machine: Machine, entry: str, H: int, geometry: Geometry) -> Kernel:
    return machine.compile(FILE, entry, (("H", H), ("I", geometry.inputs), ("ROWS", geometry.rows)))


def forward(
    machine: Machine,
    cell: Cell,
    x: Array,
    params: Mapping[str, Array],
    state0: tuple[Array, ...],
    mask: Array | None,
    reuse: Cache | None,
) -> Cache:
    """All steps, with everything kept that `backward` needs. Buffers of `reuse` are overwritten where they fit."""
    xp, (T, B, I), H = namespace(x), x.shape, state0[0].shape[-1]
    cut = forward_geometry(machine, B, I, H)
    if reuse is not None and reuse.gates.shape == (T, B, 4, H):
        states, gates = reuse.states, reuse.gates
    else:
        states = tuple(xp.empty((T + 1, B, H), dtype=x.dtype) for _ in state0)
        gates = xp.empty((T, B, 4, H), dtype=x.dtype)
    if cut.inputs:
        x_kept = None if mask is None else xp.empty((T, B, I), dtype=x.dtype)
        kernel(machine, "small_forward", H, cut)(
            (cut.blocks, 1), cut.threads, cut.shared_bytes,
            *_inputs(x, None, params, state0, mask), *states, gates, x_kept, T, B,
        )  # fmt: skip
        return Cache(x if x_kept is None else x_kept, states, gates, mask, NAME)
    x = masking_forward(x, mask)
    a = project(cell, x, params)
    kernel(machine, "small_forward", H, cut)(
        (cut.blocks, 1), cut.threads, cut.shared_bytes,
        *_inputs(None, a, params, state0, mask), *states, gates, None, T, B,
    )  # fmt: skip
    return Cache(x, states, gates, mask, NAME)


def predict(
    machine: Machine,
    cell: Cell,
    x: Array,
    params: Mapping[str, Array],
    state0: tuple[Array, ...],
    mask: Array | None,
) -> tuple[Array, tuple[Array, ...]]:
    """All steps, with nothing kept but the outputs: y (T, B, H), zero at masked steps, and the final state."""
    xp, (T, B, I), H = namespace(x), x.shape, state0[0].shape[-1]
    cut = forward_geometry(machine, B, I, H)
    y = xp.empty((T, B, H), dtype=x.dtype)
    last = tuple(xp.empty((B, H), dtype=x.dtype) for _ in state0)
    a = None if cut.inputs else project(cell, masking_forward(x, mask), params)
    kernel(machine, "small_predict", H, cut)(
        (cut.blocks, 1), cut.threads, cut.shared_bytes,
        *_inputs(x if cut.inputs else None, a, params, state0, mask), *last, y, T, B,
    )  # fmt: skip
    return y, last


def _inputs(x, a, params, state0, mask) -> tuple:
    """What both forward kernels read."""
    weights = (contiguous(params[name]) for name in ("W_ih", "W_hh", "b"))
    return (*Strides.of(x), a, *weights, *map(contiguous, state0), *Strides.of(mask))


def backward(
    machine: Machine,
    cell: Cell,
    dy: Array | None,
    dstate: tuple[Array, ...],
    params: Mapping[str, Array],
    cache: Cache,
) -> tuple[Array, tuple[Array, ...], dict[str, Array]]:
    """Undoes `forward`, last step first: dx (T, B, I), dstate0, and the gradient of every parameter."""
    xp, x, mask = namespace(cache.x), cache.x, cache.mask
    (T, B, I), H = x.shape, cache.gates.shape[-1]
    cut = backward_geometry(machine, B, I, H)
    inside = cut.inputs > 0
    da = None if inside else xp.empty_like(cache.gates)  # the cache keeps its own
    dx = xp.empty((T, B, I), dtype=x.dtype) if inside else None
    sums = xp.empty((cut.blocks, H + I + 1, 4 * H), dtype=x.dtype) if inside else None
    dstate0 = tuple(xp.empty((B, H), dtype=x.dtype) for _ in dstate)
    h, c = cache.states
    kernel(machine, "small_backward", H, cut)(
        (cut.blocks, 1), cut.threads, cut.shared_bytes,
        *Strides.of(dy), *map(contiguous, dstate), *(contiguous(params[name]) for name in ("W_ih", "W_hh")),
        *Strides.of(mask), *Strides.of(x if inside else None), h, c, cache.gates, da, dx, *dstate0, sums, T, B,
    )  # fmt: skip
    if not inside:
        dx, dparams = contract(cell, x, h[:-1, ...], da, params)
        return dx, dstate0, dparams
    dparams = {name: xp.empty(params[name].shape, dtype=x.dtype) for name in ("W_hh", "W_ih", "b")}
    count = (H + I + 1) * 4 * H
    kernel(machine, "small_sum", H, cut)(
        (-(-count // SUM_THREADS), 1), SUM_THREADS, 0, sums, *dparams.values(), cut.blocks
    )  # fmt: skip
    return dx, dstate0, dparams
