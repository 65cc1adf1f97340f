"""Middle-sized layers in one launch per sequence: the host's side of ops/gpu/persistent.cu.

W_hh lies in the registers of a group of blocks for the whole sequence, and the blocks hand h to each other at every
step. This file says how the work is cut, makes the memory that they talk through, and looks after runs that broke.

Shapes: T time, B batch, I input width, H hidden width. All arrays keep their public layout.
"""

from typing import NamedTuple

import numpy as np

from lstmcore.arrays import Array, namespace
from lstmcore.ops.cells import Cell
from lstmcore.ops.gpu.launch import LaunchError, Machine, contiguous
from lstmcore.ops.masking import masking_forward
from lstmcore.ops.matmul import product
from lstmcore.ops.recurrence.cache import Cache
from lstmcore.ops.recurrence.directions import Backward, Forward, Gradients, Strides, both

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
    """How the work is cut. A group of blocks holds a W_hh once; each group has its own rows of one direction."""

    H: int  # filled up with zero weights, so that every warp has whole tiles
    units: int  # of a block
    rows: int  # of a group
    groups: int  # of a launch at most; all rows of all directions may need several launches

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
        """Of the ring, for a group: h of all units, in two slots."""
        return 2 * self.rows * self.H

    @property
    def backward_words(self) -> int:
        """Of the ring, for a group: what every block, or part of one, adds to dh of all units, in two slots."""
        parts = max(1, WARPS // (self.H // 32))
        return 2 * self.blocks * parts * self.rows * self.H


def cut(machine: Machine, B: int, H: int, directions: int = 1) -> Cut:
    """The fewest blocks that hold W_hh, as many groups as fit, and as few rows per group as then suffice.

    Rows are a power of two, so that few kernels are ever compiled. Raises LaunchError where one group does not fit.
    """
    size = next(size for size in SIZES if size.widest >= H)
    filled = fill_up(H, size.units)
    at_once = machine.multiprocessors // (filled // size.units)
    if at_once == 0:
        raise LaunchError(f"H = {H} takes {filled // size.units} multiprocessors, of {machine.multiprocessors}")

    def groups(rows: int) -> int:
        return directions * -(-B // rows)

    rows = 8
    while rows < size.rows and at_once < groups(rows) and Cut(filled, size.units, 2 * rows, 1).fits(machine):
        rows *= 2
    return Cut(filled, size.units, rows, min(at_once, groups(rows)))


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
        self.ieee: bool = precision == "ieee"

    def forward(self, machine: Machine, cell: Cell, directions: tuple[Forward, ...]) -> tuple[Cache, ...]:
        """All steps of each direction, with everything kept that `backward` needs."""
        caches, arguments = [], []
        for d in directions:
            x, states, gates = masking_forward(d.x, d.mask), d.states(), d.gates()
            caches.append(Cache(x, states, gates, d.mask, self.NAME))
            arguments.append((*_inputs(d, x, gates), gates, *states, None, None, None))
        self._run(machine, "persistent_forward", directions, arguments)
        return tuple(caches)

    def predict(
        self, machine: Machine, cell: Cell, directions: tuple[Forward, ...]
    ) -> tuple[tuple[Array, tuple[Array, ...]], ...]:
        """All steps of each direction, with nothing kept but y (T, B, H), zero at masked steps, and the final state."""
        results, arguments = [], []
        for d in directions:
            T, B, _, H = d.sizes
            y, last = d.outputs()
            results.append((y, last))
            inputs = _inputs(d, masking_forward(d.x, d.mask), d.empty(T, B, 4, H))
            arguments.append((*inputs, None, None, None, y, *last))
        self._run(machine, "persistent_forward", directions, arguments)
        return tuple(results)

    def backward(self, machine: Machine, cell: Cell, directions: tuple[Backward, ...]) -> tuple[Gradients, ...]:
        """Undoes `forward` in each direction, last step first: dx (T, B, I), dstate0, gradients of all parameters."""
        made, arguments = [], []
        for d in directions:
            da, dstate0, (_, c) = d.da(), d.dstate0(), d.cache.states
            made.append((da, dstate0))
            kept = contiguous(d.params["W_hh"]), d.cache.gates, c, Strides.of(d.cache.mask)
            arguments.append((*kept, Strides.of(d.dy), *map(contiguous, d.dstate), da, *dstate0))
        self._run(machine, "persistent_backward", directions, arguments)
        return tuple(d.gradients(cell, *of_one) for d, of_one in zip(directions, made))

    def _run(self, machine: Machine, entry: str, directions: tuple, arguments: list[tuple]) -> None:
        """Launches the kernel until all groups of all directions have run."""
        T, B, _, H = directions[0].sizes
        plan = cut(machine, B, H, len(directions))
        shared_bytes, words = {
            "persistent_forward": (plan.forward_bytes, plan.forward_words),
            "persistent_backward": (plan.backward_bytes, plan.backward_words),
        }[entry]
        defines = (("H_PADDED", plan.H), ("UNITS", plan.units), ("ROWS", plan.rows), ("IEEE", int(self.ieee)))
        kernel = machine.compile(FILE, entry, defines, together=True)
        xp, count = namespace(arguments[0][0]), len(directions) * -(-B // plan.rows)  # groups
        for first in range(0, count, plan.groups):
            groups = min(plan.groups, count - first)
            ring = xp.full(HEADER + groups * words * (2 if self.ieee else 1), 0xFFFFFFFF, dtype=np.uint32)
            sizes, waiting = (len(directions), T, B, H, first), (ring, machine.alarm, np.int64(PATIENCE))
            kernel((plan.blocks, groups), THREADS, shared_bytes, both(arguments), *sizes, *waiting)


def _inputs(d: Forward, x: Array, a: Array) -> tuple:
    """What the forward kernel reads. `a` gets the product of all inputs, without the bias, which the kernel adds."""
    xp, (T, B, I, H) = namespace(x), d.sizes
    product(xp.reshape(x, (T * B, I)), d.params["W_ih"], out=xp.reshape(a, (T * B, 4 * H)))
    return contiguous(d.params["W_hh"]), contiguous(d.params["b"]), a, *map(contiguous, d.state0), Strides.of(d.mask)


ieee, tf32 = Persistent("ieee"), Persistent("tf32")
