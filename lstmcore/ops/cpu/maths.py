"""exp, tanh and sigmoid over vectors, for the compiled step: plain arithmetic, no table, no library.

Everything stands on one reduction. With n the whole number nearest to k x / ln 2 and r = x - n ln 2 / k,

    e^(k x) = 2^n (1 + k q),    q = (e^(k r) - 1) / k = r + k r^2/2! + k^2 r^3/3! + ...,    |k r| <= ln 2 / 2

for k = 1 (exp), -1 (sigmoid) and 2 (tanh). What stands behind r in the series is replaced by its Chebyshev expansion,
which needs a term less and ends where the next one is below a fifth of the last bit. Every comparison is written so
that NaN fails it and passes through. docs/cpu.md tabulates the errors, measured over the whole range.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba.extending import intrinsic

from lstmcore.ops.cells import Maths
from lstmcore.ops.cpu.jitable import jitable, pick
from lstmcore.ops.cpu.memory import vectors
from lstmcore.ops.cpu.vector import (
    Vector,
    absolute,
    fuse,
    llvm_type,
    multiply_add,
    power_of_two,
    rounder,
    where_less,
    with_sign,
)


class _Precision(NamedTuple):
    """What the two dtypes need."""

    terms: int  # of the series behind r
    digits: int  # binary digits of ln 2 in its first part
    guard: int  # 2^(n + guard) is a normal number for every n down to that of `lowest`
    lowest: float  # below it e^x rounds to zero
    highest: float  # above it e^x is infinite
    certain: float  # above it tanh and sigmoid round to 1


_PRECISION = {
    "float32": _Precision(5, 15, 24, -104.0, 89.0, 18.0),
    "float64": _Precision(10, 32, 54, -746.0, 710.0, 40.0),
}
_LN2, _LN2_REST = math.log(2), 2.3190468138462996e-17  # ln 2 as a float64, and what that leaves out


@functools.cache
def vector_maths(dtype: str) -> Maths:
    """What a step computes with, in "float32" or "float64", over the vectors of this machine."""
    _, tanh, sigmoid = elementary(dtype)
    number = np.dtype(dtype).type
    return Maths(sigmoid, tanh, number(1), where_less, number, jitable, pick)


@functools.cache
def elementary(dtype: str) -> tuple[Callable, Callable, Callable]:
    """The triple exp, tanh, sigmoid of "float32" or "float64", over vectors."""
    scalar = np.dtype(dtype).type
    constant = vectors(dtype).constant
    precision = _PRECISION[dtype]
    rounding = scalar(rounder(dtype))
    lowest, highest, certain = scalar(precision.lowest), scalar(precision.highest), scalar(precision.certain)
    lowered, small = -precision.guard, scalar(2.0**-precision.guard)
    half, one = scalar(0.5), scalar(1)

    def reduction(k, parts):
        """x -> n + rounder, and q. ln 2 / k is subtracted in one part or two: with two, n times the first is exact."""
        head = math.ldexp(math.floor(math.ldexp(_LN2, precision.digits)), -precision.digits) if parts == 2 else _LN2
        minus_head, minus_tail = scalar(-head / k), scalar(-(_LN2 - head + _LN2_REST) / k)
        inverse = scalar(k / _LN2)
        series = _polynomial([scalar(c) for c in _behind_r(k, precision.terms)], vectors(dtype).type)

        @jitable
        def reduce(x):
            rounded = multiply_add(x, constant(inverse), constant(rounding))
            n = rounded - rounding
            r = multiply_add(n, constant(minus_head), x)
            if parts == 2:
                r = multiply_add(n, constant(minus_tail), r)
            return rounded, multiply_add(series(r), r * r, r)

        return reduce

    reduce_exp, reduce_falling, reduce_twice = reduction(1, 2), reduction(-1, 2), reduction(2, 1)

    @jitable
    def exp(x):
        x = where_less(x, constant(lowest), constant(lowest), x)
        x = where_less(constant(highest), x, constant(highest), x)
        rounded, q = reduce_exp(x)
        m = (rounded - rounding) * half + rounding  # 2^n in two factors: both are normal numbers where 2^n is none
        return (q + one) * power_of_two(m, 0) * power_of_two(rounded - m + rounding, 0)

    @jitable
    def tanh(x):
        """d / (d + 1) with d = (e^(2|x|) - 1) / 2: no difference of nearly equal numbers, and never above 1.

        One part of ln 2 will do: where n is large, the error of d hardly shows.
        """
        y = absolute(x)
        y = where_less(constant(certain), y, constant(certain), y)
        rounded, q = reduce_twice(y)
        scale = power_of_two(rounded, 0)
        d = multiply_add(scale, q, multiply_add(scale, constant(half), constant(-half)))
        return with_sign(d / (d + one), x)

    @jitable
    def sigmoid(x):
        """1 / (1 + e^-x), all times 2^-guard, so that it keeps the small values of very negative x."""
        x = where_less(x, constant(lowest), constant(lowest), x)
        x = where_less(constant(certain), x, constant(certain), x)
        rounded, q = reduce_falling(x)
        scale = power_of_two(rounded, lowered)
        return constant(small) / (multiply_add(-scale, q, scale) + small)

    return exp, tanh, sigmoid


@functools.cache
def log_of_one_and(dtype: str) -> Callable:
    """x -> log(1 + e^-x) of x >= 0, over vectors, with full relative accuracy however small it is.

    With s = e / (2 + e), e = e^-x <= 1, it is 2 artanh(s) = 2 s (1 + s^2/3 + s^4/5 + ...), and s <= 1/3: the series
    ends where a power of 1/9 is below the last bit.
    """
    scalar = np.dtype(dtype).type
    exp, _, _ = elementary(dtype)
    terms = next(k for k in range(40) if 9.0**-k / (2 * k + 1) < np.finfo(dtype).eps / 8)
    series = _polynomial([scalar(1 / (2 * k + 1)) for k in range(terms)][::-1], vectors(dtype).type)
    two = scalar(2)

    @jitable
    def log_of_one_and_exp(x):
        e = exp(-x)
        s = e / (e + two)
        return series(s * s) * s * two

    return log_of_one_and_exp


def _behind_r(k: float, terms: int) -> list[float]:
    """The polynomial of `terms` terms nearest to k/2! + k^2 r/3! + k^3 r^2/4! + ..., highest power first."""
    radius = _LN2 / 2 / abs(k)
    exact = [k ** (j + 1) * radius**j / math.factorial(j + 2) for j in range(terms + 12)]  # in r / radius
    nearest = np.polynomial.chebyshev.cheb2poly(np.polynomial.chebyshev.poly2cheb(exact)[:terms])
    return [float(c) / radius**j for j, c in enumerate(nearest)][::-1]


def _polynomial(coefficients: list, type_: Vector) -> Callable:
    """r -> the polynomial with these coefficients, highest power first, by Horner's rule."""
    numbers = [float(c) for c in coefficients]

    @intrinsic
    def polynomial(typing, r):
        def generate(context, builder, signature, operands):
            wide = llvm_type(type_)
            higher, *rest = [ir.Constant(wide, [c] * wide.count) for c in numbers]
            for constant in rest:
                higher = fuse(builder, higher, operands[0], constant)
            return higher

        return type_(type_), generate

    return polynomial
