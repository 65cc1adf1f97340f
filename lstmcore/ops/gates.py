"""Blocks of gates, side by side. Nothing else cuts a (…, K H) array.

A cell has K blocks of pre-activations, and as many saved gates, in the order of `cell.gates`. A weight matrix holds,
side by side, the blocks that it feeds.
"""

import functools

import numpy as np

from lstmcore.arrays import Array, namespace


def split(a: Array, K: int) -> Array:
    """(..., K H) seen as (..., K, H)."""
    return namespace(a).reshape(a, (*a.shape[:-1], K, a.shape[-1] // K))


def join(a: Array, blocks: tuple[int, ...]) -> Array:
    """The named blocks of (..., K, H), side by side as a weight matrix holds them: (..., len(blocks) H)."""
    *outer, K, H = a.shape
    if blocks != _every(K):
        return namespace(a).concat([a[..., k, :] for k in blocks], axis=-1)
    shape = (*outer, K * H)  # NumPy's function takes three times its method
    return a.reshape(shape) if type(a) is np.ndarray else namespace(a).reshape(a, shape)


def add(a: Array, blocks: tuple[int, ...], product: Array) -> Array:
    """(..., K, H) plus a product (..., len(blocks) H) that feeds only the named blocks."""
    parts = split(product, len(blocks))
    if blocks == _every(a.shape[-2]):
        return a + parts
    total = namespace(a).asarray(a, copy=True)
    for j, k in enumerate(blocks):
        total[..., k, :] = total[..., k, :] + parts[..., j, :]
    return total


@functools.cache
def _every(K: int) -> tuple[int, ...]:
    """All blocks, in order."""
    return tuple(range(K))
