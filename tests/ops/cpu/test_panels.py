"""Packed panels hold the matrix, zeros beside it, and nothing of what lies around it."""

import functools

import numba
import numpy as np
import pytest
from gpu.bounded import to_bfloat16
from pairs import halves

from lstmcore.ops.cpu.memory import vectors
from lstmcore.ops.cpu.panels import packing, panel_count
from lstmcore.ops.cpu.tile import panel_vectors

DTYPES = ("float32", "float64")
SHAPES = [(1, 1), (24, 96), (7, 3), (16, 16), (50, 33), (3, 130)]  # depth, columns


@functools.cache
def functions(dtype: str):
    copy, clear, _, as_factors, pack, pack_transposed = packing(dtype)

    @numba.njit
    def copy_array(out, source, count):
        copy(out.ctypes.data, source.ctypes.data, count)

    @numba.njit
    def pack_array(out, source, depth, columns, vector, width):
        pack(out.ctypes.data, source.ctypes.data, source.strides[0], depth, columns, vector, width)

    @numba.njit
    def pack_transposed_array(out, source, depth, columns, vector, width):
        pack_transposed(out.ctypes.data, source.ctypes.data, source.strides[0], depth, columns, vector, width)

    @numba.njit
    def clear_array(out, count):
        clear(out.ctypes.data, count)

    @numba.njit
    def as_factors_array(out, source, count):
        as_factors(out.ctypes.data, source.ctypes.data, count)

    return copy_array, pack_array, pack_transposed_array, clear_array, as_factors_array


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("transposed", [False, True])
def test_panels(shape, dtype, transposed):
    depth, columns = shape
    lanes = vectors(dtype).lanes
    V = -(-columns // lanes)
    surroundings = np.full((depth + 2, columns + 2) if not transposed else (columns + 2, depth + 2), np.nan, dtype)
    inside = surroundings[1:-1, 1:-1]
    inside[...] = np.random.default_rng(0).normal(size=inside.shape)
    matrix = inside.T if transposed else inside  # (depth, columns)
    for vector in range(V):
        for width in range(1, min(panel_vectors(), V - vector) + 1):
            out = np.full((depth + 1, width * lanes), 7, dtype)
            functions(dtype)[1 + transposed](out, inside, depth, columns, vector, width)
            want = np.zeros((depth, width * lanes), dtype)
            present = matrix[:, vector * lanes : (vector + width) * lanes]
            want[:, : present.shape[1]] = present
            assert np.array_equal(out[:depth], want)
            assert (out[depth:] == 7).all()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("transposed", [False, True])
def test_panels_of_pairs(shape, transposed):
    """A word holds two numbers of a column, one below the other, as bfloat16; the last may lack the second."""
    depth, columns = shape
    lanes, words = vectors("float32").lanes, -(-depth // 2)
    V = -(-columns // lanes)
    surroundings = np.full((depth + 2, columns + 2) if not transposed else (columns + 2, depth + 2), np.nan, "float32")
    inside = surroundings[1:-1, 1:-1]
    inside[...] = np.random.default_rng(0).normal(size=inside.shape)
    matrix = np.zeros((2 * words, V * lanes))
    matrix[:depth, :columns] = inside.T if transposed else inside
    pairs = to_bfloat16(matrix).value.reshape(words, 2, V * lanes)
    for vector in range(V):
        for width in range(1, min(panel_vectors(), V - vector) + 1):
            out = np.full((words + 1, width * lanes), 7, "float32")
            functions("bfloat16")[1 + transposed](out, inside, depth, columns, vector, width)
            for half in (0, 1):
                assert np.array_equal(
                    halves(out[:words])[half], pairs[:, half, vector * lanes : (vector + width) * lanes]
                )
            assert (out[words:] == 7).all()


@pytest.mark.parametrize("count", [0, 1, 2, 3, 31, 32, 33, 70])
def test_a_row_of_pairs(count):
    source, out = np.random.default_rng(0).normal(size=count + 2).astype("float32"), np.full(40, 7, "float32")
    source[count:] = np.nan
    functions("bfloat16")[4](out, source, count)
    words = -(-count // 2)
    numbers = np.stack(halves(out[:words]), axis=-1).ravel()
    assert np.array_equal(numbers[:count], to_bfloat16(source[:count].astype(float)).value)
    assert not numbers[count:].any()
    assert (out[words:] == 7).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", [0, 1, 3, 15, 16, 17, 40])
def test_copy(count, dtype):
    source, out = np.arange(50, dtype=dtype), np.full(50, -1, dtype)
    functions(dtype)[0](out, source, count)
    assert np.array_equal(out[:count], source[:count])
    assert (out[count:] == -1).all()
    functions(dtype)[3](source, count)
    assert not source[:count].any()
    assert np.array_equal(source[count:], np.arange(count, 50))


@pytest.mark.parametrize("parts", [1, 2, 3])
@pytest.mark.parametrize("N", [1, 15, 16, 17, 64, 65, 650, 1024])
def test_panels_are_few_and_shared_evenly(N, parts):
    lanes = 16
    count, V = panel_count(N, lanes, parts), -(-N // lanes)
    edges = [p * V // count for p in range(count + 1)]
    widths = np.diff(edges)
    assert count % parts == 0
    assert widths.max() <= panel_vectors()
    assert widths.max() - widths.min() <= 1
