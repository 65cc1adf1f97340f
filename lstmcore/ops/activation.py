"""tanh, the logistic sigmoid, relu and softmax over arrays, real or complex."""

from types import ModuleType

from lstmcore.arrays import Array, is_array, namespace, real
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


def where_less(a: Array | float, b: Array | float, yes: Array | float, no: Array | float) -> Array:
    """`yes` where a < b, else, and where either is NaN, `no`. It looks at the real parts alone."""
    like = next(value for value in (a, b) if is_array(value))
    xp = namespace(like)
    if not (is_array(yes) or is_array(no)):
        no = xp.zeros_like(like) + no  # in the dtype of the others
    return xp.where(_real(a) < _real(b), yes, no)


def _real(value: Array | float) -> Array | float:
    return real(value) if is_array(value) else value


def array_maths(xp: ModuleType) -> Maths:
    """The functions that a cell needs, over whole arrays of the library `xp`."""
    return Maths(sigmoid=sigmoid, tanh=xp.tanh, one=1, where_less=where_less)


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


def relu_forward(x: Array) -> Array:
    """y = x where x > 0, else 0, any shape. By the real part, so that a complex step passes."""
    xp = namespace(x)
    return xp.where(real(x) > 0, x, xp.zeros_like(x))  # (54)


def relu_backward(dy: Array, y: Array) -> Array:
    """dx from dy and the output y: the slope is 1 where y > 0, else 0."""
    xp = namespace(y)
    return xp.where(real(y) > 0, dy, xp.zeros_like(dy))  # (55) undoes (54)


def softmax(logits: Array) -> Array:
    """Probabilities over the last axis: exp(l_v) / sum_v exp(l_v), shifted by the maximum so that nothing overflows."""
    e = namespace(logits).exp(without_maximum(logits))
    return e / namespace(logits).sum(e, axis=-1, keepdims=True)


def softmax_forward(x: Array) -> Array:
    """y = softmax(x) over the last axis."""
    return softmax(x)  # (54)


def softmax_backward(dy: Array, y: Array) -> Array:
    """dx from dy and the output y: dy_v / dx_w = y_v ((v = w) - y_w)."""
    return y * (dy - namespace(y).sum(dy * y, axis=-1, keepdims=True))  # (55) undoes (54)


def without_maximum(logits: Array) -> Array:
    """Shifted along the last axis. The maximum enters as a constant: it cancels in a softmax, so it has no gradient."""
    return logits - namespace(logits).max(real(logits), axis=-1, keepdims=True)
