"""What the ledger notes of each part of a gradient, compiled: one pass over the part, while it is in the cache."""

import functools
from collections.abc import Callable

import numba
import numpy as np
from numba.core import types

from lstmcore.ops.cpu.kernel import compile_kernel


def note_compiled(part: np.ndarray, whole: np.ndarray, *notes: np.ndarray) -> None:
    """`_note` of parts.py for NumPy's floats."""
    _kernel(part.dtype)(part, whole, *notes)


@functools.cache
def _kernel(dtype: np.dtype) -> Callable:
    def note(part, whole, total, squares, along):
        N, H, R = part.shape
        for n in range(N):
            for r in range(R):
                squares[n, r] = along[n, r] = 0.0
            for h in range(H):
                for r in range(R):  # the inner loops are short of arrays, so that they become vector instructions
                    total[n, h, r] += part[n, h, r]
                for r in range(R):
                    value = np.float64(part[n, h, r])
                    squares[n, r] += value * value
                    along[n, r] += value * np.float64(whole[n, h, r])

    def made(number: types.Type, ndim: int) -> types.Array:
        return types.Array(number, ndim, "C")

    own, wide = numba.from_dtype(dtype), types.float64
    signature = types.void(made(own, 3), made(own, 3), made(own, 3), made(wide, 2), made(wide, 2))
    return compile_kernel(note, f"ledger-note-{dtype.name}", signature)
