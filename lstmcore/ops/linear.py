"""A matrix product over the last axis, plus a bias."""

import functools
from types import ModuleType

import numpy as np

from lstmcore.arrays import Array, is_float32_or_64, namespace
from lstmcore.ops.cpu.compiler import has_compiler
from lstmcore.ops.matmul import matmul

SMALL = 2**20  # multiplications: up to this many one thread does them all; waking others would cost more than it saves
WIDEST = 256  # columns up to which it does


def linear_forward(x: Array, W: Array, b: Array | None) -> Array:
    """y = x W + b; x (..., I), W (I, O), b (O,) or None -> y (..., O)."""
    if _is_small(x, W, *(() if b is None else (b,))):
        return _compiled().linear(x, W, b)
    y = matmul(namespace(x).reshape(x, (-1, x.shape[-1])), W)  # (50)
    if b is not None:
        y = y + b
    return namespace(x).reshape(y, (*x.shape[:-1], W.shape[-1]))


def linear_backward(dy: Array, x: Array, W: Array) -> tuple[Array, Array, Array]:
    """Undoes y = x W + b: dx (..., I), dW (I, O), db (O,), each summed over everything that used the value."""
    if _is_small(x, W, dy):
        return _compiled().undo_linear(dy, x, W)
    xp = namespace(x)
    rows = xp.reshape(dy, (-1, dy.shape[-1]))
    db = xp.sum(rows, axis=0)  # (51) undoes (50)
    dW = matmul(xp.reshape(x, (-1, x.shape[-1])).T, rows)  # (52)
    dx = xp.reshape(matmul(rows, W.T), x.shape)  # (53)
    return dx, dW, db


def _is_small(x: Array, W: Array, *others: Array) -> bool:
    """Small products of NumPy arrays are compiled: a call of NumPy's takes longer than they compute."""
    I, O = W.shape
    if x.size * O > SMALL or max(I, O) > WIDEST or type(x) is not np.ndarray or not is_float32_or_64(x.dtype):
        return False
    for a in (x, W, *others):  # no generator: it would take as long as all the rest
        if type(a) is not np.ndarray or a.dtype != x.dtype or not a.flags.carray:
            return False
    return has_compiler()


@functools.cache
def _compiled() -> ModuleType:
    """The compiled passes, imported when they are needed: Numba takes a while."""
    from lstmcore.ops.cpu import linear as linear_cpu

    return linear_cpu
