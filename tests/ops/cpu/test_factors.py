"""Pairs of bfloat16 numbers: rounding, and the sum of two products, by the machine's instructions and without them."""

import functools

import numba
import numpy as np
import pytest
from gpu.bounded import to_bfloat16
from numba.extending import intrinsic
from pairs import halves, together

from lstmcore.ops.cpu import factors as factors_cpu
from lstmcore.ops.cpu.factors import factors
from lstmcore.ops.cpu.memory import address, vectors
from lstmcore.ops.cpu.target import multiplies_bfloat16

LANES = vectors("float32").lanes
WAYS = [False] + [True] * multiplies_bfloat16()  # whether by the instructions of AVX512_BF16
TINY = np.finfo("float32").tiny


@functools.cache
def compiled(native: bool):
    """fold, join (two vectors -> words) and multiply_add (words, words, sums -> sums), of arrays of one vector."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(factors_cpu, "multiplies_bfloat16", lambda: native)
        f = factors.__wrapped__("bfloat16")
    load, store = vectors("float32").load, vectors("float32").store

    @intrinsic
    def fold(typing, a, b):
        return a(a, b), lambda context, builder, signature, operands: f.fold(builder, operands)

    @intrinsic
    def join(typing, a, b):
        return a(a, b), lambda context, builder, signature, operands: f.join(builder, operands)

    @intrinsic
    def multiply_add(typing, a, b, total):
        return a(a, b, total), lambda context, builder, signature, operands: f.multiply_add(builder, *operands)

    @numba.njit
    def both(a, b, folded, joined):
        store(address(folded), fold(load(address(a)), load(address(b))))
        store(address(joined), join(load(address(a)), load(address(b))))

    @numba.njit
    def sums(a, b, total):
        store(address(total), multiply_add(load(address(a)), load(address(b)), load(address(total))))

    return both, sums


def rounded(native: bool, values: np.ndarray) -> np.ndarray:
    """Many numbers, through both ways of making words of them."""
    padded = np.zeros(-(-len(values) // (2 * LANES)) * 2 * LANES, np.float32)
    padded[: len(values)] = values
    results = np.empty_like(padded)
    for here, out in zip(padded.reshape(-1, 2, LANES), results.reshape(-1, 2 * LANES)):
        folded, joined = np.empty((2, LANES), np.float32)
        compiled(native)[0](here[0].copy(), here[1].copy(), folded, joined)
        out[...] = np.stack(halves(folded), axis=-1).ravel()
        assert np.array_equal(np.concatenate(halves(joined)), out, equal_nan=True)
    return results[: len(values)]


@pytest.mark.parametrize("native", WAYS)
def test_numbers_are_rounded_to_the_nearest_and_halves_to_even(native):
    bits = np.random.default_rng(0).integers(0, 2**32, 20_000, dtype=np.uint32)
    odd, even = np.uint32(0x3F81_8000), np.uint32(0x3F80_8000)  # halves: between two, the lower of which is odd, even
    bits[:6] = odd, even, odd + 1, odd - 1, even + 1, even - 1
    values = bits.view(np.float32)
    values = values[np.isfinite(values) & (np.abs(values) >= TINY)]
    with np.errstate(over="ignore"):
        want = to_bfloat16(values.astype(float)).value.astype(np.float32)  # the largest ones become infinite
    got = rounded(native, values)
    assert np.array_equal(got, want)
    assert got[0] == np.float32(1.015625)
    assert got[1] == 1
    finite = np.isfinite(want)
    assert np.max(np.abs(got[finite] / values[finite].astype(float) - 1)) <= 2**-8


@pytest.mark.parametrize("native", WAYS)
def test_what_is_not_finite_stays(native):
    """A NaN too that is one by its lowest bits alone, or whose bits are all set."""
    nans = np.array([0x7F80_0001, 0xFF80_0001, 0x7FFF_FFFF, 0xFFFF_FFFF, 0x7FC0_0000], np.uint32).view(np.float32)
    values = np.concatenate((nans, np.array([np.inf, -np.inf, 0.0, -0.0], np.float32)))
    got = rounded(native, values)
    assert np.array_equal(got, values, equal_nan=True)
    assert np.array_equal(np.signbit(got[len(nans) :]), np.signbit(values[len(nans) :]))


@pytest.mark.parametrize("native", WAYS)
def test_numbers_below_the_smallest_normal_one(native):
    """By the instructions of AVX512_BF16 they count as zero, factors and sums."""
    bits = np.random.default_rng(0).integers(0, 2**23, 1000, dtype=np.uint32)
    values = bits.view(np.float32)
    want = np.zeros_like(values) if native else to_bfloat16_of_fixed_point(values)
    assert np.array_equal(rounded(native, values), want)
    a, total = np.full(LANES, 2.0**-100, np.float32), np.zeros(LANES, np.float32)
    words = together(a, np.zeros_like(a))
    compiled(native)[1](words, together(np.full(LANES, 2.0**-30), a), total)
    assert (total == (0 if native else np.float32(2.0**-130))).all()


def to_bfloat16_of_fixed_point(values: np.ndarray) -> np.ndarray:
    """Subnormal numbers all have the same last bit, 2^-133 of bfloat16."""
    return np.ldexp(np.rint(np.ldexp(values.astype(float), 133)), -133).astype(np.float32)


@pytest.mark.parametrize("native", WAYS)
def test_two_products_are_added_to_a_sum(native):
    """The one of the upper halves first. Each sum is rounded once: in float64 products of 8 bits are exact."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        pairs = to_bfloat16(rng.normal(size=(4, LANES))).value
        start = rng.normal(size=LANES).astype(np.float32)
        total = start.copy()
        compiled(native)[1](together(*pairs[:2]), together(*pairs[2:]), total)
        upper = (start + pairs[1] * pairs[3]).astype(np.float32)
        want = (upper + pairs[0] * pairs[2]).astype(np.float32)
        assert np.array_equal(total, want)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("native", WAYS)
def test_a_product_that_is_not_finite_stays_in_its_lane(native, value):
    a, b = to_bfloat16(np.random.default_rng(0).normal(size=(2, LANES))).value
    a[3] = value
    total = np.zeros(LANES, np.float32)
    compiled(native)[1](together(b, a), together(b, b), total)
    assert np.isfinite(total).sum() == LANES - 1
    assert not np.isfinite(total[3])
