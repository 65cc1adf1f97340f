"""Dual arrays: a value and its derivative along one direction, carried together through every operation.

A dual number v + e v_dot, with e^2 = 0 (Clifford 1873), obeys f(v + e v_dot) = f(v) + e f'(v) v_dot: its second part is
the derivative, by the rules of differentiation and without a step size. The recurrence is stated once, in the
reference engine and the cells; run over dual arrays, the same text gives the derivative of what it computes:

    forward over duals    the tangents of all states and outputs: the directional derivative    forward_mode.py
    backward over duals   the tangents of all gradients: a Hessian-vector product               second_order.py
    one step over duals   the derivatives of one step, unit by unit                             jacobian.py, rtrl.py

This module is an array library, as `Dual.__array_namespace__` tells: it has those functions of the array API that the
reference engine calls, each with its derivative beside it. What is done to the values linearly (reshape, sum, where)
is done to the tangents too. For the LSTM step, equations (2) to (7), the rules give

    i_dot = i (1 - i) a_i_dot        f_dot = f (1 - f) a_f_dot        g_dot = (1 - g^2) a_g_dot        (same for o)
    c_dot = f_dot c_prev + f c_prev_dot + i_dot g + i g_dot
    h_dot = o_dot tanh(c) + o (1 - tanh(c)^2) c_dot
"""

import sys
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import TypeAlias

import numpy as np

from lstmcore.arrays import Array, Dtype, Index

Operand: TypeAlias = "Dual | Array | complex"  # a number or an array is a constant
Shape: TypeAlias = int | tuple[int, ...]


class Dual:
    """`value` and `tangent`: NumPy arrays of one shape and dtype. A tangent of zeros makes it a constant."""

    value: Array
    tangent: Array

    __array_ufunc__ = None  # NumPy leaves `array * dual` to the methods below

    def __init__(self, value: Array, tangent: Array):
        self.value, self.tangent = value, tangent

    def __array_namespace__(self, api_version: str | None = None) -> ModuleType:
        return sys.modules[__name__]

    @property
    def size(self) -> int:
        return self.value.size

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.shape

    @property
    def ndim(self) -> int:
        return self.value.ndim

    @property
    def dtype(self) -> np.dtype:
        return self.value.dtype

    @property
    def T(self) -> "Dual":
        return Dual(self.value.T, self.tangent.T)

    def __getitem__(self, key: Index) -> "Dual":
        return Dual(self.value[key], self.tangent[key])

    def __setitem__(self, key: Index, new: Operand) -> None:
        given = lift(new)
        self.value[key], self.tangent[key] = given.value, given.tangent

    def __neg__(self) -> "Dual":
        return Dual(-self.value, -self.tangent)

    def __add__(self, other: Operand) -> "Dual":
        b = lift(other, self.dtype)
        return Dual(self.value + b.value, self.tangent + b.tangent)

    def __sub__(self, other: Operand) -> "Dual":
        return self + -lift(other, self.dtype)

    def __mul__(self, other: Operand) -> "Dual":
        b = lift(other, self.dtype)
        return Dual(self.value * b.value, self.tangent * b.value + self.value * b.tangent)

    def __truediv__(self, other: Operand) -> "Dual":
        b = lift(other, self.dtype)
        quotient = self.value / b.value
        return Dual(quotient, (self.tangent - quotient * b.tangent) / b.value)

    def __matmul__(self, other: Operand) -> "Dual":
        b = lift(other, self.dtype)
        return Dual(self.value @ b.value, self.tangent @ b.value + self.value @ b.tangent)

    __radd__ = __add__
    __rmul__ = __mul__

    def __rsub__(self, other: Operand) -> "Dual":
        return lift(other, self.dtype) - self

    def __rtruediv__(self, other: Operand) -> "Dual":
        return lift(other, self.dtype) / self

    def __rmatmul__(self, other: Operand) -> "Dual":
        return lift(other, self.dtype) @ self

    def __ge__(self, other: Operand) -> Array:
        return self.value >= lift(other).value  # branches go by the value

    def __lt__(self, other: Operand) -> Array:
        return self.value < lift(other).value

    def __gt__(self, other: Operand) -> Array:
        return self.value > lift(other).value

    def __repr__(self) -> str:
        return f"Dual({self.value!r}, {self.tangent!r})"


def lift(value: Operand, beside: Dtype | None = None) -> Dual:
    """A number or an array as a constant; a Dual as it is. A number takes the precision of what it stands beside."""
    if isinstance(value, Dual):
        return value
    dtype = None if beside is None else np.result_type(beside, value)
    constant = np.asarray(value, dtype)
    return Dual(constant, np.zeros_like(constant))


# ---- the array library: functions with a derivative of their own ---------------------------------------------


def exp(x: Dual) -> Dual:
    e = np.exp(x.value)
    return Dual(e, e * x.tangent)


def tanh(x: Dual) -> Dual:
    y = np.tanh(x.value)
    return Dual(y, (1 - y * y) * x.tangent)


def sqrt(x: Dual) -> Dual:
    y = np.sqrt(x.value)
    return Dual(y, x.tangent / (2 * y))


# ---- the array library: what is linear happens to both parts --------------------------------------------------


def where(condition: Operand, x: Operand, y: Operand) -> Dual:
    beside = next((v.dtype for v in (x, y) if isinstance(v, Dual)), None)
    c, a, b = lift(condition).value, lift(x, beside), lift(y, beside)
    return Dual(np.where(c, a.value, b.value), np.where(c, a.tangent, b.tangent))


def concat(arrays: Iterable[Operand], axis: int = 0) -> Dual:
    parts = [lift(x) for x in arrays]
    return Dual(np.concat([x.value for x in parts], axis), np.concat([x.tangent for x in parts], axis))


def stack(arrays: Iterable[Operand], axis: int = 0) -> Dual:
    parts = [lift(x) for x in arrays]
    return Dual(np.stack([x.value for x in parts], axis), np.stack([x.tangent for x in parts], axis))


def reshape(x: Dual, shape: Shape) -> Dual:
    return Dual(np.reshape(x.value, shape), np.reshape(x.tangent, shape))


def permute_dims(x: Dual, axes: tuple[int, ...]) -> Dual:
    return Dual(np.permute_dims(x.value, axes), np.permute_dims(x.tangent, axes))


def broadcast_to(x: Dual, shape: Shape) -> Dual:
    return Dual(np.broadcast_to(x.value, shape), np.broadcast_to(x.tangent, shape))


def sum(x: Dual, axis: int | None = None) -> Dual:
    return Dual(np.sum(x.value, axis), np.sum(x.tangent, axis))


def real(x: Dual) -> Dual:
    return Dual(np.real(x.value), np.real(x.tangent))


def asarray(x: Operand, dtype: Dtype | None = None, copy: bool | None = None) -> Dual:
    a = lift(x)
    return Dual(np.asarray(a.value, dtype=dtype, copy=copy), np.asarray(a.tangent, dtype=dtype, copy=copy))


# ---- the array library: new arrays -----------------------------------------------------------------------------


def zeros(shape: Shape, dtype: Dtype | None = None) -> Dual:
    return Dual(np.zeros(shape, dtype), np.zeros(shape, dtype))


def zeros_like(x: Dual) -> Dual:
    return Dual(np.zeros_like(x.value), np.zeros_like(x.value))


empty: Callable[..., Dual] = zeros
empty_like: Callable[[Dual], Dual] = zeros_like
