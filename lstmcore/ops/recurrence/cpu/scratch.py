"""What a task of the loop keeps in its scratch memory, and where. Distances and places are in bytes.

Scratch holds one chunk of time steps at a time, small enough to stay in the cache. `rows` is the number of rows of the
task, `chunk` the steps of a chunk, so that rows * chunk rows are real at most.
"""

from lstmcore.ops.cpu.jitable import jitable
from lstmcore.ops.cpu.memory import address
from lstmcore.ops.cpu.tile import panel_vectors
from lstmcore.ops.recurrence.cpu.weights import line

LINE = 8  # numbers of a cache line
DEPTH = 128  # rows, or pairs of rows, summed at once into a weight gradient: a panel of da stays in the first cache
FACTORS = 72  # columns of a block of factors, in whole tiles: DEPTH rows of them lie in few pages, and in that cache
PAGED = 2048  # bytes from which rows count as lying in different pages, too many to be found at once
WIDTH = panel_vectors()


@jitable
def forward_scratch(rows, chunk, groups, units, joined, K, I, H, lanes, size):
    """Distances of rows of x and of `a`, from one block of `a` to the next and from one group; places of x, h_prev, a;
    the end.

    units: of a group at most; joined: the blocks of a row of `a` lie one behind the other without a gap, else every
    block of a group by itself. Rows of h_prev have no gaps. A vector of the step may begin a row early.
    """
    x_row = -(-I // lanes) * lanes * size
    a_row = -(-(K if joined else 1) * units // lanes) * lanes * size
    a_block = units * size if joined else rows * chunk * a_row
    a_group = rows * chunk * a_row * (1 if joined else K)
    h = rows * chunk * x_row
    a = line(h + rows * H * size) + lanes * size
    return x_row, a_row, a_block, a_group, 0, h, a, a + groups * a_group


@jitable
def backward_scratch(rows, chunk, beside, K, I, H, lanes, size, per_word):
    """The layout of the factors: columns of a block, distances of its rows and from one block to the next. Distances of
    rows of dh_prev, with `beside` columns of dx beside it, and of da, and from a row of da to the same as factors in
    pairs; places of factors, dh_prev, da, its panels, and a block of factors in pairs; the end.
    """
    paired = per_word > 1
    width = FACTORS if (I + 1 + H) * size > PAGED else I + 1 + H
    if paired:
        width = min(FACTORS, width)
    factor_row = _odd_lines(width * size)
    factor_block = rows * chunk * factor_row
    da_pairs = (K * H + lanes) * size  # the last vector of the last block may reach beyond it
    da_row = _odd_lines(da_pairs + (K * ((H + 1) // per_word) * size if paired else 0))
    dh_row = (H + beside) * size
    dh = -(-(I + 1 + H) // width) * factor_block
    da = line(dh + rows * dh_row) + lanes * size
    panel = da + rows * chunk * da_row
    panels = -(-K * H // (lanes * WIDTH)) if paired or da_row > PAGED else 1  # of da, where it is packed
    pairs = panel + max(rows * chunk, DEPTH * panels) * WIDTH * lanes * size
    end = pairs + (DEPTH * -(-width // lanes) * lanes * size if paired else 0)
    return (width, factor_row, factor_block), dh_row, da_row, da_pairs, 0, dh, da, panel, pairs, end


@jitable
def _odd_lines(size):
    """`size` rounded up to an odd number of cache lines of 64 bytes: such rows do not compete for the same places."""
    return ((size + 63) // 64 | 1) * 64


def counters_size(tiles: int, parts: int, rows: int, chunk: int) -> int:
    """Numbers of the array in which the tasks of a call meet, in a cache line for all over the packing and in one for
    the parts of each tile, and in which each task keeps what `real_rows` tells it. A task allocates no memory: if that
    failed, the others would wait for it in vain."""
    return LINE * (1 + tiles) + tiles * parts * (rows * chunk + chunk + 1)


@jitable
def counter_of(counters, tile):
    """The address of the counter at which the parts of a tile meet."""
    return address(counters) + (1 + tile) * LINE * 8


@jitable
def own_numbers(counters, task, tiles, parts, chunk):
    """The two arrays of a task for `real_rows`."""
    first = LINE * (1 + tiles)
    each = (len(counters) - first) // (tiles * parts)
    first += task * each
    return counters[first : first + each - chunk - 1], counters[first + each - chunk - 1 : first + each]


@jitable
def real_rows(mask, row_first, row_end, t_first, t_end, numbers, starts):
    """The unmasked rows of a chunk, step by step: numbers[q] in the batch, q from starts[t - t_first]; their number."""
    q = 0
    for t in range(t_first, t_end):
        starts[t - t_first] = q
        for r in range(row_first, row_end):
            if mask[t, r]:
                numbers[q] = r
                q += 1
    starts[t_end - t_first] = q
    return q
