"""One matrix product, and who runs it."""

import numpy as np

from lstmcore.arrays import Array

LARGE = 2**18  # multiplications above which NumPy's BLAS would wake its own threads


def matmul(a: Array, b: Array) -> Array:
    """a @ b for matrices (M, D) and (D, N) of any array library.

    Large products of real NumPy arrays run on the threads of the compiled engine, so that there is one pool; what is
    small, complex, of another library or oddly strided is the library's own.
    """
    if (
        isinstance(a, np.ndarray)
        and a.dtype.char in "fd"
        and a.size * b.shape[-1] > LARGE
        and (b.flags.c_contiguous or b.flags.f_contiguous)
    ):
        from lstmcore.ops.compiled.matmul_cpu import matmul as compiled

        return compiled(a, b)
    return a @ b
