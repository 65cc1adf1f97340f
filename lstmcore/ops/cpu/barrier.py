"""Where threads meet inside compiled code: at a barrier, which nobody passes before all have come; or over pieces of
work, of which everybody takes the next until none is left.

Threads that share one step of the recurrence meet once per step, every 50 to 2,000 microseconds. Handing out each step
from Python would cost some twenty more, so they wait in a loop on a counter. Counters are int64, zero at first, and
named by their addresses.
"""

import os
import platform
from collections.abc import Callable

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from lstmcore.ops.cpu.jitable import jitable
from lstmcore.ops.cpu.vector import INT64, at

SPARED = 500  # looks, some 30 us, before the processor is offered to others at each


@intrinsic
def add_number(typing, counter, number):
    """What the counter was, to which the number is added."""

    def generate(context, builder, signature, operands):
        return builder.atomic_rmw("add", at(builder, operands[0], INT64), operands[1], "seq_cst")

    return types.intp(types.intp, types.intp), generate


@intrinsic
def load_number(typing, counter):
    """What the counter is."""

    def generate(context, builder, signature, operands):
        return builder.load_atomic(at(builder, operands[0], INT64), "seq_cst", align=8)

    return types.intp(types.intp), generate


@intrinsic
def store_number(typing, counter, number):
    """Sets the counter."""

    def generate(context, builder, signature, operands):
        builder.store_atomic(operands[1], at(builder, operands[0], INT64), "seq_cst", align=8)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp), generate


@jitable
def take(counter):
    """The next number, from 0 on: nobody else gets the same."""
    return add_number(counter, 1)


@intrinsic
def _pause(typing):
    """Leaves the core to its other thread for a moment."""

    def generate(context, builder, signature, operands):
        if platform.machine().lower() in ("x86_64", "amd64"):
            nothing = ir.FunctionType(ir.VoidType(), [])
            builder.call(cgutils.get_or_insert_function(builder.module, nothing, "llvm.x86.sse2.pause"), [])
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def _yield_processor(typing):
    """Leaves the processor to other threads."""

    def generate(context, builder, signature, operands):
        if os.name == "posix":
            function = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(ir.IntType(32), []), "sched_yield"
            )
            builder.call(function, [])
        return context.get_dummy_value()

    return types.void(), generate


@jitable
def idle(looks):
    """What to do after so many looks at a counter that did not change."""
    if looks < SPARED:
        _pause()
    else:
        _yield_processor()


@jitable
def wait(counter, count):
    """Until so many numbers have been taken."""
    looks = 0
    while load_number(counter) < count:
        idle(looks)
        looks += 1


@jitable
def meet(counter, members, meeting):
    """Waits until `members` threads have called this for the `meeting`-th time."""
    if members > 1:
        take(counter)
        wait(counter, members * meeting)


def together(do: Callable) -> Callable:
    """The compiled together(count, counters, *rest): do(i, *rest) for every i below `count`, each by whoever is free.

    counters: two, one behind the other, of all threads that call this; each of them goes on when all is done.
    """

    @jitable
    def together(count, counters, *rest):
        i = take(counters)
        while i < count:
            do(i, *rest)
            take(counters + 8)
            i = take(counters)
        wait(counters + 8, count)

    return together
