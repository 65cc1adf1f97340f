"""Where threads meet inside compiled code: at a barrier, which nobody passes before all have come; or over pieces of
work, of which everybody takes the next until none is left.

Threads that share one step of the recurrence meet once per step, every 50 to 2,000 microseconds. Handing out each step
from Python would cost some twenty more, so they wait in a loop on a counter. But whoever is waited for may have lost
its processor to another program, for milliseconds. So the loop is short, and then they sleep, which costs nobody
anything, and after which the system gives them a processor at once.

A counter is two int64, zero at first, named by its address: a number, and how many sleep over it.
"""

import os
import platform
import sys
from collections.abc import Callable

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from lstmcore.ops.cpu.jitable import jitable
from lstmcore.ops.cpu.vector import INT64, at

SPIN = 500  # looks, some 30 us, before whoever waits goes to sleep: about as long as it takes to be woken
NAP = 50  # microseconds of sleep, where the system has no futex
SLEEPERS, COUNTER = 8, 16  # bytes from a counter to the number of those who sleep over it, and to the next counter
CALLS = {"x86_64": 202, "aarch64": 98, "riscv64": 98}  # Linux's number of the call "futex"
FUTEX = CALLS.get(platform.machine(), 0) if sys.platform == "linux" and sys.maxsize > 2**32 else 0
WAIT, WAKE = 128, 129  # FUTEX_WAIT_PRIVATE, FUTEX_WAKE_PRIVATE: threads of one process
INT32 = ir.IntType(32)
X86, ARM = ("llvm.x86.sse2.pause",), ("llvm.aarch64.isb", INT32(15))  # ARM's own hint, "yield", takes no time
PAUSES = {"x86_64": X86, "amd64": X86, "aarch64": ARM, "arm64": ARM}  # tens of nanoseconds each


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


def _call(builder, result, name, *given):
    """Calls a function of the system, which the linker finds by its name: nothing of where it lies is kept on disk."""
    kind = ir.FunctionType(result, [value.type for value in given])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), given)


@intrinsic
def _pause(typing):
    """Leaves the core to its other thread for a moment."""

    def generate(context, builder, signature, operands):
        if platform.machine().lower() in PAUSES:
            _call(builder, ir.VoidType(), *PAUSES[platform.machine().lower()])
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def _yield_processor(typing):
    """Leaves the processor to other threads."""

    def generate(context, builder, signature, operands):
        _call(builder, INT32, "sched_yield" if os.name == "posix" else "SwitchToThread")
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def _sleep_while(typing, counter, number):
    """Sleeps until `_wake` if the counter is `number`; or for a moment only."""

    def generate(context, builder, signature, operands):
        if FUTEX:
            counter, number = operands
            _call(builder, INT64, "syscall", INT64(FUTEX), counter, INT64(WAIT), number, *[INT64(0)] * 3)
        elif os.name == "posix":
            _call(builder, INT32, "usleep", INT32(NAP))
        else:
            _call(builder, INT32, "SwitchToThread")
        return context.get_dummy_value()

    return types.void(types.intp, types.intp), generate


@intrinsic
def _wake(typing, counter):
    """Wakes all who sleep over the counter."""

    def generate(context, builder, signature, operands):
        if FUTEX:
            given = operands[0], INT64(WAKE), INT64(2**31 - 1), *[INT64(0)] * 3
            _call(builder, INT64, "syscall", INT64(FUTEX), *given)
        return context.get_dummy_value()

    return types.void(types.intp), generate


@jitable
def linger(looks):
    """What a thread does that has looked for work `looks` times and found none."""
    if looks < SPIN:
        _pause()
    else:
        _yield_processor()


@jitable
def wait(counter, count):
    """Until the counter is `count` or more: in a loop at first, then asleep, as long as it takes."""
    looks = 0
    number = load_number(counter)
    while number < count:
        if looks < SPIN:
            _pause()
            looks += 1
        else:
            add_number(counter + SLEEPERS, 1)  # before the system looks at the counter; `arrive` goes the other way
            _sleep_while(counter, number)
            add_number(counter + SLEEPERS, -1)
        number = load_number(counter)


@jitable
def arrive(counter, count):
    """Takes a number; whoever makes the counter `count` wakes those who wait for that."""
    if take(counter) + 1 == count and load_number(counter + SLEEPERS) > 0:
        _wake(counter)


@jitable
def meet(counter, members, meeting):
    """Waits until `members` threads have called this for the `meeting`-th time."""
    if members > 1:
        arrive(counter, members * meeting)
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
            arrive(counters + COUNTER, count)
            i = take(counters)
        wait(counters + COUNTER, count)

    return together
