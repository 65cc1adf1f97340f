"""How the work of one call is cut: into rows of the batch, or into units of the layer.

Rows are cut where the weights fit the cache of one core: every tile of rows runs through all steps on its own, and no
thread waits for another. Units are cut where the weights do not fit or the rows are few, and where threads would be
idle else: there are more of them than tiles, or the tiles do not go evenly among them. Each thread then holds its share
of the weights, and those of a tile meet after every step. With a mask, tiles stay whole while there is one for each
thread. Small calls are one task.

Everything that could change a result (the tiles, the steps of a chunk) follows from the shape, and from whether there
is a mask. Into how many parts the units are cut follows from the threads, and changes nothing: each unit is computed
by itself.

Tasks are taken in their order, part by part of one tile after the other. So no more than one tile is short of parts at
any time, and those who wait there wait for a thread that has a whole tile, or is free: as many threads as parts are
enough.
"""

import functools
from typing import NamedTuple

import numpy as np

from lstmcore.ops.cells import Cell
from lstmcore.ops.cpu.factors import factors
from lstmcore.ops.cpu.memory import vectors
from lstmcore.ops.cpu.panels import panel_count
from lstmcore.ops.recurrence.cpu.scratch import backward_scratch, counters_size, forward_scratch
from lstmcore.ops.recurrence.cpu.weights import Layout, forward_layout

SMALL = 4_000_000  # multiplications in all, some 80 us, below which waking a second thread does not pay
GATES = 160  # multiplications: how long the gate functions of one unit take
STEP = 200_000  # multiplications of one step below which threads would mostly wait for each other
FETCHED = 4  # rows whose multiplications take as long as fetching the weights does for one
MEET = 1.15  # times as long: a step of whose units each thread has a share, with all that it must fetch and wait for
CACHE = 1_500_000  # bytes of recurrent weights that stay beside a core
TILE = 48  # rows of a tile, about
TASK = 256  # rows of a tile in all its steps, at least: handing it to a thread takes several microseconds
MASKED_TILES = 8  # at least, of rows that may differ in length
FEW = 16  # rows that are too few to cut
LINE = 16  # numbers more, so that the start of a cache line is among the first
FORWARD_ROWS, BACKWARD_ROWS = 96, 256  # rows that a chunk of steps should hold, for its products to run well


class Plan(NamedTuple):
    edges: np.ndarray  # (tiles + 1,): the first row of each tile, and B
    parts: int  # of the units of a tile
    divisible: bool  # whether more threads would make more parts
    tasks: int  # a part of a tile each
    weights: Layout  # of the forward loop
    unit_panels: int  # of the backward loop
    input_panels: int  # 0: dx is computed beside dh_prev
    forward_chunk: int  # steps
    backward_chunk: int
    forward_scratch: int  # bytes
    backward_scratch: int
    forward_counters: int  # numbers
    backward_counters: int
    forward_packed: int  # numbers in the packed weights, at most
    backward_packed: int
    da_bytes: int  # what parts share in the backward pass
    real: np.ndarray  # (T, B) a mask that is true everywhere
    no_dy: np.ndarray  # (T, B, H) zeros
    no_gates: np.ndarray  # (0, B, K, H)
    unkept: tuple[np.ndarray, np.ndarray, np.ndarray]  # in place of y, x and its clean steps where no step is masked


def parts_of(tiles: int, most: int, vectors: int, threads: int, masked: bool) -> int:
    """Into how many parts, at most `most`, the units of each tile are cut for all to be done soonest: the fewest that
    are as good as any. Units are cut where a vector of them ends. Rows of a mask stay whole while there are tiles for
    all: who is done with short ones takes the next, and waits for nobody."""
    if masked and threads <= tiles:
        return 1

    def took(parts: int) -> float:
        turns = -(-tiles * parts // threads)  # tasks that a thread does one after the other
        return turns * -(-vectors // parts) * (MEET if parts > 1 else 1)

    return min(range(1, min(most, threads) + 1), key=took)


def cut(
    cell: Cell, T: int, B: int, I: int, H: int, lanes: int, size: int, masked: bool, threads: int
) -> tuple[int, int, int]:
    """Tiles, parts of each, and how many parts there would be at most. size: bytes of a factor."""
    K, V = len(cell.gates), -(-H // lanes)
    step = B * K * H * H
    tiles, most_parts = 1, 1
    if T * (step + B * H * (K * I + GATES)) >= SMALL:
        if K * H * H * size <= CACHE and B >= FEW:
            tiles = max(2, 2 * round(B / max(TILE, TASK // T) / 2))  # even: two threads get equal shares
            if masked:  # more tiles than threads: a thread that is done with short rows takes the next
                tiles = max(tiles, min(MASKED_TILES, B // 4))
        if step >= STEP * tiles:
            most_parts = min(V, max(2, max(B // tiles, FETCHED) * K * H * H // STEP))
    return tiles, parts_of(tiles, most_parts, V, threads, masked), most_parts


@functools.lru_cache(maxsize=64)
def plan(cell: Cell, T: int, B: int, I: int, H: int, kind: str, masked: bool, threads: int) -> Plan:
    """The plan for one shape and kind of factors, with a mask or without, on `threads` threads."""
    dtype, per_word, words = factors(kind).dtype, factors(kind).per_word, factors(kind).words
    v = vectors(dtype)
    K = len(cell.gates)
    tiles, parts, most_parts = cut(cell, T, B, I, H, v.lanes, v.size // per_word, masked, threads)
    rows = -(-B // tiles)
    often = 2 if masked else 1  # a chunk may hold half as many real rows as others
    forward_chunk, backward_chunk = (max(1, min(T, often * n // rows)) for n in (FORWARD_ROWS, BACKWARD_ROWS))
    layout = forward_layout(cell, I, H, kind, parts)
    most = int((layout.groups["end"] - layout.groups["first"]).max())
    each = -(-len(layout.groups) // parts)  # groups of a part
    # The empty lanes of dh_prev's last vector give dx for nothing, where it fits.
    beside = cell.input_blocks == cell.recurrent_blocks and parts == 1 and -(-(H + I) // v.lanes) == -(-H // v.lanes)
    backward_bytes = backward_scratch(rows, backward_chunk, I if beside else 0, K, I, H, v.lanes, v.size, per_word)
    return Plan(
        np.arange(tiles + 1) * B // tiles,
        parts,
        parts < most_parts,
        tiles * parts,
        layout,
        panel_count(H, v.lanes, parts),
        0 if beside else panel_count(I, v.lanes, parts),
        forward_chunk,
        backward_chunk,
        forward_scratch(rows, forward_chunk, each, most, layout.joined, K, I, H, v.lanes, v.size)[-1],
        backward_bytes[-1],
        counters_size(tiles, parts, rows, forward_chunk),
        counters_size(tiles, parts, rows, backward_chunk),
        layout.numbers + LINE,
        K * words(H) * (-(-I // v.lanes) - (-H // v.lanes)) * v.lanes + LINE,
        tiles * (rows * backward_chunk * backward_bytes[2]) + 2 * 64 if parts > 1 else 0,
        np.broadcast_to(np.True_, (T, B)),
        np.broadcast_to(np.zeros(H, dtype), (T, B, H)),
        np.empty((0, B, K, H), dtype),
        (np.empty((0, B, H), dtype), np.empty((0, B, I), dtype), np.empty((0, B), bool)),
    )
