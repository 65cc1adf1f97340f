"""Arrays of numbers that know how far rounding may take them, as tests/rounding.py has it for single numbers.

A `Bounded` array holds values in float64 and, for each, a bound on how far a float32 computation of it may be off that
takes sums in any order. Write u = 2^-24. A result is rounded once, by at most u of what it may be; before that

    a + b       the two errors add up
    a b         |a| e_b + |b| e_a + e_a e_b
    f(a)        e_a times the largest slope of f (1/4 for the sigmoid, 1 for tanh), and FUNCTION_ULPS u for f itself

    sum of n    each factor may first lose v of itself: v = 2^-11 where factors are rounded to 11 bits, else 0. Then
    products    every product is rounded, and every sum of them; tensor cores cut off instead, which costs twice as
                much: (2 v + v^2 + 2 n u) sum |a b|, Higham's n u (Accuracy and Stability, 2nd ed., eq. 3.4) doubled
"""

import numpy as np
from rounding import FUNCTION_ULPS, UNIT_ROUNDOFF

U = UNIT_ROUNDOFF["float32"]
LARGEST = 1e30  # a sum of numbers like this does not overflow on its way


class Bounded:
    """`value`, float64, and the bound on its `error`, of the same shape."""

    __array_ufunc__ = None  # NumPy leaves `array * bounded` to the methods below

    def __init__(self, value: np.ndarray, error: np.ndarray | float = 0.0):
        self.value, self.error = value, np.broadcast_to(error, np.shape(value))

    def __neg__(self):
        return Bounded(-self.value, self.error)

    def __add__(self, other):
        other = bounded(other)
        return _rounded(self.value + other.value, self.error + other.error)

    def __sub__(self, other):
        return self + -bounded(other)

    def __mul__(self, other):
        other = bounded(other)
        error = np.abs(self.value) * other.error + np.abs(other.value) * self.error + self.error * other.error
        return _rounded(self.value * other.value, error)

    __radd__ = __add__
    __rmul__ = __mul__

    def __rsub__(self, other):
        return bounded(other) - self


def bounded(value) -> Bounded:
    """A number or an array that is exact; a Bounded as it is."""
    return value if isinstance(value, Bounded) else Bounded(value)


def _rounded(value: np.ndarray, error: np.ndarray) -> Bounded:
    return Bounded(value, error + U * (np.abs(value) + error))


def product(a, b, v: float) -> Bounded:
    """The matrix product of factors, each of which may lose `v` of itself first."""
    a, b = bounded(a), bounded(b)
    largest_a, largest_b = np.abs(a.value) + a.error, np.abs(b.value) + b.error
    inherited = a.error @ largest_b + np.abs(a.value) @ b.error
    lost = 2 * v + v * v + 2 * a.value.shape[-1] * U
    return Bounded(a.value @ b.value, inherited + lost * (largest_a @ largest_b))


def to_bfloat16(a) -> Bounded:
    """Rounded to 8 bits: to the nearest, halves to even. Where the exact number may lie on either side of a half, the
    error says so."""
    a = bounded(a)
    value = _nearest(a.value)
    return Bounded(value, np.maximum(_nearest(a.value + a.error) - value, value - _nearest(a.value - a.error)))


def _nearest(a: np.ndarray) -> np.ndarray:
    mantissa, exponent = np.frexp(a)  # 0.5 <= |mantissa| < 1
    return np.ldexp(np.rint(mantissa * 256), exponent - 8)  # rint: halves to even


def sigmoid(a: Bounded) -> Bounded:
    value = 1 / (1 + np.exp(-a.value))
    return Bounded(value, a.error / 4 + FUNCTION_ULPS * U * value)


def tanh(a: Bounded) -> Bounded:
    value = np.tanh(a.value)
    return Bounded(value, a.error + FUNCTION_ULPS * U * np.abs(value))


def where(condition: np.ndarray, a, b) -> Bounded:
    a, b = bounded(a), bounded(b)
    return Bounded(np.where(condition, a.value, b.value), np.where(condition, a.error, b.error))


def assert_inside(name: str, got: np.ndarray, want: Bounded, wild: bool = False) -> None:
    """No number is further off than its bound, and none is NaN.

    wild: nothing is said of numbers whose value or bound is NaN or above LARGEST.
    """
    assert got.shape == want.value.shape, (name, got.shape)
    excess = np.abs(got - want.value) - want.error
    if wild:
        excess = excess[(np.abs(want.value) <= LARGEST) & (want.error <= LARGEST)]
    worst = np.max(excess, initial=-np.inf)
    assert worst <= 0, f"{name}: off by {worst:.3g} more than rounding explains"
