"""Middle-sized layers in one launch per sequence: the host's side of cuda/persistent.cu.

W_hh lies in the registers of a group of blocks for the whole sequence, and the blocks hand h to each other at every
step. This file says how the work is cut, makes the memory that they talk through, and looks after runs that broke.

Shapes: T time, B batch, I input width, H hidden width. All arrays keep their public layout.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from lstmcore.arrays import Array, namespace
from lstmcore.ops.cells import Cell
from lstmcore.ops.masking import masking_forward
from lstmcore.ops.recurrence.cache import Cache
from lstmcore.ops.recurrence.launch import LaunchError, Machine, Strides, contiguous
from lstmcore.ops.recurrent import contract

FILE = "persistent.cu"
WARPS = 8  # of a block: few threads, so that each may have 255 registers, of which 128 hold weights
THREADS = 32 * WARPS
PATIENCE = 2_000_000_000  # nanoseconds until a block gives up waiting for another
HEADER = 32  # words before the ring, as in exchange.cuh


class Size(NamedTuple):
    """How layers up to a width are cut."""

    widest: int  # H
    units: int  # of a block: then it holds 4 * units * H = 128 * THREADS weights at most, half of all registers
    rows: int  # of a group at most


# Rows: a thread owns four pairs of unit and row at most, for which it needs 40 registers; at the widest two, since the
# ring of the backward pass grows with H^2 and should stay in the L2 cache.
SIZES = (Size(256, 32, 32), Size(512, 16, 64), Size(1024, 8, 32))
WIDEST = SIZES[-1].widest  # then a group has 128 blocks, and an H100 has 132 multiprocessors


class Cut(NamedTuple):
    """How the work is cut. A group of blocks holds W_hh once; each group has its own rows of the batch."""

    H: int  # filled up with zero weights, so that every warp has whole tiles
    units: int  # of a block
    rows: int  # of a group
    groups: int  # of a launch; the rows of the batch may need several launches

    @property
    def blocks(self) -> int:
        """Of a group."""
        return self.H // self.units

    @property
    def forward_bytes(self) -> int:
        """Shared memory of a block: a slice of h for each warp, and twice the partial sums of all warps."""
        slices = 8 * WARPS // self.units
        return 4 * (WARPS * 8 * _padded(self.H // slices) + 2 * slices * self.rows * (4 * self.units + 4))

    @property
    def backward_bytes(self) -> int:
        """Shared memory of a block: twice the da of its units."""
        return 4 * 2 * self.rows * _padded(4 * self.units)

    def fits(self, machine: Machine) -> bool:
        return max(self.forward_bytes, self.backward_bytes) <= machine.shared_limit

    @property
    def forward_words(self) -> int:
        """Of the ring: h of all units, in two slots."""
        return 2 * self.groups * self.rows * self.H

    @property
    def backward_words(self) -> int:
        """Of the ring: what every block, or part of one, adds to dh of all units, in two slots."""
        parts = max(1, WARPS // (self.H // 32))
        return 2 * self.groups * self.blocks * parts * self.rows * self.H


def cut(machine: Machine, B: int, H: int) -> Cut:
    """The fewest blocks that hold W_hh, as many groups as fit, and as few rows per group as then suffice.

    Rows are a power of two, so that few kernels are ever compiled. Raises LaunchError where one group does not fit.
    """
    size = next(size for size in SIZES if size.widest >= H)
    filled = fill_up(H, size.units)
    at_once = machine.multiprocessors // (filled // size.units)
    if at_once == 0:
        raise LaunchError(f"H = {H} takes {filled // size.units} multiprocessors, of {machine.multiprocessors}")
    rows = 8
    while rows < size.rows and rows * at_once < B and Cut(filled, size.units, 2 * rows, 1).fits(machine):
        rows *= 2
    return Cut(filled, size.units, rows, min(at_once, -(-B // rows)))


def fill_up(H: int, units: int) -> int:
    """H filled up to whole slices, of 16 units or a multiple of that, for the warps that share a tile of 8 units."""
    whole = 16 * 8 * WARPS // units
    return -(-H // whole) * whole


def _padded(length: int) -> int:
    """As in product.cuh."""
    return length + 16 if length % 32 == 0 else length


class Persistent:
    """The kernel family in one precision: "ieee" multiplies and adds in float32, "tf32" on the tensor cores."""

    def __init__(self, precision: str):
        self.NAME = f"persistent-{precision}"
        self.ieee = precision == "ieee"

    def forward(
        self,
        machine: Machine,
        cell: Cell,
        x: Array,
        params: Mapping[str, Array],
        state0: tuple[Array, ...],
        mask: Array | None,
        reuse: Cache | None,
    ) -> Cache:
        """All steps, with everything kept that `backward` needs. Buffers of `reuse` are overwritten where they fit."""
        xp, (T, B, _), H = namespace(x), x.shape, state0[0].shape[-1]
        x = masking_forward(x, mask)
        if reuse is not None and reuse.gates.shape == (T, B, 4, H):
            states, gates = reuse.states, reuse.gates
        else:
            states = tuple(xp.empty((T + 1, B, H), dtype=x.dtype) for _ in state0)
            gates = xp.empty((T, B, 4, H), dtype=x.dtype)
        self._loop(machine, x, params, state0, mask, gates, kept=(gates, *states), wanted=(None, None, None))
        return Cache(x, states, gates, mask, self.NAME)

    def predict(
        self,
        machine: Machine,
        cell: Cell,
        x: Array,
        params: Mapping[str, Array],
        state0: tuple[Array, ...],
        mask: Array | None,
    ) -> tuple[Array, tuple[Array, ...]]:
        """All steps, with nothing kept but the outputs: y (T, B, H), zero at masked steps, and the final state."""
        xp, (T, B, _), H = namespace(x), x.shape, state0[0].shape[-1]
        y, a = xp.empty((T, B, H), dtype=x.dtype), xp.empty((T, B, 4, H), dtype=x.dtype)
        last = tuple(xp.empty((B, H), dtype=x.dtype) for _ in state0)
        x = masking_forward(x, mask)
        self._loop(machine, x, params, state0, mask, a, kept=(None, None, None), wanted=(y, *last))
        return y, last

    def _loop(self, machine, x, params, state0, mask, a, kept, wanted) -> None:
        """The product of all inputs into `a`, without the bias, which the kernel adds; then the loop."""
        (T, B, I), H = x.shape, state0[0].shape[-1]
        plan = cut(machine, B, H)
        xp = namespace(x)
        xp.matmul(xp.reshape(x, (T * B, I)), params["W_ih"], out=xp.reshape(a, (T * B, 4 * H)))
        inputs = (contiguous(params["W_hh"]), contiguous(params["b"]), a, *map(contiguous, state0), *Strides.of(mask))
        arguments = (*inputs, *kept, *wanted)
        self._run(machine, "persistent_forward", plan, plan.forward_bytes, plan.forward_words, arguments, a)

    def backward(
        self,
        machine: Machine,
        cell: Cell,
        dy: Array | None,
        dstate: tuple[Array, ...],
        params: Mapping[str, Array],
        cache: Cache,
    ) -> tuple[Array, tuple[Array, ...], dict[str, Array]]:
        """Undoes `forward`, last step first: dx (T, B, I), dstate0, and the gradient of every parameter."""
        xp, (h, c) = namespace(cache.x), cache.states
        B, H = dstate[0].shape
        plan = cut(machine, B, H)
        da = xp.empty_like(cache.gates)  # the cache keeps its own
        dstate0 = tuple(xp.empty((B, H), dtype=da.dtype) for _ in dstate)
        inputs = (contiguous(params["W_hh"]), cache.gates, c, *Strides.of(cache.mask), *Strides.of(dy),
                  *map(contiguous, dstate))  # fmt: skip
        arguments = (*inputs, da, *dstate0)
        self._run(machine, "persistent_backward", plan, plan.backward_bytes, plan.backward_words, arguments, da)
        dx, dparams = contract(cell, cache.x, h[:-1, ...], da, params)
        return dx, dstate0, dparams

    def _run(self, machine, entry, plan, shared_bytes, words, arguments, a) -> None:
        """Launches the kernel for all rows of the batch; `a` (T, B, 4, H) is one of its arguments."""
        xp, (T, B, _, H) = namespace(a), a.shape
        defines = (("H_PADDED", plan.H), ("UNITS", plan.units), ("ROWS", plan.rows), ("IEEE", int(self.ieee)))
        kernel = machine.compile(FILE, entry, defines, together=True)
        grid = (plan.blocks, plan.groups)
        for first in range(0, B, plan.groups * plan.rows):
            ring = xp.full(HEADER + words * (2 if self.ieee else 1), 0xFFFFFFFF, dtype=np.uint32)
            kernel(grid, THREADS, shared_bytes, *arguments, T, B, H, first, B, ring, machine.alarm, np.int64(PATIENCE))


ieee, tf32 = Persistent("ieee"), Persistent("tf32")
