"""What the compiled losses share: rows are handed to the threads piece by piece.

Rows do not meet but in the loss, whose sum is one of sums over pieces that follow from the shape: the bits are the same
for any number of threads.
"""

from collections.abc import Callable

import numpy as np

from lstmcore.ops.cpu.threads import run

PIECE = 65_536  # numbers of a task, about: some 100 us of work
NO_MASK = np.empty(0, bool)


def over_pieces(kernel: Callable, given: tuple, N: int, gradient: np.ndarray) -> float:
    """Hands N rows to the threads; the sum of what the pieces add to the loss. The kernel gets what is given, the rows
    of a piece, the losses of the pieces and the gradient (N, columns)."""
    rows = max(1, PIECE // gradient.shape[1])
    losses = np.empty(-(-N // rows))
    run(kernel, (*given, rows, losses, gradient), losses.size, 0)
    return sum(losses.tolist())


def flat(mask: np.ndarray | None) -> np.ndarray:
    """The mask (N,); an empty one stands for none."""
    return NO_MASK if mask is None else in_rows(mask, np.bool_).reshape(-1)


def in_rows(a: np.ndarray, dtype: np.dtype | type) -> np.ndarray:
    """`a`, copied if it is of another dtype or does not lie in memory as kernels read it."""
    return a if a.dtype == dtype and a.flags.c_contiguous and a.flags.aligned else np.array(a, dtype, order="C")
