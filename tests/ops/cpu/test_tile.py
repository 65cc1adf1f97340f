"""The product tile against NumPy: every size, any distances, sums that do not depend on the cut."""

import functools
import math

import numba
import numpy as np
import pytest
from gpu.bounded import to_bfloat16
from pairs import together

from lstmcore.ops.cpu.memory import vectors
from lstmcore.ops.cpu.tile import TILE_ROWS, panel_vectors, product

DTYPES = ("float32", "float64")


@functools.cache
def panel_product(dtype: str):
    function = product(dtype)

    @numba.njit
    def run(rows, columns, depth, A, a_row, a_step, B, b_step, init, init_row, out, out_row):
        function(
            rows, columns, depth, A.ctypes.data, a_row, a_step, B.ctypes.data, b_step,
            init.ctypes.data, init_row, out.ctypes.data, out_row, B.ctypes.data,
        )  # fmt: skip

    return run


def multiply(
    A: np.ndarray, B: np.ndarray, init: np.ndarray, transposed: bool = False, columns: int | None = None
) -> np.ndarray:
    """init + A @ B, B one panel wide; A read along its columns if it lies transposed; init one row or all; the first
    `columns` columns, or all.
    """
    (rows, depth), size, dtype = A.shape, A.itemsize, A.dtype.name
    columns = columns or B.shape[1]
    a = np.ascontiguousarray(A.T) if transposed else np.ascontiguousarray(A)
    a_row, a_step = (size, rows * size) if transposed else (depth * size, size)
    out = np.full((rows + 1, B.shape[1] + 3), 7, dtype)
    init_row = init.strides[0] if init.ndim == 2 else 0
    panel_product(dtype)(
        rows, columns, depth, a, a_row, a_step, B, B.strides[0], init, init_row, out, out.strides[0]
    )  # fmt: skip
    assert (out[rows:] == 7).all(), "wrote below the result"
    assert (out[:, columns:] == 7).all(), "wrote beside the result"
    return out[:rows, :columns]


def operands(rows, width, depth, dtype, seed=0):
    rng = np.random.default_rng(seed)
    N = width * vectors(dtype).lanes
    return (rng.normal(size=shape).astype(dtype) for shape in ((rows, depth), (depth, N), (rows, N)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", range(1, panel_vectors() + 1))
@pytest.mark.parametrize("rows", [*range(1, TILE_ROWS + 1), 7, 13, 50])
def test_every_size_of_tile(rows, width, dtype):
    for depth in (0, 1, 2, 37):
        A, B, init = operands(rows, width, depth, dtype)
        for start in (init, init[0]):
            want = start.astype(float) + A.astype(float) @ B.astype(float)
            # each of depth products and sums rounds once, relative to the sum of absolute values
            bound = (depth + 2) * np.finfo(dtype).eps * (np.abs(start) + np.abs(A) @ np.abs(B))
            assert (np.abs(multiply(A, B, start) - want) <= bound).all()
        assert np.array_equal(multiply(A, B, init, transposed=True), multiply(A, B, init))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [1, 5, 13])
def test_a_result_may_end_within_a_vector(rows, dtype):
    """Not even NaN in the rest of B's last vector comes near it, nor what lies beside the result."""
    A, B, init = operands(rows, panel_vectors(), 9, dtype)
    for columns in range(1, B.shape[1] + 1):
        width = -(-columns // vectors(dtype).lanes) * vectors(dtype).lanes
        panel = B[:, :width].copy()
        want = multiply(A, panel, init[:, :width].copy())[:, :columns]
        panel[:, columns:] = np.nan
        assert np.array_equal(multiply(A, panel, init[:, :columns].copy(), columns=columns), want)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_sum_does_not_depend_on_its_neighbours(dtype):
    """Each row, alone or among others, gives the same bits: cuts into tiles change nothing."""
    A, B, init = operands(23, panel_vectors(), 61, dtype)
    together = multiply(A, B, init)
    for m in range(23):
        assert np.array_equal(multiply(A[m : m + 1], B, init[m : m + 1])[0], together[m])


@pytest.mark.parametrize("dtype", DTYPES)
def test_init_is_added_last(dtype):
    """What a sum starts from must not swallow its small terms one by one."""
    eps = float(np.finfo(dtype).eps)
    N = vectors(dtype).lanes
    A, B = np.full((1, 64), eps / 4, dtype), np.ones((64, N), dtype)
    assert multiply(A, B, np.ones(N, dtype))[0, 0] == 1 + 64 * eps / 4
    assert math.fsum([1.0] + [eps / 4] * 64) == 1 + 64 * eps / 4


@pytest.mark.parametrize("width", range(1, panel_vectors() + 1))
@pytest.mark.parametrize("rows", [1, 5, 13])
def test_products_of_pairs(rows, width):
    """Two numbers of bfloat16 to a word: half as many words as steps of k, and float32's rounding of exact products."""
    for words in (0, 1, 2, 37):
        A, B, init = operands(rows, width, 2 * words, "float32")
        A, B = (to_bfloat16(factor.astype(float)).value for factor in (A, B))
        want, size = init + A @ B, init.itemsize
        a, b = together(A[:, ::2], A[:, 1::2]), together(B[::2], B[1::2])
        out = np.empty_like(init)
        row = init.strides[0]
        panel_product("bfloat16")(
            rows, B.shape[1], words, a, words * size, size, b, row, init, row, out, out.strides[0]
        )  # fmt: skip
        bound = (2 * words + 2) * np.finfo("float32").eps * (np.abs(init) + np.abs(A) @ np.abs(B))
        assert (np.abs(out - want) <= bound).all()


@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_a_row_of_nan_stays_a_row(poison):
    A, B, init = operands(8, 2, 9, "float32")
    clean = multiply(A, B, init)
    A[3, 4] = poison
    dirty = multiply(A, B, init)
    assert not np.isfinite(dirty[3]).any()
    assert np.array_equal(np.delete(dirty, 3, 0), np.delete(clean, 3, 0))
