"""Small layers in one launch per sequence: the host's side of ops/gpu/small.cu.

Shapes: T time, B batch, I input width, H hidden width. All arrays keep their public layout: the kernels read and write
the blocks i f g o as they are, so nothing is packed, and a forward pass is one launch.
"""

from typing import NamedTuple, cast

from lstmcore.arrays import Array
from lstmcore.ops.cells import Cell
from lstmcore.ops.gpu.launch import Kernel, Machine, contiguous
from lstmcore.ops.masking import masking_forward
from lstmcore.ops.recurrence.cache import Cache
from lstmcore.ops.recurrence.directions import Backward, Forward, Gradients, Strides, both
from lstmcore.ops.recurrence.products import project

NAME = "small"
FILE = "small.cu"
WIDEST = 48  # units: 4 weights each per thread, of the 255 registers that a thread can have
FUSED_INPUTS = 8  # a wider x goes through one product for all steps, which is faster than widening the loop's own
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


def forward(machine: Machine, cell: Cell, directions: tuple[Forward, ...]) -> tuple[Cache, ...]:
    """All steps of each direction, with everything kept that `backward` needs."""
    cut = forward_geometry(machine, *directions[0].sizes[1:])
    caches, arguments = [], []
    for d in directions:
        x, states, gates = _x(d, cut), d.states(), d.gates()
        x_kept = d.empty(*x.shape) if cut.inputs and d.mask is not None else None
        caches.append(Cache(x if x_kept is None else x_kept, states, gates, d.mask, NAME))
        arguments.append((*_inputs(cell, d, x, cut), *states, gates, x_kept, None))
    _run(machine, "small_forward", cut, directions, arguments)
    return tuple(caches)


def predict(
    machine: Machine, cell: Cell, directions: tuple[Forward, ...]
) -> tuple[tuple[Array, tuple[Array, ...]], ...]:
    """All steps of each direction, with nothing kept but y (T, B, H), zero at masked steps, and the final state."""
    cut = forward_geometry(machine, *directions[0].sizes[1:])
    results, arguments = [], []
    for d in directions:
        y, last = d.outputs()
        results.append((y, last))
        arguments.append((*_inputs(cell, d, _x(d, cut), cut), *last, None, None, y))
    _run(machine, "small_predict", cut, directions, arguments)
    return tuple(results)


def _x(d: Forward, cut: Geometry) -> Array:
    """The kernel reads x itself and looks at the mask; the products around it must not see padding."""
    return d.x if cut.inputs else masking_forward(d.x, d.mask)


def _inputs(cell: Cell, d: Forward, x: Array, cut: Geometry) -> tuple:
    """What both forward kernels read: x, or the product of all its steps."""
    own, a = (x, None) if cut.inputs else (None, project(cell, x, d.params))
    weights = (contiguous(d.params[name]) for name in ("W_ih", "W_hh", "b"))
    return Strides.of(own), a, *weights, *map(contiguous, d.state0), Strides.of(d.mask)


class Made(NamedTuple):
    """What the backward kernel writes of one direction."""

    da: Array | None  # (T, B, 4, H), for the products after it; or, with inputs inside:
    dx: Array | None  # (T, B, I)
    dstate0: tuple[Array, ...]  # (B, H) each
    sums: Array | None  # (blocks, H + I + 1, 4H): [h_prev | x | 1]^T da of each block


def backward(machine: Machine, cell: Cell, directions: tuple[Backward, ...]) -> tuple[Gradients, ...]:
    """Undoes `forward` in each direction, last step first: dx (T, B, I), dstate0, the gradient of every parameter."""
    T, B, I, H = directions[0].sizes
    cut = backward_geometry(machine, B, I, H)
    made, arguments = [], []
    for d in directions:
        if cut.inputs:
            made.append(Made(None, d.empty(T, B, I), d.dstate0(), d.empty(cut.blocks, H + I + 1, 4 * H)))
        else:
            made.append(Made(d.da(), None, d.dstate0(), None))
        weights = (contiguous(d.params[name]) for name in ("W_ih", "W_hh"))
        x = Strides.of(d.cache.x if cut.inputs else None)
        kept = (*d.cache.states, d.cache.gates)
        mask = Strides.of(d.cache.mask)
        arguments.append((Strides.of(d.dy), *map(contiguous, d.dstate), *weights, mask, x, *kept, made[-1]))
    _run(machine, "small_backward", cut, directions, arguments)
    if cut.inputs:
        dparams = _added_up(machine, cut, directions, made)
        return tuple((cast(Array, m.dx), m.dstate0, sums) for m, sums in zip(made, dparams))
    return tuple(d.gradients(cell, cast(Array, m.da), m.dstate0) for d, m in zip(directions, made))


def _added_up(machine: Machine, cut: Geometry, directions: tuple[Backward, ...], made: list[Made]) -> list[dict]:
    """The gradient of every parameter, from the sums of the blocks."""
    *_, I, H = directions[0].sizes
    dparams = [{name: d.empty(*d.params[name].shape) for name in ("W_hh", "W_ih", "b")} for d in directions]
    grid = -(-(H + I + 1) * 4 * H // SUM_THREADS), len(directions)
    arguments = [(m.sums, *of_one.values()) for m, of_one in zip(made, dparams)]
    kernel(machine, "small_sum", H, cut)(grid, SUM_THREADS, 0, both(arguments), cut.blocks)
    return dparams


def _run(machine: Machine, entry: str, cut: Geometry, directions: tuple, arguments: list[tuple]) -> None:
    T, B, _, H = directions[0].sizes
    grid = cut.blocks, len(directions)
    kernel(machine, entry, H, cut)(grid, cut.threads, cut.shared_bytes, both(arguments), T, B)
