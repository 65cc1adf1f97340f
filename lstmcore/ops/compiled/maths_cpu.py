"""exp, tanh and sigmoid over vectors, for the compiled step: plain arithmetic, no table, no library.

Everything stands on one reduction. With n the whole number nearest to x / ln 2 and r = x - n ln 2,

    e^x = 2^n e^r,    |r| <= ln 2 / 2,    e^r - 1 = r + r^2/2! + r^3/3! + ...

and the series ends where the next term is below a tenth of the last bit. ln 2 is subtracted in two parts, the first of
which has so few digits that n times it is exact. Every comparison is written so that NaN fails it and passes through.
docs/cpu.md tabulates the errors, measured over the whole range.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from lstmcore.ops.cells import Maths
from lstmcore.ops.compiled.jitable_cpu import jitable
from lstmcore.ops.compiled.vector_cpu import (
    absolute,
    multiply_add,
    power_of_two,
    rounder,
    vectors,
    where_less,
    with_sign,
)


class _Precision(NamedTuple):
    """What the two dtypes need."""

    terms: int  # of the series
    digits: int  # binary digits of ln 2 in its first part
    guard: int  # 2^(n + guard) is a normal number for every n down to that of `lowest`
    lowest: float  # below it e^x rounds to zero
    highest: float  # above it e^x is infinite
    certain: float  # above it tanh rounds to 1


_PRECISION = {
    "float32": _Precision(7, 15, 24, -104.0, 89.0, 10.0),
    "float64": _Precision(13, 32, 54, -746.0, 710.0, 20.0),
}
_LN2, _LN2_REST = math.log(2), 2.3190468138462996e-17  # ln 2 as a float64, and what that leaves out


@functools.cache
def vector_maths(dtype: str) -> Maths:
    """`sigmoid`, `tanh` and the constant one of "float32" or "float64", over the vectors of this machine."""
    _, tanh, sigmoid = elementary(dtype)
    return Maths(sigmoid, tanh, np.dtype(dtype).type(1))


@functools.cache
def elementary(dtype: str) -> tuple[Callable, Callable, Callable]:
    """The triple exp, tanh, sigmoid of "float32" or "float64", over vectors."""
    scalar = np.dtype(dtype).type
    constant = vectors(dtype).constant
    precision = _PRECISION[dtype]
    head = math.ldexp(math.floor(math.ldexp(_LN2, precision.digits)), -precision.digits)
    minus_head, minus_tail = scalar(-head), scalar(-(_LN2 - head + _LN2_REST))
    inverse, rounding = scalar(1 / _LN2), scalar(rounder(dtype))
    lowest, highest, certain = scalar(precision.lowest), scalar(precision.highest), scalar(precision.certain)
    guard, unguard = precision.guard, scalar(2.0**-precision.guard)
    zero, half, one, two = (scalar(v) for v in (0, 0.5, 1, 2))
    series = _polynomial([scalar(1 / math.factorial(k)) for k in range(precision.terms, 1, -1)], constant, dtype)

    @jitable(dtype)
    def reduce(x):
        """x -> n + rounder, and e^r - 1."""
        rounded = multiply_add(x, constant(inverse), constant(rounding))
        n = rounded - rounding
        r = multiply_add(n, constant(minus_tail), multiply_add(n, constant(minus_head), x))
        return rounded, multiply_add(series(r), r * r, r)

    @jitable(dtype)
    def exp(x):
        x = where_less(x, constant(lowest), constant(lowest), x)
        x = where_less(constant(highest), x, constant(highest), x)
        rounded, p = reduce(x)
        m = (rounded - rounding) * half + rounding  # 2^n in two factors: both are normal numbers where 2^n is none
        return (p + one) * power_of_two(m, 0) * power_of_two(rounded - m + rounding, 0)

    @jitable(dtype)
    def falling_exp(x):
        """e^-|x|, which needs less care."""
        x = with_sign(x, constant(minus_head))
        x = where_less(x, constant(lowest), constant(lowest), x)
        rounded, p = reduce(x)
        scale = power_of_two(rounded, guard)
        return multiply_add(scale, p, scale) * unguard

    @jitable(dtype)
    def tanh(x):
        """d / (d + 2) with d = e^(2|x|) - 1: no difference of nearly equal numbers, and never above 1."""
        y = absolute(x)
        y = where_less(constant(certain), y, constant(certain), y)
        rounded, p = reduce(y * two)
        scale = power_of_two(rounded, 0)
        d = multiply_add(scale, p, scale - one)
        return with_sign(d / (d + two), x)

    @jitable(dtype)
    def sigmoid(x):
        """1 / (1 + e) for x >= 0, else e / (1 + e), with e = e^-|x|: keeps the small values of very negative x."""
        e = falling_exp(x)
        return where_less(x, constant(zero), e, constant(one)) / (e + one)

    return exp, tanh, sigmoid


def _polynomial(coefficients: list, constant: Callable, dtype: str) -> Callable:
    """r -> the polynomial with these coefficients, highest power first, by Horner's rule; a function for each step."""

    def step(higher, place):
        coefficient = coefficients[place]

        @jitable(dtype, place)
        def polynomial(r):
            return multiply_add(higher(r), r, constant(coefficient))

        return polynomial

    first, second = coefficients[:2]

    @jitable(dtype)
    def line(r):
        return multiply_add(constant(first), r, constant(second))

    return functools.reduce(step, range(2, len(coefficients)), line)
