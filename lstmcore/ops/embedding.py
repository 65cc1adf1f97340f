"""Rows of a table, looked up by index."""

import numpy as np

from lstmcore.arrays import Array, namespace
from lstmcore.ops.matmul import product

ONE_HOT = 2**24  # entries of a one-hot matrix, up to which one product is the way to a sum over places


def embedding_forward(index: Array, W: Array) -> Array:
    """y = W[index]; index (...) of integers in [0, V), W (V, I) -> y (..., I)."""
    xp = namespace(W)
    return xp.reshape(xp.take(W, xp.reshape(index, (-1,)), axis=0), (*index.shape, W.shape[-1]))  # (58)


def embedding_backward(dy: Array, index: Array, W: Array) -> Array:
    """dW (V, I): each row of the table collects the gradients of all places that used it."""
    xp = namespace(W)
    rows, index = xp.reshape(dy, (-1, W.shape[-1])), xp.reshape(index, (-1,))
    # On a GPU a scattered sum adds in any order, so its last bits vary; and the standard has none. Up to a size: the
    # same as one product with the one-hot matrix of the indices, always in one order.
    if xp is np or (hasattr(xp, "add") and index.size * W.shape[0] > ONE_HOT):
        dW = xp.zeros_like(W)
        xp.add.at(dW, index, rows)  # (59) undoes (58)
        return dW
    one_hot = xp.astype(index[None, :] == xp.arange(W.shape[0])[:, None], W.dtype)  # (V, N)
    return product(one_hot, rows)
