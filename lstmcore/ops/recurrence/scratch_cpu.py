"""What a task of the loop keeps in its scratch memory, and where. Distances and places are in bytes.

Scratch holds one chunk of time steps at a time, small enough to stay in the cache. `rows` is the number of rows of the
task, `chunk` the steps of a chunk, so that rows * chunk rows are real at most.
"""

from lstmcore.ops.compiled.jitable_cpu import jitable
from lstmcore.ops.compiled.tile_cpu import panel_vectors

DEPTH = 128  # rows summed at once into a weight gradient: one panel of their da stays in the first cache
WIDTH = panel_vectors()


@jitable()
def forward_scratch(rows, chunk, K, I, H, lanes, size):
    """Distances of rows of x and of h_prev (and of a); places of x, h_prev, a; the end."""
    x_row = -(-I // lanes) * lanes * size
    h_row = -(-H // lanes) * lanes * size
    h = rows * chunk * x_row
    a = h + rows * h_row
    return x_row, h_row, 0, h, a, a + K * rows * chunk * h_row


@jitable()
def backward_scratch(rows, chunk, K, I, H, lanes, size):
    """Distances of rows of (x, 1, h_prev), dh_prev and da; places of these three and of one panel; the end."""
    factor_row = _odd_lines((I + 1 + H) * size)
    dh_row = -(-H // lanes) * lanes * size
    da_row = _odd_lines((K * H + lanes) * size)  # the last vector of the last block may reach beyond it
    dh = rows * chunk * factor_row
    da = dh + rows * dh_row
    panel = da + rows * chunk * da_row
    return factor_row, dh_row, da_row, 0, dh, da, panel, panel + rows * chunk * WIDTH * lanes * size


@jitable()
def _odd_lines(size):
    """`size` rounded up to an odd number of cache lines of 64 bytes: such rows do not compete for the same places."""
    return ((size + 63) // 64 | 1) * 64


@jitable()
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
