"""One matrix product, and who runs it."""

import numpy as np

from lstmcore.arrays import Array, is_float32_or_64, is_recorded, library_name, namespace
from lstmcore.ops.cpu.compiler import has_compiler

LARGE = 2**18  # multiplications above which NumPy's BLAS would wake its own threads
LARGE_ON_GPU = 2**24  # below it our kernel is as fast as cuBLAS, and no slower to call from Python


def matmul(a: Array, b: Array) -> Array:
    """a @ b for matrices (M, D) and (D, N) of any array library.

    Large products of real NumPy arrays run on the threads of the compiled engine, so that there is one pool; what is
    small, complex, of another library or byte order or oddly strided is the library's own.
    """
    if (
        isinstance(a, np.ndarray)
        and is_float32_or_64(a.dtype)
        and a.size * b.shape[-1] > LARGE
        and (b.flags.c_contiguous or b.flags.f_contiguous)
        and has_compiler()
    ):
        from lstmcore.ops.cpu.matmul import matmul as compiled

        return compiled(a, b)
    return product(a, b)


def product(a: Array, b: Array, out: Array | None = None) -> Array:
    """a @ b for matrices (M, D) and (D, N), by the array library; on a GPU small real ones by a kernel of ours.

    So are all that are recorded into a CUDA graph, where CuPy's cuBLAS refuses to run. out: a C-contiguous (M, N) array
    for the result.
    """
    ours = library_name(a) == "cupy" and is_float32_or_64(a.dtype)
    if ours and (a.size * b.shape[-1] <= LARGE_ON_GPU or is_recorded(a)):
        from lstmcore.ops.gpu.cupy_machine import current_machine
        from lstmcore.ops.gpu.matmul import matmul as own

        return own(current_machine(), a, b, out)
    return a @ b if out is None else namespace(a).matmul(a, b, out=out)
