"""Two more kinds of numbers for the scalar oracle, beside Real (rounding.py): exact, and rounded at random."""

from collections.abc import Callable
from decimal import Context, Decimal, localcontext

import numpy as np
from rounding import Undecided

DIGITS = Context(prec=40)


class Exact:
    """A number of 40 decimal digits."""

    __slots__ = ("value",)

    def __init__(self, value: Decimal):
        self.value = value

    @classmethod
    def of(cls, value: float, inexact: bool = False) -> "Exact":
        return cls(Decimal(value))

    def __add__(self, other: "Exact") -> "Exact":
        return Exact(DIGITS.add(self.value, other.value))

    def __mul__(self, other: "Exact") -> "Exact":
        return Exact(DIGITS.multiply(self.value, other.value))

    def __neg__(self) -> "Exact":
        return Exact(DIGITS.minus(self.value))

    def function(self, name: str) -> tuple["Exact", "Exact"]:
        with localcontext(DIGITS):
            value, slope = EXACT[name](self.value)
        return Exact(value), Exact(slope)

    def above(self, threshold: float) -> bool:
        return self.value > threshold


def _exact_sigmoid(a: Decimal) -> tuple[Decimal, Decimal]:
    e = (-abs(a)).exp()
    return (1 if a >= 0 else e) / (1 + e), e / (1 + e) ** 2


def _exact_tanh(a: Decimal) -> tuple[Decimal, Decimal]:
    e = (-2 * abs(a)).exp()
    return ((1 - e) / (1 + e)).copy_sign(a), 4 * e / (1 + e) ** 2


EXACT: dict[str, Callable] = {
    "sigmoid": _exact_sigmoid,
    "tanh": _exact_tanh,
    "expm1": lambda a: (a.exp() - 1, a.exp()),
    "softplus": lambda a: ((1 + a.exp()).ln(), _exact_sigmoid(a)[0]),
    "softsign": lambda a: (a / (1 + abs(a)), (1 + abs(a)) ** -2),
    "inverse_root": lambda a: (1 / a.sqrt(), -1 / (2 * a * a.sqrt())),
}


def rounded_at_random(u: float, samples: int = 64, seed: int = 0) -> type:
    """Monte Carlo arithmetic (Parker 1997): numbers of a dtype of unit roundoff u, computed `samples` times at once,
    each time with every result multiplied by 1 + u or 1 - u, by lot. The first one is not touched.

    A rounding errs by at most u; as a random variable that is u or -u it has the largest variance that it can have.
    """
    rng = np.random.Generator(np.random.PCG64(seed))

    def error(size: np.ndarray) -> np.ndarray:
        signs = rng.integers(0, 2, samples) * 2.0 - 1.0
        signs[0] = 0.0
        return size * (signs * u)

    class Sampled:
        __slots__ = ("value",)

        def __init__(self, value: np.ndarray):
            self.value = value

        @classmethod
        def of(cls, value: float, inexact: bool = False) -> "Sampled":
            exact = np.full(samples, float(value))
            return cls(exact + error(exact) if inexact else exact)

        def __add__(self, other: "Sampled") -> "Sampled":
            value = self.value + other.value
            return Sampled(value + error(value))

        def __mul__(self, other: "Sampled") -> "Sampled":
            value = self.value * other.value
            return Sampled(value + error(value))

        def __neg__(self) -> "Sampled":
            return Sampled(-self.value)

        def function(self, name: str) -> tuple["Sampled", "Sampled"]:
            """The slope is formed from the rounded value: its error is two roundings of numbers of size 1."""
            value, slope = SAMPLED[name](self.value)
            return Sampled(value + error(value)), Sampled(slope + 2 * error(np.maximum(1.0, np.abs(slope))))

        def above(self, threshold: float) -> bool:
            sides = self.value > threshold
            if sides.any() != sides.all():
                raise Undecided(f"{self.value[0]} is too near to {threshold}")
            return bool(sides[0])

    return Sampled


def _sigmoid(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    value = np.exp(-np.logaddexp(0.0, -a))
    return value, value * (1.0 - value)


SAMPLED: dict[str, Callable] = {
    "sigmoid": _sigmoid,
    "tanh": lambda a: (np.tanh(a), 1.0 - np.tanh(a) ** 2),
    "expm1": lambda a: (np.expm1(a), np.exp(a)),
    "softplus": lambda a: (np.logaddexp(0.0, a), _sigmoid(a)[0]),
    "softsign": lambda a: (a / (1.0 + np.abs(a)), (1.0 + np.abs(a)) ** -2),
    "inverse_root": lambda a: (a**-0.5, -0.5 * a**-1.5),
}
