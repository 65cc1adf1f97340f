"""The product beside the recurrence: right for any shape and layout, and the same on any number of threads."""

import numba
import numpy as np
import pytest

from lstmcore.ops.cpu.matmul import DEPTH
from lstmcore.ops.cpu.matmul import matmul as compiled
from lstmcore.ops.matmul import LARGE, matmul

SHAPES = [(1, 1, 1), (7, 300, 65), (97, 513, 130), (100, 1, 3), (5, 20_000, 21), (3_000, 24, 4)]


def factors(M, D, N, dtype):
    rng = np.random.default_rng(M + D + N)
    return rng.standard_normal((M, D)).astype(dtype), rng.standard_normal((D, N)).astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("M", "D", "N"), SHAPES)
def test_every_layout_is_right(M, D, N, dtype):
    """A sum of D products in blocks of 256 rounds at most min(D, 256) + D / 256 + 1 times on the way of any term."""
    a, b = factors(M, D, N, dtype)
    exact = a.astype(np.longdouble) @ b.astype(np.longdouble)
    roundings = min(D, DEPTH) + -(-D // DEPTH) + 1
    bound = roundings * np.finfo(dtype).eps / 2 * (np.abs(a).astype(np.longdouble) @ np.abs(b)) * 1.01
    wide = np.zeros((M, 2 * D), dtype)
    wide[:, ::2] = a
    read_only = [a.copy(), b.copy()]  # as the outputs of layers are
    for array in read_only:
        array.flags.writeable = False
    for left in (a, np.asfortranarray(a), wide[:, ::2], a[::-1][::-1], read_only[0]):
        for right in (b, np.asfortranarray(b), read_only[1]):
            result = compiled(left, right)
            assert result.dtype == dtype
            assert (np.abs(result - exact) <= bound).all()


@pytest.mark.parametrize(("M", "D", "N"), [(97, 513, 130), (1_000, 24, 21)])
def test_threads_change_no_bit(M, D, N):
    a, b = factors(M, D, N, "float32")
    before = numba.get_num_threads()
    try:
        results = []
        for threads in range(1, before + 1):
            numba.set_num_threads(threads)
            results.append(compiled(a, b))
    finally:
        numba.set_num_threads(before)
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


def test_small_complex_and_odd_products_are_numpys_own():
    a, b = factors(8, 8, 8, "float64")
    np.testing.assert_array_equal(matmul(a, b), a @ b)
    M = int((LARGE / 8) ** 0.5) + 1
    a, b = factors(M, 8, M, "float64")
    np.testing.assert_array_equal(matmul(a * 1j, b * 1j), (a * 1j) @ (b * 1j))
    odd = np.repeat(b, 2, axis=1)[:, ::2]
    assert not odd.flags.c_contiguous
    np.testing.assert_array_equal(matmul(a, odd), a @ odd)
    swapped = a.astype(a.dtype.newbyteorder("S"))
    np.testing.assert_array_equal(matmul(swapped, b), swapped @ b)
    np.testing.assert_array_equal(matmul(a, b), compiled(a, b))
