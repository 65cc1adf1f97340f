"""How far two computations of the same gradients may lie apart.

A worst-case bound through time is useless: it grows with |W_hh| in place of W_hh, by 10^12 over thirty steps of a
harmless LSTM. So the bound is probabilistic (Higham & Mary 2019, "A new approach to probabilistic rounding error
analysis"): each rounding is at most u (the unit roundoff) times its value, as always, but roundings are taken as
independent and of mean zero, so variances add where worst cases would. What is left out of a bound of `CONFIDENCE`
standard deviations happens with a probability below 2 exp(-CONFIDENCE^2 / 2): 3e-14 per number.
"""

from typing import NamedTuple

import numpy as np

from lstmcore.arrays import Array, dtype_name, to_numpy
from lstmcore.ops import gates
from lstmcore.ops.cells import Cell
from lstmcore.ops.cells.cell import BACKWARD, trace
from lstmcore.ops.recurrence import Cache

CONFIDENCE = 8.0
# A slope's own error in units of u, counted on both sides. Relative to it: an LSTM has at most eight products and
# differences, and tanh c to 8; a longer step as many as its text says. Absolute, where 1 - tanh^2 c or 1 - s cancels:
# 16 + 2, times a quarter (of i (1 - i)), times the largest state or block without ends, 1 at least.
RELATIVE, ABSOLUTE = 32.0, 10.0

PRODUCTS = {"tf32": 2.0**-11, "bf16": 2.0**-8}  # by how names of engines end: the unit roundoff of what they multiply


def factors_rounded(cache: Cache) -> float:
    """What it adds to a product that an engine rounds both factors first, in units of u; 0 if it does not."""
    coarse = PRODUCTS.get(cache.engine.rpartition("-")[2], 0.0)
    return float(np.sqrt(2)) * coarse / unit_roundoff(cache.gates)


def unit_roundoff(value: Array) -> float:
    """Half the distance from 1 to the next number: 2^-24 in float32, 2^-53 in float64."""
    return float(np.finfo(dtype_name(value.dtype)).eps) / 2


def sum_error(terms: int) -> float:
    """The error of a sum of that many terms, in units of u and of the size of its terms."""
    return CONFIDENCE * float(np.sqrt(terms))


class Sizes(NamedTuple):
    """Mean squares over the rows of what the steps of a loop back hold, path by path."""

    arriving: np.ndarray  # (T, P, H)
    da: np.ndarray  # (T, P, K, H)
    carry: np.ndarray  # (T, P, C, H), for each of the C states that the step reads pointwise


def step_back_errors(
    cell: Cell, W_hh: Array, sizes: Sizes, largest: float, rounded: float
) -> tuple[np.ndarray, np.ndarray]:
    """Standard deviation, in units of u, and size of da, each (T, K, H), as root mean squares over the rows.

    Two loops back over the same cache differ by the roundings of each step and by what those of later steps become.
    With v the variance of what arrives: da gets slope^2 v; through W_hh it becomes W_hh^2 (entry by entry) times that;
    each step adds what its slopes are off by, times the square of what arrives, and a product's n terms add n, and the
    square of `rounded`, which is factors_rounded's. Squares of slopes are taken as da^2 / arriving^2, on the mean over
    the rows.
    """
    steep = _ratio(sizes.da, sizes.arriving[:, :, None, :])  # (T, P, K, H)
    carry = _ratio(sizes.carry, sizes.arriving[:, :, None, :])  # (T, P, C, H)
    absolute = (ABSOLUTE * max(1.0, largest)) ** 2
    traced = trace(cell, BACKWARD)
    relative = max(RELATIVE, 2.0 * max(value.roundings for value in traced.gives)) if traced is not None else RELATIVE
    T, P, K, H = steep.shape
    # What no later step changes, for all steps at once: own roundings, and those of the products through W_hh.
    fresh = absolute * sizes.arriving.sum(1)  # (T, H)
    magnitude = sizes.da.sum(1)  # (T, K, H)
    terms = (len(cell.recurrent_blocks) * H + rounded**2) * magnitude
    through = (to_numpy(W_hh).astype(float) ** 2).T  # (K' H, H)
    variance = np.empty((T, K, H))
    v = np.zeros((P, H))
    for t in reversed(range(T)):
        own = v + (1 + relative**2) * sizes.arriving[t]  # dy is added: one rounding
        variance[t] = np.einsum("pkh,ph->kh", steep[t], own) + fresh[t]
        v[1:] = np.einsum("pch,ph->ch", carry[t], own) + fresh[t]  # the paths along states, in their order
        v[0] = gates.join(variance[t] + terms[t], cell.recurrent_blocks) @ through
    return np.sqrt(variance), np.sqrt(magnitude)


def _ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a / b; 0 where b is, for then a is 0 too."""
    return np.divide(a, b, out=np.zeros_like(a), where=np.broadcast_to(b > 0, a.shape))
