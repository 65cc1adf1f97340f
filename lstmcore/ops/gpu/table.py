"""Many arrays in one launch: the host's side of ops/gpu/table.cuh."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from lstmcore.arrays import Array, dtype_name
from lstmcore.ops.gpu.launch import REAL, Machine

ENTRIES = 32  # of a table, which must fit the 4 KiB of a kernel's arguments
THREADS = 256  # per block
EACH = 8  # numbers of a thread, before there are more blocks for an entry


class Table(NamedTuple):
    """Some entries, in the form in which a kernel takes them."""

    real: str  # the type of their numbers, in C
    places: tuple[int, ...]  # of its entries in the list that was given
    argument: tuple  # a C struct
    blocks: int  # for each entry


def tables(machine: Machine, entries: Sequence[tuple[Array, ...]]) -> Iterator[Table]:
    """Tables of all entries, in order, each of one dtype. An entry: C-contiguous arrays of one shape and dtype."""
    most = max(entry[0].size for entry in entries)
    blocks = min(-(-most // (THREADS * EACH)), 2 * machine.multiprocessors)
    for dtype, real in REAL.items():
        places = [k for k, entry in enumerate(entries) if dtype_name(entry[0].dtype) == dtype]
        for first in range(0, len(places), ENTRIES):
            some = tuple(places[first : first + ENTRIES])
            rows = [(*entries[k], np.int64(entries[k][0].size)) for k in some]
            empty = (*[None for _ in entries[0]], np.int64(0))
            yield Table(real, some, (*rows, *[empty] * (ENTRIES - len(some))), blocks)
