"""The mean over the valid items, which every loss is."""

import numpy as np

from lstmcore.arrays import Array, namespace


def mean(losses: Array, mask: Array | None, times: Array | None = None) -> Array:
    """() of losses (...): sum over the valid items, each counted `times` (...), over the count; None: once each."""
    xp = namespace(losses)
    n = count(mask, losses, losses, times)
    if times is not None:
        losses = losses * times
    if mask is not None:
        losses = xp.where(mask, losses, xp.zeros_like(losses))
    return xp.asarray(xp.sum(losses) / n)


def count(mask: Array | None, items: Array, like: Array, times: Array | None = None) -> Array | int:
    """How many items are valid. From a mask on a GPU an array () of the dtype of `like`: the host need not know."""
    if times is not None:
        xp = namespace(times)
        return xp.sum(times if mask is None else xp.where(mask, times, xp.zeros_like(times)))
    if mask is None:
        return items.size
    xp = namespace(mask)
    n = xp.count_nonzero(mask)
    return int(n) if xp is np else xp.astype(n, like.dtype)
