"""Clipping by the norm of all gradients on a GPU, in three launches and without a word to the host."""

import math
from collections.abc import Mapping

from lstmcore.arrays import Array, namespace
from lstmcore.ops.gpu.launch import Kernel, Machine, contiguous
from lstmcore.ops.gpu.table import ENTRIES, THREADS, Table, tables

FILE = "clip.cu"


def clip_by_global_norm(machine: Machine, grads: Mapping[str, Array], limit: float) -> Array:
    """`clip_by_global_norm` of clip.py, for one array or more, none empty. The norm, () float64, stays on the GPU."""
    arrays = list(grads.values())
    xp, dense = namespace(arrays[0]), [contiguous(g) for g in arrays]
    found = xp.full(2, limit, dtype=xp.float64)  # the norm, and the factor
    lists = list(tables(machine, [(g,) for g in dense]))
    blocks = lists[0].blocks
    sums = xp.empty((len(arrays), blocks, 3), dtype=xp.float64)
    first = 0
    for table in lists:
        grid = (blocks, len(table.places))
        kernel(machine, "clip_squares", table)(grid, THREADS, THREADS * 24, table.argument, sums, first)
        first += len(table.places)
    kernel(machine, "clip_norm", lists[0])((1, 1), THREADS, THREADS * 24, sums, found, len(arrays) * blocks)
    if limit < math.inf:
        for table in lists:
            kernel(machine, "clip_scale", table)((blocks, len(table.places)), THREADS, 0, table.argument, found)
        for g, scaled in zip(arrays, dense):
            if not g.flags.c_contiguous:
                g[...] = scaled
    return found[0, ...]


def kernel(machine: Machine, entry: str, table: Table) -> Kernel:
    return machine.compile(FILE, entry, (("REAL", table.real), ("ENTRIES", ENTRIES), ("THREADS", THREADS)))
