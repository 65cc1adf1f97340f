"""An array library whose numbers know how far rounding may have moved them. The reference engine runs over it as it is.

Write u for the unit roundoff of the precision in question. Every rounding multiplies a result by 1 + d, |d| <= u, and
to first order the error of a number is a weighted sum of all the d before it. A `Rounded` array carries, beside its
values (in float64), the sum of the squared weights, in units of u^2. For independent d of mean zero that is a proxy of
the variance (Hoeffding 1963): the error exceeds L u sqrt(variance) with probability at most 2 exp(-L^2 / 2). The
bounds of worst cases grow with every step of a long loop; these grow as errors do (Higham & Mary 2019).

What is counted: one rounding for each operation; for a sum of n terms in any order n roundings of partial sums, each
taken to be as large as the whole sum and the root of the sum of squares together; exp and tanh are right to two units
of the last place, the sigmoid only to two units of 1, since (1 + tanh(x/2)) / 2 is widespread. Masks round nothing.
"""

import math
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from lstmcore.arrays import Array, Dtype, Index

Operand: TypeAlias = "Rounded | Array | complex"  # a number or an array is exact

FUNCTION = 4.0  # two units of the last place, squared
FALSE_ALARM = 1e-9  # how often, at most, right gradients may be called wrong


def deviations(n: int) -> float:
    """So many deviations L that rounding moves one of n numbers farther by chance FALSE_ALARM at most."""
    return math.sqrt(2 * math.log(2 * n / FALSE_ALARM))  # 2 n exp(-L^2 / 2) = FALSE_ALARM


class Rounded:
    """`value` float64 (or bool) and `variance` of one shape. Supports what the reference engine does with arrays."""

    value: np.ndarray
    variance: np.ndarray

    __array_ufunc__ = None  # NumPy leaves the operators to us

    def __init__(self, value: ArrayLike, variance: ArrayLike = 0.0):
        self.value = np.asarray(value)
        self.variance = np.empty(self.value.shape)
        self.variance[...] = variance

    def __array_namespace__(self) -> ModuleType:
        return sys.modules[__name__]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.shape

    @property
    def dtype(self) -> np.dtype:
        return self.value.dtype

    @property
    def ndim(self) -> int:
        return self.value.ndim

    @property
    def size(self) -> int:
        return self.value.size

    @property
    def T(self) -> "Rounded":
        return Rounded(self.value.T, self.variance.T)

    def __len__(self) -> int:
        return len(self.value)

    def __getitem__(self, at: Index) -> "Rounded":
        return Rounded(self.value[at], self.variance[at])

    def __setitem__(self, at: "Index | Rounded", new: Operand) -> None:
        new, at = _rounded(new), at.value if isinstance(at, Rounded) else at  # a mask
        self.value[at], self.variance[at] = new.value, new.variance

    def __neg__(self) -> "Rounded":
        return Rounded(-self.value, self.variance)

    def __abs__(self) -> "Rounded":
        return Rounded(abs(self.value), self.variance)

    def __invert__(self) -> "Rounded":
        return Rounded(~self.value)

    def __add__(self, other: Operand) -> "Rounded":
        other = _rounded(other)
        value = self.value + other.value
        exact = (self.value == 0) | (other.value == 0)
        return Rounded(value, self.variance + other.variance + np.where(exact, 0, value**2))

    def __sub__(self, other: Operand) -> "Rounded":
        return self + -_rounded(other)

    def __rsub__(self, other: Operand) -> "Rounded":
        return -self + other

    def __mul__(self, other: Operand) -> "Rounded":
        other = _rounded(other)
        value = self.value * other.value
        return Rounded(value, self.variance * other.value**2 + other.variance * self.value**2 + value**2)

    def __truediv__(self, other: Operand) -> "Rounded":
        other = _rounded(other)
        value = self.value / other.value
        return Rounded(value, self.variance / other.value**2 + other.variance * (value / other.value) ** 2 + value**2)

    def __rtruediv__(self, other: Operand) -> "Rounded":
        return _rounded(other) / self

    def __matmul__(self, other: Operand) -> "Rounded":
        other = _rounded(other)
        value = self.value @ other.value
        squares = self.value**2 @ other.value**2
        inherited = self.variance @ other.value**2 + self.value**2 @ other.variance
        return Rounded(value, inherited + squares + self.shape[-1] * (value**2 + squares))

    def __pow__(self, power: float) -> "Rounded":
        value = self.value**power
        slope = power * np.divide(value, self.value, out=np.zeros(self.shape), where=self.value != 0)
        return Rounded(value, self.variance * slope**2 + value**2)

    def __radd__(self, other: Operand) -> "Rounded":
        return self + other

    def __rmul__(self, other: Operand) -> "Rounded":
        return self * other

    def __lt__(self, other: Operand) -> np.ndarray:
        return self.value < _rounded(other).value

    def __gt__(self, other: Operand) -> np.ndarray:
        return self.value > _rounded(other).value

    def __le__(self, other: Operand) -> np.ndarray:
        return self.value <= _rounded(other).value

    def __ge__(self, other: Operand) -> np.ndarray:
        return self.value >= _rounded(other).value


def exp(a: Rounded) -> Rounded:
    value = np.exp(a.value)
    return Rounded(value, a.variance * value**2 + FUNCTION)  # it stands in sigmoids: right to two units of 1


def tanh(a: Rounded) -> Rounded:
    value = np.tanh(a.value)
    return Rounded(value, a.variance * (1 - value**2) ** 2 + FUNCTION * value**2)


def sqrt(a: Rounded) -> Rounded:
    return a**0.5


def sum(a: Rounded, axis: int | None = None) -> Rounded:
    n = a.size if axis is None else a.shape[axis]
    value, squares = np.sum(a.value, axis=axis), np.sum(a.value**2, axis=axis)
    return Rounded(value, np.sum(a.variance, axis=axis) + n * (value**2 + squares))


def mean(a: Rounded, axis: int | None = None) -> Rounded:
    return sum(a, axis) / (a.size if axis is None else a.shape[axis])


def where(condition: Operand, a: Operand, b: Operand) -> Rounded:
    a, b = _rounded(a), _rounded(b)
    condition = condition.value if isinstance(condition, Rounded) else condition
    return Rounded(np.where(condition, a.value, b.value), np.where(condition, a.variance, b.variance))


def astype(a: Rounded, dtype: Dtype, copy: bool = True) -> Rounded:
    """Rounded to the dtype's numbers, and kept in float64."""
    kept = np.asarray(a.value).astype(dtype)
    return Rounded(kept if kept.dtype == bool else kept.astype(float), a.variance)


def asarray(a: Operand, dtype: Dtype | None = None, copy: bool | None = None) -> Rounded:
    a = _rounded(a)
    return Rounded(a.value.copy(), a.variance.copy()) if copy else a


def concat(parts: Sequence[Operand], axis: int = 0) -> Rounded:
    all_parts = [_rounded(part) for part in parts]
    return Rounded(
        np.concatenate([p.value for p in all_parts], axis=axis),
        np.concatenate([p.variance for p in all_parts], axis=axis),
    )


def reshape(a: Rounded, shape: tuple[int, ...]) -> Rounded:
    return Rounded(a.value.reshape(shape), a.variance.reshape(shape))


def permute_dims(a: Rounded, axes: tuple[int, ...]) -> Rounded:
    return Rounded(a.value.transpose(axes), a.variance.transpose(axes))


def broadcast_to(a: Rounded, shape: tuple[int, ...]) -> Rounded:
    return Rounded(np.broadcast_to(a.value, shape), np.broadcast_to(a.variance, shape))


def empty(shape: tuple[int, ...], dtype: Dtype = float) -> Rounded:
    return Rounded(np.zeros(shape, dtype), np.zeros(shape))


def empty_like(a: Rounded) -> Rounded:
    return empty(a.shape, a.dtype)


zeros, zeros_like = empty, empty_like


def _rounded(value: Operand) -> Rounded:
    return value if isinstance(value, Rounded) else Rounded(value)
