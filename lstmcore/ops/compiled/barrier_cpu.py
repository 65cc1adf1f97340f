"""Where threads meet inside compiled code: at a barrier, which nobody passes before all have come; or over pieces of
work, of which everybody takes the next until none is left.

Threads that share one step of the recurrence meet once per step, every 50 to 2,000 microseconds. Handing out each step
from Python would cost some twenty more, so they wait in a loop on a counter. Counters are int64, zero at first, and
named by their addresses.
"""

import os
from collections.abc import Callable

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic, register_jitable

from lstmcore.ops.compiled.jitable_cpu import jitable
from lstmcore.ops.compiled.vector_cpu import INT64, at

PATIENCE = 2000  # looks at the counter before the processor is offered to others


@intrinsic
def _take(typing, counter):
    """The next number, from 0 on: nobody else gets the same."""

    def generate(context, builder, signature, operands):
        return builder.atomic_rmw("add", at(builder, operands[0], INT64), INT64(1), "seq_cst")

    return types.intp(types.intp), generate


@intrinsic
def _taken(typing, counter):
    def generate(context, builder, signature, operands):
        return builder.load_atomic(at(builder, operands[0], INT64), "seq_cst", align=8)

    return types.intp(types.intp), generate


@intrinsic
def _yield_processor(typing):
    def generate(context, builder, signature, operands):
        if os.name == "posix":
            function = ir.Function(builder.module, ir.FunctionType(ir.IntType(32), []), "sched_yield")
            builder.call(function, [])
        return context.get_dummy_value()

    return types.void(), generate


@register_jitable
def _wait(counter, count):
    """Until so many numbers have been taken."""
    looks = 0
    while _taken(counter) < count:
        looks += 1
        if looks > PATIENCE:
            _yield_processor()


@register_jitable
def meet(counter, members, meeting):
    """Waits until `members` threads have called this for the `meeting`-th time."""
    if members > 1:
        _take(counter)
        _wait(counter, members * meeting)


def together(do: Callable, *identity: object) -> Callable:
    """The compiled together(count, counters, *rest): do(i, *rest) for every i below `count`, each by whoever is free.

    counters: two, one behind the other, of all threads that call this; each of them goes on when all is done.
    `identity` tells `do` from other work.
    """

    @jitable(*identity)
    def together(count, counters, *rest):
        i = _take(counters)
        while i < count:
            do(i, *rest)
            _take(counters + 8)
            i = _take(counters)
        _wait(counters + 8, count)

    return together
