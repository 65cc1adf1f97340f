"""The sum of the squares of an array, compiled: BLAS's dot product would wake threads of its own for a long one."""

import functools
from collections.abc import Callable

import numba
import numpy as np
from numba.core import types

from lstmcore.ops.cpu.across import sum_of
from lstmcore.ops.cpu.kernel import compile_kernel
from lstmcore.ops.cpu.memory import address, vectors
from lstmcore.ops.cpu.vector import multiply_add

BLOCK = 4096  # numbers whose squares are summed in the dtype of the array; the sums of blocks add up in float64


def sum_of_squares(g: np.ndarray) -> float:
    """The sum of all g^2, for g C-contiguous, float32 or float64. Infinite where a square or a sum is too large."""
    return _kernel(g.dtype)(g.reshape(-1))


@functools.cache
def _kernel(dtype: np.dtype) -> Callable:
    v = vectors(dtype.name)
    lanes, size, constant, load_some, zero = v.lanes, v.size, v.constant, v.load_some, dtype.type(0)

    def kernel(g):
        total = 0.0
        for first in range(0, g.size, BLOCK):
            sums = constant(zero)
            for i in range(first, min(first + BLOCK, g.size), lanes):
                x = load_some(address(g) + i * size, g.size - i)
                sums = multiply_add(x, x, sums)
            total += sum_of(sums)
        return total

    signature = types.float64(types.Array(numba.from_dtype(dtype), 1, "C", readonly=True))
    return compile_kernel(kernel, f"sum-of-squares-{dtype.name}", signature)
