"""A matrix product over the last axis, plus a bias."""

from lstmcore.arrays import Array, namespace
from lstmcore.ops.matmul import matmul


def linear_forward(x: Array, W: Array, b: Array | None) -> Array:
    """y = x W + b; x (..., I), W (I, O), b (O,) or None -> y (..., O)."""
    y = matmul(namespace(x).reshape(x, (-1, x.shape[-1])), W)  # (50)
    if b is not None:
        y = y + b
    return namespace(x).reshape(y, (*x.shape[:-1], W.shape[-1]))


def linear_backward(dy: Array, x: Array, W: Array) -> tuple[Array, Array, Array]:
    """Undoes y = x W + b: dx (..., I), dW (I, O), db (O,), each summed over everything that used the value."""
    xp = namespace(x)
    rows = xp.reshape(dy, (-1, dy.shape[-1]))
    db = xp.sum(rows, axis=0)  # (51) undoes (50)
    dW = matmul(xp.reshape(x, (-1, x.shape[-1])).T, rows)  # (52)
    dx = xp.reshape(matmul(rows, W.T), x.shape)  # (53)
    return dx, dW, db
