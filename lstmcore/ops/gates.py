"""Blocks of gates, side by side. Nobody else cuts a (…, K H) array.

A cell has K blocks of pre-activations, and as many saved gates, in the order of `cell.gates`. A weight matrix holds,
side by side, the blocks that it feeds.
"""

import numpy as np

from lstmcore.arrays import Array, namespace


def split(a: Array, K: int) -> Array:
    """(..., K H) seen as (..., K, H)."""
    return namespace(a).reshape(a, (*a.shape[:-1], K, a.shape[-1] // K))


def join(a: Array, blocks: tuple[int, ...]) -> Array:
    """The named blocks of (..., K, H), side by side as a weight matrix holds them: (..., len(blocks) H)."""
    xp = namespace(a)
    if blocks == tuple(range(a.shape[-2])):
        shape = (*a.shape[:-2], a.shape[-2] * a.shape[-1])
        return a.reshape(shape) if xp is np else xp.reshape(a, shape)  # NumPy's function takes three times its method
    return xp.concat([a[..., k, :] for k in blocks], axis=-1)


def add(a: Array, blocks: tuple[int, ...], product: Array) -> Array:
    """(..., K, H) plus a product (..., len(blocks) H) that feeds only the named blocks."""
    parts = split(product, len(blocks))
    if blocks == tuple(range(a.shape[-2])):
        return a + parts
    total = namespace(a).asarray(a, copy=True)
    for j, k in enumerate(blocks):
        total[..., k, :] = total[..., k, :] + parts[..., j, :]
    return total
