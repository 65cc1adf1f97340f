"""The matrix product of our own: its numbers, its order of sums, and when it runs."""

import itertools

import numpy as np
import pytest
from gpu.stand_in import installed

from lstmcore.ops.gpu.matmul import matmul
from lstmcore.ops.matmul import LARGE_ON_GPU, product

# One tile and many, ragged ends, one part of D and many: (M, D, N)
SHAPES = [(1, 1, 1), (5, 3, 2), (64, 16, 64), (65, 17, 130), (24, 300, 12), (1, 200, 70)]
EACH_WAY = tuple(itertools.product((False, True), repeat=2))  # whether a, and b, is a transposed view


def factors(shape, dtype, transposed=(False, False)):
    (M, D, N), rng = shape, np.random.default_rng(sum(shape))
    a, b = (rng.normal(size=size).astype(dtype) for size in ((M, D), (D, N)))
    return [np.asfortranarray(m) if turned else m for m, turned in zip((a, b), transposed)]


def assert_product(got, a, b):
    """A sum of D products, added one by one in some order, is off by at most D eps sum |a||b| (Higham 2002, section
    3.1: gamma_D, here with D (1 + D eps) <= D + 1)."""
    wide = (a.astype("clongdouble"), b.astype("clongdouble"))
    bound = (a.shape[1] + 1) * np.finfo(a.dtype).eps * (np.abs(wide[0]) @ np.abs(wide[1]))
    assert np.all(np.abs(got - wide[0] @ wide[1]) <= bound)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_number(emulator, shape, dtype):
    for transposed in EACH_WAY:
        a, b = factors(shape, dtype, transposed)
        assert_product(matmul(emulator(), a, b), a, b)


def test_the_order_of_threads_changes_no_bit(emulator):
    a, b = factors(SHAPES[4], "float32")
    first = matmul(emulator(seed=0), a, b)
    assert all(np.array_equal(matmul(emulator(seed=seed), a, b), first) for seed in range(1, 4))
    assert all(np.array_equal(matmul(emulator(), np.asfortranarray(a), b), first) for _ in range(2))


def test_a_long_sum_is_cut_into_parts(emulator):
    """Where there are few tiles: so that more than one multiprocessor has work."""
    machine = emulator(multiprocessors=4)
    matmul(machine, *factors((24, 300, 12), "float32"))
    assert machine.launches == ["matmul", "matmul_sum"]
    matmul(machine, *factors((130, 300, 130), "float32"))
    assert machine.launches[2:] == ["matmul"]


def test_what_is_not_finite_stays_in_its_row_and_column(emulator):
    a, b = factors((66, 20, 3), "float32")
    whole = matmul(emulator(), a, b)
    a[65, 7], b[1, 2] = np.nan, np.inf
    c = matmul(emulator(), a, b)
    assert np.isnan(c[65]).all()
    assert not np.isfinite(c[:, 2]).any()
    assert np.array_equal(c[:65, :2], whole[:65, :2])


def test_it_writes_where_it_is_told(emulator):
    for shape in SHAPES[3:5]:
        a, b = factors(shape, "float32")
        out = np.full((shape[0], shape[2]), np.nan, "float32")
        assert matmul(emulator(), a, b, out) is out
        assert np.array_equal(out, matmul(emulator(), a, b))


@pytest.mark.parametrize(
    ("shape", "dtype", "ours"),
    [((4, 3, 5), "float32", True), ((4, 3, 5), "float64", True), ((4, 3, 5), "complex128", False)],
)
def test_small_real_products_on_a_gpu_are_ours(emulator, shape, dtype, ours):
    from gpu.stand_in import machine

    with installed() as cupy:
        a, b = (cupy.asarray(m) for m in factors(shape, dtype))
        before = len(machine.launches)
        c = product(a, b)
        assert machine.launches[before:] == (["matmul"] if ours else [])
        assert_product(c.get(), a.get(), b.get())


def test_large_products_on_a_gpu_are_the_librarys(emulator):
    from gpu.stand_in import machine

    with installed() as cupy:
        a, b = cupy.ones((2, LARGE_ON_GPU // 4), dtype="float32"), cupy.ones((LARGE_ON_GPU // 4, 3), dtype="float32")
        before = len(machine.launches)
        assert float(product(a, b)[0, 0]) == LARGE_ON_GPU // 4
        assert len(machine.launches) == before


def test_on_the_host_nothing_changes():
    a, b = factors((30, 20, 10), "float32")
    assert np.array_equal(product(a, b), a @ b)
