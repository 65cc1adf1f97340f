"""Reading and writing some lanes of a vector: just these, however many are asked for."""

import numba
import numpy as np
import pytest

from lstmcore.ops.cpu.memory import vectors

DTYPES = ("float32", "float64")


@pytest.mark.parametrize("dtype", DTYPES)
def test_some_lanes(dtype):
    """Counts below zero are none; counts beyond a vector, and beyond 32 bits, are all: arrays may be that large."""
    v = vectors(dtype)
    load_some, load_padded, store_some, keep_some = v.load_some, v.load_padded, v.store_some, v.keep_some
    lanes, size, seven = v.lanes, v.size, np.dtype(dtype).type(7)

    @numba.njit
    def run(source, out, count):
        s, o = source.ctypes.data, out.ctypes.data
        store_some(o, lanes, load_some(s, count))
        store_some(o + lanes * size, lanes, load_padded(s, count, seven))
        store_some(o + 2 * lanes * size, lanes, keep_some(load_some(s, lanes), count))
        store_some(o + 3 * lanes * size, count, load_some(s, lanes))

    source = np.arange(1, lanes + 1).astype(dtype)
    for count in (-(2**32) - 1, -1, 0, 1, lanes - 1, lanes, lanes + 1, 2**31, 2**32, 2**32 + 1, 2**40 + 3):
        out = np.full((4, lanes), -1, dtype)
        run(source, out, count)
        chosen = np.arange(lanes) < count
        for row, others in zip(out, (0, 7, 0, -1), strict=True):
            assert np.array_equal(row, np.where(chosen, source, others)), count
