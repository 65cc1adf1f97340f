"""tanh and the logistic sigmoid over arrays, real or complex."""

from types import ModuleType

from lstmcore.arrays import Array, namespace, real
from lstmcore.ops.cells.cell import Maths


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), with full relative accuracy in both tails.

    `0.5 tanh(x / 2) + 0.5` is no substitute: in float32 it is 2,455 ULP off at -10 and zero at -30, so that a closed
    gate loses its gradient. The branches go by the real part, so that a complex step passes.
    """
    xp = namespace(x)
    positive = real(x) >= 0
    e = xp.exp(xp.where(positive, -x, x))  # exp(-|x|), never above 1: no overflow
    return xp.where(positive, 1, e) / (1 + e)


def array_maths(xp: ModuleType) -> Maths:
    """The functions that a cell needs, over whole arrays of the library `xp`."""
    return Maths(sigmoid=sigmoid, tanh=xp.tanh, one=1)


def tanh_forward(x: Array) -> Array:
    """y = tanh(x), any shape."""
    return namespace(x).tanh(x)  # (54)


def tanh_backward(dy: Array, y: Array) -> Array:
    """dx from dy and the output y: tanh' = 1 - tanh^2."""
    return dy * (1 - y * y)  # (55) undoes (54)


def sigmoid_forward(x: Array) -> Array:
    """y = sigmoid(x), any shape."""
    return sigmoid(x)  # (54)


def sigmoid_backward(dy: Array, y: Array) -> Array:
    """dx from dy and the output y: sigmoid' = sigmoid (1 - sigmoid)."""
    return dy * y * (1 - y)  # (55) undoes (54)
