"""Limits on gradients, in place: on the norm of all together (Pascanu, Mikolov & Bengio 2013), or on each number."""

import functools
import math
from collections.abc import Callable, Mapping
from numbers import Real

import numpy as np

from lstmcore.arrays import Array, is_array, is_float32_or_64, library_name, namespace
from lstmcore.ops.cpu.compiler import has_compiler

# Squares below 1e-38 are lost in float32: less than one part in 1e7 of a sum that exceeds this for each of its terms.
SMALLEST_MEAN_SQUARE = 1e-31


def clip_by_global_norm(grads: Mapping[str, Array], limit: float) -> float:
    """Scales all gradients by limit / norm, in place, if their norm exceeds the limit; returns the norm before.

    norm = sqrt(sum of the squares of all numbers in all arrays) (Pascanu et al. 2013, Algorithm 1). A limit of
    math.inf only measures. If the norm is NaN or infinite, it is returned and no gradient is touched: no scale can mend
    them, and a scale of NaN would spread the damage to every array. Ask math.isfinite(norm) before the step, as `fit`
    does. Raises ValueError for a limit that is not above zero, TypeError for what is not an array.
    """
    check_limit("limit", limit)
    if _on_gpu(grads):
        return float(clip_on_gpu(grads, limit))
    norm = _norm(grads)
    if limit < norm < math.inf:
        for g in grads.values():
            g *= limit / norm
    return norm


def clip_on_gpu(grads: Mapping[str, Array], limit: float) -> Array:
    """clip_by_global_norm for gradients on a GPU; the norm, () float64, stays there, and the host does not wait."""
    from lstmcore.ops.gpu.clip import clip_by_global_norm
    from lstmcore.ops.gpu.cupy_machine import current_machine

    return clip_by_global_norm(current_machine(), grads, limit)


def clip_by_value(grads: Mapping[str, Array], limit: float) -> None:
    """Moves every number into [-limit, limit], in place: infinities too, and NaN stays NaN.

    Unlike the norm's limit this turns the direction of the step. Raises as clip_by_global_norm does.
    """
    check_limit("limit", limit)
    _check_arrays(grads)
    for g in grads.values():
        g[...] = namespace(g).clip(g, -limit, limit)


def global_norm(grads: Mapping[str, Array]) -> float:
    """The square root of the sum of the squares of all numbers in all arrays; 0.0 if there is none.

    Right wherever the norm itself is a float: where squares would overflow or vanish, everything is first divided by
    the largest absolute value.
    """
    if _on_gpu(grads):
        return float(clip_on_gpu(grads, math.inf))
    return _norm(grads)


def _norm(grads: Mapping[str, Array]) -> float:
    """global_norm of arrays of any library."""
    arrays = [g for g in grads.values() if g.size > 0]
    squares = sum([_sum_of_squares(g) for g in arrays])
    if SMALLEST_MEAN_SQUARE * sum(g.size for g in arrays) < squares < math.inf:
        return math.sqrt(squares)
    peaks = [float(namespace(g).max(namespace(g).abs(g))) for g in arrays]
    if not all(map(math.isfinite, peaks)):
        return sum(peaks)  # NaN if there is one, else infinity
    peak = max(peaks, default=0.0)
    return peak * math.sqrt(sum(_sum_of_squares(g / peak) for g in arrays)) if peak > 0 else 0.0


def _on_gpu(grads: Mapping[str, Array]) -> bool:
    """True where all are real arrays of CuPy, and there is at least one number in each."""
    _check_arrays(grads)
    return len(grads) > 0 and all(
        library_name(g) == "cupy" and is_float32_or_64(g.dtype) and g.size > 0 for g in grads.values()
    )


def _sum_of_squares(g: Array) -> float:
    """Infinite where a square or the sum is too large."""
    if type(g) is np.ndarray and is_float32_or_64(g.dtype) and g.flags.c_contiguous and has_compiler():
        return _compiled()(g)
    with np.errstate(over="ignore"):
        return float(namespace(g).sum(g * g))


@functools.cache
def _compiled() -> Callable[[np.ndarray], float]:
    """The compiled sum, imported when it is needed: Numba takes a while."""
    from lstmcore.ops.cpu.norm import sum_of_squares

    return sum_of_squares


def check_limit(name: str, limit: float) -> None:
    if isinstance(limit, bool) or not isinstance(limit, Real) or not limit > 0:
        raise ValueError(f"`{name}` should be a number above zero; got {limit!r}")


def _check_arrays(grads: Mapping[str, Array]) -> None:
    for name, g in grads.items():
        if not is_array(g):
            raise TypeError(f"`grads[{name!r}]` should be an array; got {type(g).__name__}")
