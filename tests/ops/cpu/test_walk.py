"""A walk over rows reaches every column of every row once, in order, in whole vectors where rows are long enough."""

import functools

import numba
import numpy as np
import pytest

from lstmcore.ops.cpu.jitable import inlined
from lstmcore.ops.cpu.memory import vectors
from lstmcore.ops.cpu.walk import walk

LANES = vectors("float32").lanes


@functools.cache
def recorded():
    @inlined
    def visit(row, column, here, there, visits, count):
        visits[count[0]] = row, column, here, there
        count[0] += 1

    walked = walk("float32", visit)

    @numba.njit
    def run(first, end, columns, visits, count):
        walked(first, end, columns, visits, count)

    return run


@pytest.mark.parametrize("columns", [1, LANES - 1, LANES, LANES + 1, LANES * 3 // 2, 2 * LANES, 5 * LANES + 3])
@pytest.mark.parametrize("rows", [0, 1, 2, 7])
def test_every_column_of_every_row(columns, rows):
    first = 3
    visits, count = np.zeros((1000, 4), np.int64), np.zeros(1, np.int64)
    recorded()(first, first + rows, columns, visits, count)
    reached = []
    for row, column, here, there in visits[: count[0]]:
        assert 0 < here <= LANES
        assert there in (0, LANES - here)
        reached += [(row, column + lane) for lane in range(here)] + [(row + 1, lane) for lane in range(there)]
    assert reached == [(row, column) for row in range(first, first + rows) for column in range(columns)]
    each = -(-columns // LANES) * rows
    assert count[0] == (-(-rows * columns // LANES) if columns > LANES else each)


def test_lanes_across_the_end_of_a_row():
    """load_across reads `here` lanes from one place and the rest from another; store_across writes them so."""
    load_across, store_across = vectors("float32").load_across, vectors("float32").store_across

    @numba.njit
    def move(source, out, following, here, there):
        s, o = source.ctypes.data, out.ctypes.data
        values = load_across(2, s, s + following * 4, 64 * 4, here, there)
        store_across(values, o, o + following * 4, 64 * 4, here, there)

    source = np.arange(128, dtype=np.float32)
    for here in range(1, LANES + 1):
        for there in {0, LANES - here}:
            out = np.full(128, -1, np.float32)
            move(source, out, 40, here, there)
            touched = np.concatenate([np.arange(here), 40 + np.arange(LANES - there, LANES)]).astype(int)
            want = np.full(128, -1, np.float32)
            for start in (0, 64):
                want[start + touched] = source[start + touched]
            assert np.array_equal(out, want)
