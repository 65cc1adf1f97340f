"""How far two computations of the same gradients may lie apart.

A worst-case bound through time is useless: it grows with |W_hh| in place of W_hh, by 10^12 over thirty steps of a
harmless LSTM. So the bound is probabilistic (Higham & Mary 2019, "A new approach to probabilistic rounding error
analysis"): each rounding is at most u (the unit roundoff) times its value, as always, but roundings are taken as
independent and of mean zero, so variances add where worst cases would. What is left out of a bound of `CONFIDENCE`
standard deviations happens with a probability below 2 exp(-CONFIDENCE^2 / 2): 3e-14 per number.
"""

import numpy as np

from lstmcore.arrays import Array, dtype_name, namespace, to_numpy
from lstmcore.debug.step_back import StepBack
from lstmcore.ops import gates
from lstmcore.ops.cells import Cell

CONFIDENCE = 8.0
# A slope's own error in units of u, counted on both sides. Relative to it: at most eight products and differences, and
# tanh c to 8. Absolute, where 1 - tanh^2 c or 1 - s cancels: 16 + 2, times a quarter (of i (1 - i)), times max(1, |c|).
RELATIVE, ABSOLUTE = 32.0, 10.0


def unit_roundoff(value: Array) -> float:
    """Half the distance from 1 to the next number: 2^-24 in float32, 2^-53 in float64."""
    return float(np.finfo(dtype_name(value.dtype)).eps) / 2


def sum_error(terms: int) -> float:
    """The error of a sum of so many terms, in units of u and of the size of its terms."""
    return CONFIDENCE * float(np.sqrt(terms))


def step_back_errors(cell: Cell, W_hh: Array, back: StepBack, c_size: float) -> tuple[np.ndarray, np.ndarray]:
    """Standard deviation, in units of u, and size of da, each (T, K, H), as root mean squares over the rows.

    Two loops back over the same cache differ by the roundings of each step and by what those of later steps become.
    With v the variance of what arrives: da gets slope^2 v; through W_hh it becomes W_hh^2 (entry by entry) times that;
    each step adds what its slopes are off by, times the square of what arrives, and a product's n terms add n.
    """
    steep = [_max_abs(slope.da) ** 2 for slope in back.slopes]  # (T, K, H)
    carry = [None if slope.carry is None else _max_abs(slope.carry) ** 2 for slope in back.slopes]  # (T, H)
    size = [to_numpy(namespace(d).mean(d * d, axis=1)).astype(float) for d in back.arriving]  # (T, H)
    W2 = to_numpy(W_hh).astype(float) ** 2
    absolute = (ABSOLUTE * max(1.0, c_size)) ** 2
    T, K, H = steep[0].shape
    n = len(cell.recurrent_blocks) * H
    variance, magnitude = np.empty((T, K, H)), np.empty((T, K, H))
    v = [np.zeros(H) for _ in steep]
    for t in reversed(range(T)):
        v = [v_p + s[t] for v_p, s in zip(v, size)]  # dy is added: one rounding
        magnitude[t] = sum(a[t] * s[t] for a, s in zip(steep, size))
        variance[t] = sum(a[t] * (v_p + RELATIVE**2 * s[t]) + absolute * s[t] for a, v_p, s in zip(steep, v, size))
        through = gates.join(variance[t] + n * magnitude[t], cell.recurrent_blocks) @ W2.T
        ways = [(a, v_p, s) for a, v_p, s in zip(carry, v, size) if a is not None]
        along = [a[t] * (v_p + RELATIVE**2 * s[t]) + absolute * s[t] for a, v_p, s in ways]
        v = [through, sum(along)] if along else [through]
    return np.sqrt(variance), np.sqrt(magnitude)


def _max_abs(array: Array) -> np.ndarray:
    """Over the rows: (T, B, ...) -> (T, ...)."""
    xp = namespace(array)
    return to_numpy(xp.maximum(xp.max(array, axis=1), -xp.min(array, axis=1))).astype(float)
