"""Real: a number that knows how far any order of evaluation may stray from it.

This is where the tolerances of the suites come from. Write u for the unit roundoff of a dtype (2^-53 in float64, 2^-24
in float32). One rounded operation gives the exact result times (1 + d), |d| <= u. A `Real` carries, beside its value,
a bound on the error of a computation that takes the same sums and products in *any* order, to first order in u and in
units of u. So one bound serves every engine, every BLAS and every batch size. The rules:

sum of n terms   In any order, with or without fused multiply-add, the rounding error is at most (n - 1) u sum |terms|
                 (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., eq. 4.4), and the errors of the terms
                 add. A sum of sums counts as one long sum, since nobody promises where the brackets stand.
product          |a b| u of its own, plus |a| times the error of b, plus |b| times the error of a.
function         |f'| times the error of the argument, plus FUNCTION_ULPS u |f| for the library function itself.
slope            Backward passes form the slope from the *rounded* value v: v (1 - v) for the sigmoid, 1 - v^2 for tanh.
                 With |v| <= 1: |d/dv v (1 - v)| <= 1 and |d/dv (1 - v^2)| <= 2, and three roundings of numbers that
                 are at most 1. So the slope's error is at most (1 or 2) times the error of v, plus 3 u.

Masks select and therefore round nothing. Terms that are zero add exactly, so only real terms are counted.
others           Softplus, e^a - 1 and their like may be formed in ways that cancel near zero, and their slopes from the
                 argument or the value: FUNCTIONS has a line for each, with the larger error.
branch           relu, clips and hard sigmoids are asked where the argument lies (`above`). An argument that rounding in
                 float32 could carry across is refused: Undecided.

What is dropped is of order u times the bound itself; SECOND_ORDER makes up for it where the bound is small against 1.
"""

import math
from collections.abc import Callable

UNIT_ROUNDOFF = {"float32": 2.0**-24, "float64": 2.0**-53}
FUNCTION_ULPS = 8.0  # sigmoid is exp (1 ulp), an addition and a division: 4 roundings; compiled engines get twice that
SECOND_ORDER = 1.01


class Undecided(ValueError):
    """An argument so near to a kink that rounding decides on which side it lies."""


class Real:
    """A float, seen as a sum of `terms` terms of total size `magnitude`, which bring errors of `inherited` u."""

    __slots__ = ("inherited", "magnitude", "terms", "value")

    def __init__(self, value: float, inherited: float = 0.0, terms: int = 1, magnitude: float | None = None):
        self.value = value
        self.inherited = inherited
        self.terms = terms
        self.magnitude = abs(value) if magnitude is None else magnitude

    @classmethod
    def of(cls, value: float, inexact: bool = False) -> "Real":
        """A given number; inexact: one that a dtype may round."""
        return cls(value, abs(value) if inexact else 0.0)

    @property
    def error(self) -> float:
        """The bound, in units of u."""
        return self.inherited + (self.terms - 1) * self.magnitude

    def __add__(self, other: "Real") -> "Real":
        if other.value == 0.0 and other.error == 0.0:
            return self
        if self.value == 0.0 and self.error == 0.0:
            return other
        inherited = self.inherited + other.inherited
        return Real(self.value + other.value, inherited, self.terms + other.terms, self.magnitude + other.magnitude)

    def __mul__(self, other: "Real") -> "Real":
        value = self.value * other.value
        return Real(value, abs(value) + abs(self.value) * other.error + abs(other.value) * self.error)

    def __neg__(self) -> "Real":
        return Real(-self.value, self.inherited, self.terms, self.magnitude)

    def through(self, function: Callable[[float], float], slope: float) -> "Real":
        """function(self), where `slope` is the function's derivative here."""
        value = function(self.value)
        return Real(value, abs(slope) * self.error + FUNCTION_ULPS * abs(value))

    def function(self, name: str) -> tuple["Real", "Real"]:
        """A function of FUNCTIONS, and its slope here."""
        return FUNCTIONS[name](self)

    def above(self, threshold: float) -> bool:
        """value > threshold, on every engine in float32 and better. Raises Undecided."""
        if abs(self.value - threshold) <= self.error * UNIT_ROUNDOFF["float32"]:
            raise Undecided(f"{self.value} is too near to {threshold}")
        return self.value > threshold


ONE = Real(1.0)


def sigmoid(a: Real) -> tuple[Real, Real]:
    """The logistic function and its slope, without overflow and without cancellation at either end."""
    e = math.exp(-abs(a.value))
    slope = e / (1.0 + e) ** 2
    value = a.through(lambda v: 1.0 / (1.0 + e) if v >= 0.0 else e / (1.0 + e), slope)
    return value, Real(slope, value.error + 3.0)


def tanh(a: Real) -> tuple[Real, Real]:
    """tanh and its slope 1 / cosh^2."""
    e = math.exp(-2.0 * abs(a.value))
    slope = 4.0 * e / (1.0 + e) ** 2
    value = a.through(math.tanh, slope)
    return value, Real(slope, 2.0 * value.error + 3.0)


def _other(f: Callable, slope: Callable, lipschitz: float) -> Callable[[Real], tuple[Real, Real]]:
    """f with an absolute error of FUNCTION_ULPS u where it is small; a slope that changes by at most `lipschitz` times
    the change of the argument or of the value."""

    def both(a: Real) -> tuple[Real, Real]:
        s = slope(a.value)
        value = a.through(f, s)
        value.inherited += FUNCTION_ULPS * max(1.0 - abs(value.value), 0.0)
        return value, Real(s, lipschitz * max(value.error, a.error) + 4.0 * max(1.0, abs(s)))

    return both


def inverse_root(a: Real) -> tuple[Real, Real]:
    """1 / sqrt(a), a > 0, and its slope -1 / (2 a sqrt(a)), formed from the rounded value."""
    r = a.value**-0.5
    slope = -(r**3) / 2.0
    value = Real(r, abs(slope) * a.error + FUNCTION_ULPS * r)
    return value, Real(slope, 1.5 * r * r * value.error + 4.0 * abs(slope))


FUNCTIONS = {
    "sigmoid": sigmoid,
    "tanh": tanh,
    "expm1": _other(math.expm1, math.exp, 1.0),  # for a < 0
    "softplus": _other(lambda a: max(a, 0.0) + math.log1p(math.exp(-abs(a))), lambda a: 1 / (1 + math.exp(-a)), 1.0),
    "softsign": _other(lambda a: a / (1.0 + abs(a)), lambda a: (1.0 + abs(a)) ** -2, 2.0),
    "inverse_root": inverse_root,
}
