"""Padding is selected out, never multiplied out: 0 * NaN is NaN, and padding may hold anything."""

import numpy as np
from numpy.typing import ArrayLike

from lstmcore.arrays import Array, Maybe, library_name, namespace, to_library, to_numpy
from lstmcore.shapes import check_lengths, check_size


def masking_forward(x: Array, mask: Array | None) -> Array:
    """`x` on real steps, zero elsewhere. x (T, B, ...), mask (T, B) bool or None (all steps are real)."""
    if mask is None:
        return x
    xp = namespace(x)
    if xp is np:
        y = x.copy()
        y[~mask] = 0  # whole rows: several times faster in NumPy than `where` with a mask that is broadcast
        return y
    real = xp.reshape(mask, mask.shape + (1,) * (x.ndim - mask.ndim))
    return xp.where(real, x, xp.zeros_like(x))


def masking_backward(dy: Array, mask: Array | None) -> Array:
    """Undoes `masking_forward`: what came from a padded step goes nowhere. A selection is its own transpose."""
    return masking_forward(dy, mask)


def kept(a: Maybe) -> Maybe:
    """A copy of a mask, or of indices, for a cache: a loader may fill its buffer again before the way back."""
    return None if a is None else namespace(a).asarray(a, copy=True)


def mask_from_lengths(lengths: ArrayLike, T: int) -> Array:
    """(T, B) bool, true on the first `lengths[b]` steps of row b. lengths: B integers in 0 .. T; 0 is an empty row.

    A NumPy array; from lengths on a GPU, a CuPy array. Raises TypeError for what is not a row of integers, ValueError
    for a length below 0 or beyond T.
    """
    home, rows = library_name(lengths), to_numpy(lengths)
    check_size("T", T)
    check_lengths(rows, T)
    mask = np.arange(T)[:, None] < rows[None, :]
    return to_library(mask, home) if home == "cupy" else mask
