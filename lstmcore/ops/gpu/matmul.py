"""A matrix product on a GPU by a kernel of our own: the host's side of ops/gpu/matmul.cu."""

import numpy as np

from lstmcore.arrays import Array, namespace
from lstmcore.ops.gpu.launch import Machine, kernel_in

FILE = "matmul.cu"
TILE, DEPTH = 64, 16  # as in the kernel's text
THREADS = 256  # per block
SHORTEST = 64  # of the sum over D: what a block of its own is worth


def matmul(machine: Machine, a: Array, b: Array, out: Array | None = None) -> Array:
    """a @ b for a (M, D), b (D, N), of one dtype, float32 or float64, and any strides; in IEEE arithmetic.

    out: a C-contiguous (M, N) array for the result. The order of every sum follows from the shape and from the number
    of multiprocessors: the same bits every time.
    """
    xp, (M, D), N = namespace(a), a.shape, b.shape[1]
    tiles = -(-M // TILE) * -(-N // TILE)
    part = _part(machine, tiles, D)
    parts = -(-D // part)
    if out is None:
        out = xp.empty((M, N), dtype=a.dtype)
    sums = out if parts == 1 else xp.empty((parts, M, N), dtype=a.dtype)
    kernel_in(machine, FILE, "matmul", a.dtype)(
        (tiles, parts), THREADS, 2 * DEPTH * (TILE + 4) * a.itemsize, *_strided(a), *_strided(b), sums, M, D, N, part
    )
    if parts > 1:
        add_up = kernel_in(machine, FILE, "matmul_sum", a.dtype)
        add_up((-(-M * N // THREADS), 1), THREADS, 0, sums, out, M * N, parts)
    return out


def _part(machine: Machine, tiles: int, D: int) -> int:
    """How much of D one block sums up: whole slices, and less of them where there are few tiles for many blocks."""
    parts = max(1, min(machine.multiprocessors // tiles, D // SHORTEST))
    return -(-D // (parts * DEPTH)) * DEPTH


def _strided(a: Array) -> tuple:
    row, column = (np.int64(stride // a.itemsize) for stride in a.strides)
    return a, row, column
