"""An optimizer's update rule, compiled: one pass over the parameter, its gradient and what is remembered of it.

In array code every operation of a rule reads and writes whole arrays; here each number goes through the rule once,
while it is at hand. Numbers do not meet, so no result depends on how the pass is cut for the threads.
"""

import math
import re
from collections.abc import Callable
from types import FunctionType

import numba
import numpy as np
from numba.core import types
from numba.np.unsafe.ndarray import to_fixed_tuple

from lstmcore.ops.cpu.identity import UnknownContent, identity, read
from lstmcore.ops.cpu.jitable import copied, jitable
from lstmcore.ops.cpu.kernel import compile_tasks
from lstmcore.ops.cpu.threads import run

PIECE = 65_536  # numbers of a task at the least: some 20 us of work


class NotCompiled(TypeError):
    """A rule that Numba cannot compile, and why."""


def mover(
    rule: Callable, arrays: tuple[np.ndarray, ...], count: int
) -> Callable[[np.ndarray, tuple[float, ...]], None]:
    """move(dw, numbers), which moves (w, *slots) = `arrays` in place; all C-contiguous, of one shape and dtype.

    numbers: keep, decay, l1, and the `count` of the rule, which starts from keep w and sees the gradient
    dw + decay w + l1 sign(w). Raises NotCompiled.
    """
    if not isinstance(rule, FunctionType):
        raise NotCompiled(f"it is a {type(rule).__name__}, not a function")
    w, slots = arrays[0], len(arrays) - 1
    flat = tuple([a.reshape(-1) for a in arrays])
    try:
        kernel = _kernel(rule, w.dtype, slots, count)
    except Exception as error:  # mostly a page of Numba's, in which one line tells; some formulas make it stumble
        said = re.findall(r"Failed in nopython mode pipeline \(step: .*\)\s*(.*)", str(error))
        reason = said[-1] if said and " at 0x" not in said[-1] else type(error).__name__
        raise NotCompiled(f"{reason:.200}") from error
    settled = not any(read(rule.__code__)[1:]) and not rule.__defaults__  # it names nothing that could change

    def move(dw: np.ndarray, numbers: tuple[float, ...]) -> None:
        nonlocal kernel
        if not settled:
            kernel = _kernel(rule, w.dtype, slots, count)
        dw = np.ascontiguousarray(dw).reshape(-1)
        run(kernel, (flat, dw, numbers), max(1, dw.size // PIECE), 0)

    return move


def _kernel(rule: FunctionType, dtype: np.dtype, slots: int, count: int) -> Callable:
    """The kernel of one rule and dtype: of the rule as it reads now, for what it names may have changed."""
    try:
        content: object = identity(rule)
    except UnknownContent:
        content = rule
    key = content, dtype, slots, count
    if key not in _kernels:
        _kernels[key] = _compiled(rule, dtype, slots, count)
    return _kernels[key]


_kernels: dict[tuple, Callable] = {}


def _compiled(rule: FunctionType, dtype: np.dtype, slots: int, count: int) -> Callable:
    compiled_rule = copied(rule)
    part, load, store = _part(slots), _load(slots), _store(slots)
    number, zero, one = dtype.type, dtype.type(0), dtype.type(1)

    def kernel(arrays, dw, numbers, task, scratch):
        keep, decay, l1 = number(numbers[0]), number(numbers[1]), number(numbers[2])
        own = to_fixed_tuple(np.array(numbers).astype(number)[3:], count)
        first, end = task * PIECE, dw.size if (task + 2) * PIECE > dw.size else (task + 1) * PIECE
        arrays, dw = part(arrays, first, end), dw[first:end]
        w = arrays[0]
        for i in range(w.size):  # from 0: where i may be negative, as in Python, nothing is computed in vectors
            sign = one if w[i] > zero else (-one if w[i] < zero else zero)
            gradient = dw[i] + decay * w[i] + l1 * sign
            store(arrays, i, compiled_rule(math.sqrt, keep * w[i], gradient, *(load(arrays, i) + own)))

    scalar = numba.from_dtype(dtype)
    array = types.Array(scalar, 1, "C")
    moved = types.UniTuple(array, slots + 1)  # type: ignore[attr-defined]
    numbers = types.UniTuple(types.float64, 3 + count)  # type: ignore[attr-defined]
    words = [part for part in rule.__qualname__.split(".") if part.isidentifier() and part != "rule"]
    name = f"{'-'.join(words[:1]).lower() or 'own'}-update-{dtype.name}"
    given = types.Array(scalar, 1, "C", readonly=True)
    return compile_tasks(kernel, name, types.void(moved, given, numbers))


def _part(count: int) -> Callable:
    """part(arrays, first, end) -> w and the first `count` slots from `first` up to `end`."""
    before = jitable(lambda arrays, first, end: ()) if count == 0 else _part(count - 1)
    return jitable(lambda arrays, first, end: before(arrays, first, end) + (arrays[count][first:end],))


def _load(count: int) -> Callable:
    """load(arrays, i) -> number i of each of the first `count` slots."""
    if count == 0:
        return jitable(lambda arrays, i: ())
    before = _load(count - 1)
    return jitable(lambda arrays, i: before(arrays, i) + (arrays[count][i],))


def _store(count: int) -> Callable:
    """store(arrays, i, values), which puts back number i of w and of the first `count` slots."""

    def store_w(arrays, i, values):
        arrays[0][i] = values[0]

    if count == 0:
        return jitable(store_w)
    before = _store(count - 1)

    def store(arrays, i, values):
        before(arrays, i, values)
        arrays[count][i] = values[count]

    return jitable(store)
