"""exp, tanh and sigmoid of the compiled code: error in units in the last place, limits, NaN, tails.

The bound of 3 counts roundings. e^x: the series 0.5 and its end 0.2, the sum with 1 and both scalings 0.5 at most:
below 1.7. sigmoid: e = s - s q has 0.5 from q's own rounding (1 in the worst place of a binade) and 0.5 from the
difference, the sum 1 + e and the quotient 0.5 each: 2.5. tanh: the same of d = s q + (s - 1) / 2, d + 1 and the
quotient. The series before it is rounded adds a few tenths. A wrong coefficient shows as thousands.
"""

import functools
from decimal import Decimal, localcontext

import numba
import numpy as np
import pytest

from lstmcore.ops.cpu.maths import elementary
from lstmcore.ops.cpu.memory import vectors

NAMES = ("exp", "tanh", "sigmoid")
DTYPES = ("float32", "float64")


@functools.cache
def over_arrays(name: str, dtype: str):
    """The vector function as one over arrays of any length."""
    function = elementary(dtype)[NAMES.index(name)]
    v = vectors(dtype)
    load, store, lanes, size = v.load, v.store, v.lanes, v.size

    @numba.njit(error_model="numpy")
    def run(x, out):
        for i in range(0, x.size, lanes):
            store(out.ctypes.data + i * size, function(load(x.ctypes.data + i * size)))

    def call(x):
        x = np.asarray(x, dtype)
        padded = np.zeros(-(-x.size // lanes) * lanes, dtype)
        padded[: x.size] = x
        out = np.empty_like(padded)
        run(padded, out)
        return out[: x.size]

    return call


def precise(name: str, x: np.ndarray) -> np.ndarray:
    """The function in float64, exact for a float32 result."""
    if name == "exp":
        return np.exp(x)
    if name == "tanh":
        return np.tanh(x)
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + e), e / (1 + e))


@pytest.mark.parametrize("name", NAMES)
def test_float32_over_the_whole_range(name):
    """Every 251st of all 2^32 numbers, subnormal ones, infinities and NaN among them."""
    x = np.arange(0, 2**32, 251, dtype=np.uint64).astype(np.uint32).view(np.float32)
    with np.errstate(invalid="ignore", over="ignore", under="ignore"):
        got, want = over_arrays(name, "float32")(x), precise(name, x.astype(np.float64))
        rounded = want.astype(np.float32)
    assert np.array_equal(np.isnan(got), np.isnan(x))
    finite = np.isfinite(rounded)
    assert finite.sum() > 8_000_000
    error = np.abs(got[finite] - want[finite]) / np.spacing(np.abs(rounded[finite])).astype(np.float64)
    assert error.max() <= 3, x[finite][error.argmax()]
    assert np.array_equal(got[np.isinf(rounded)], rounded[np.isinf(rounded)])


@pytest.mark.parametrize("name", NAMES)
def test_float64_against_forty_digits(name):
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.uniform(-745, 709, 4000), rng.normal(size=8000), 10 ** rng.uniform(-300, 1, 2000)])
    got = over_arrays(name, "float64")(x)
    worst = 0.0
    with localcontext() as context:
        context.prec = 60  # 1 - e^-2x for x = 1e-20 loses twenty of them
        for value, result in zip(x.tolist(), got.tolist()):
            exact = decimal_value(name, Decimal(value))
            if exact != 0:
                worst = max(worst, float(abs(Decimal(result) - exact) / Decimal(np.spacing(abs(float(exact))))))
    assert worst <= 3


def decimal_value(name: str, x: Decimal) -> Decimal:
    if name == "exp":
        return x.exp()
    if name == "sigmoid":
        return 1 / (1 + (-x).exp())
    if abs(x) < Decimal("1e-10"):
        return x - x**3 / 3  # the next term is below 1e-40 of it
    e = (2 * x).exp()
    return (e - 1) / (e + 1)


@pytest.mark.parametrize("dtype", DTYPES)
def test_limits(dtype):
    special = [np.inf, -np.inf, 0.0, -0.0]
    assert over_arrays("exp", dtype)(special).tolist() == [np.inf, 0, 1, 1]
    assert over_arrays("tanh", dtype)(special).tolist() == [1, -1, 0, 0]
    assert np.signbit(over_arrays("tanh", dtype)([-0.0]))[0]
    assert over_arrays("sigmoid", dtype)(special).tolist() == [1, 0, 0.5, 0.5]
    for name in NAMES:
        assert np.isnan(over_arrays(name, dtype)([np.nan, -np.nan])).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_closed_gate_keeps_its_small_value(dtype):
    """sigmoid(x) is e^x where x is very negative, down to the smallest number there is."""
    smallest = np.finfo(dtype).smallest_subnormal
    x = np.array([-30, np.log(smallest) + 1], dtype)
    got = over_arrays("sigmoid", dtype)(x)
    assert (got > 0).all()
    want = np.exp(-30.0) / (1 + np.exp(-30.0))
    assert abs(float(got[0]) / want - 1) <= 4 * np.finfo(dtype).eps


@pytest.mark.parametrize("dtype", DTYPES)
def test_tanh_is_odd_and_never_above_one(dtype):
    """1 - tanh^2 must not be negative, or a gradient would change its sign."""
    x = np.linspace(0, 30, 100_000, dtype=dtype)
    tanh = over_arrays("tanh", dtype)
    assert np.abs(tanh(x)).max() == 1
    assert np.array_equal(tanh(-x), -tanh(x))
