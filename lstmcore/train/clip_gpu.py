"""The norm of all gradients on a GPU, and clipping by it, without a word to the host: two launches for the norm."""

import math
from collections.abc import Mapping

from lstmcore.arrays import Array, namespace
from lstmcore.ops.recurrence.launch import Machine, contiguous
from lstmcore.train.table_gpu import ENTRIES, THREADS, tables

FILE = "clip.cu"


def clip_by_global_norm(machine: Machine, grads: Mapping[str, Array], limit: float) -> Array:
    """As `clip_by_global_norm` of clip.py; the norm, () float64, stays on the GPU."""
    norm = global_norm(machine, grads)
    if limit < math.inf:
        xp = namespace(norm)
        factor = xp.where(norm < math.inf, limit / xp.maximum(norm, limit), xp.ones_like(norm))  # 1 if it is not above
        for g in grads.values():
            g *= xp.astype(factor, g.dtype)
    return norm


def global_norm(machine: Machine, grads: Mapping[str, Array]) -> Array:
    """The norm of all numbers in all arrays, () float64. At least one array; none is empty."""
    xp = namespace(next(iter(grads.values())))
    found = list(tables(machine, [(contiguous(g),) for g in grads.values()]))
    blocks = found[0].blocks
    sums, norm = xp.empty((len(grads), blocks, 3), dtype=xp.float64), xp.empty((), dtype=xp.float64)
    first = 0
    for table in found:
        defines = (("REAL", table.real), ("ENTRIES", ENTRIES), ("THREADS", THREADS))
        squares = machine.compile(FILE, "clip_squares", defines)
        squares((blocks, len(table.places)), THREADS, THREADS * 24, table.argument, sums, first)
        first += len(table.places)
    last = machine.compile(FILE, "clip_norm", defines)
    last((1, 1), THREADS, THREADS * 24, sums, norm, len(grads) * blocks)
    return norm
