"""An optimizer's update rule, compiled: one pass over the parameter, its gradient and what is remembered of it.

In array code every operation of a rule reads and writes whole arrays; here each number goes through the rule once,
while it is at hand. Numbers do not meet, so no result depends on how the pass is cut for the threads.
"""

import functools
import inspect
import math
from collections.abc import Callable
from pathlib import Path

import numba
import numpy as np
from numba.core import types
from numba.extending import register_jitable
from numba.np.unsafe.ndarray import to_fixed_tuple

from lstmcore.ops.cpu.jitable import jitable
from lstmcore.ops.cpu.kernel import compile_tasks
from lstmcore.ops.cpu.threads import run

PIECE = 65_536  # numbers of a task at the least: some 20 us of work


def mover(rule: Callable, arrays: tuple[np.ndarray, ...]) -> Callable[[np.ndarray, tuple[float, ...]], None]:
    """move(dw, numbers), which moves (w, *slots) = `arrays` in place; all C-contiguous, of one shape and dtype.

    numbers: keep, decay, l1, and those of the rule, which starts from keep w and sees the gradient
    dw + decay w + l1 sign(w).
    """
    w, slots = arrays[0], len(arrays) - 1
    count = len(inspect.signature(rule).parameters) - len(("sqrt", "w", "dw")) - slots
    kernel, flat = _kernel(rule, w.dtype, slots, count), tuple([a.reshape(-1) for a in arrays])

    def move(dw: np.ndarray, numbers: tuple[float, ...]) -> None:
        dw = np.ascontiguousarray(dw).reshape(-1)
        run(kernel, (flat, dw, numbers), max(1, dw.size // PIECE), 0)

    return move


@functools.cache
def _kernel(rule: Callable, dtype: np.dtype, slots: int, count: int) -> Callable:
    """The kernel of one rule and dtype."""
    compiled_rule = register_jitable(rule)
    load, store = _slots(slots)
    number, zero, one = dtype.type, dtype.type(0), dtype.type(1)

    def kernel(arrays, dw, numbers, task, scratch):
        w = arrays[0]
        keep, decay, l1 = number(numbers[0]), number(numbers[1]), number(numbers[2])
        own = to_fixed_tuple(np.array(numbers).astype(number)[3:], count)
        first, end = task * PIECE, dw.size if (task + 2) * PIECE > dw.size else (task + 1) * PIECE
        for i in range(first, end):  # the numbers of one parameter do not meet: a vector of them is computed at once
            sign = one if w[i] > zero else (-one if w[i] < zero else zero)
            gradient = dw[i] + decay * w[i] + l1 * sign
            store(arrays, i, compiled_rule(math.sqrt, keep * w[i], gradient, *(load(arrays, i) + own)))

    scalar = numba.from_dtype(dtype)
    array = types.Array(scalar, 1, "C")
    moved = types.UniTuple(array, slots + 1)  # type: ignore[attr-defined]
    numbers = types.UniTuple(types.float64, 3 + count)  # type: ignore[attr-defined]
    signature = types.void(moved, array, numbers)
    name = f"{rule.__qualname__.split('.')[0].lower()}-update-{dtype.name}"
    return compile_tasks(kernel, name, signature, (Path(__file__), Path(inspect.getfile(rule))))


def _slots(count: int) -> tuple[Callable, Callable]:
    """load(arrays, i) -> number i of every slot; store(arrays, i, values) puts w and the slots back."""
    loads: tuple[Callable, ...] = (
        lambda arrays, i: (),
        lambda arrays, i: (arrays[1][i],),
        lambda arrays, i: (arrays[1][i], arrays[2][i]),
    )

    def store_one(arrays, i, values):
        arrays[0][i] = values[0]

    def store_two(arrays, i, values):
        arrays[0][i], arrays[1][i] = values[0], values[1]

    def store_three(arrays, i, values):
        arrays[0][i], arrays[1][i], arrays[2][i] = values[0], values[1], values[2]

    stores: tuple[Callable, ...] = (store_one, store_two, store_three)
    return jitable(count)(loads[count]), jitable(count)(stores[count])
