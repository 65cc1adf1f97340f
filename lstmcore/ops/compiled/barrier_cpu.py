"""A meeting point of threads inside compiled code: nobody goes on before all have come.

Threads that share one step of the recurrence meet once per step, every 50 to 2,000 microseconds. Handing out each step
from Python would cost some twenty more, so they wait in a loop on one counter.
"""

import os

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic, register_jitable

from lstmcore.ops.compiled.vector_cpu import INT64, at

PATIENCE = 2000  # looks at the counter before the processor is offered to others


@intrinsic
def _arrive(typing, counter):
    def generate(context, builder, signature, operands):
        return builder.atomic_rmw("add", at(builder, operands[0], INT64), INT64(1), "seq_cst")

    return types.intp(types.intp), generate


@intrinsic
def _arrivals(typing, counter):
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
def meet(counter, members, meeting):
    """Waits until `members` threads have called this for the `meeting`-th time; `counter` is the address of an
    int64.
    """
    if members > 1:
        _arrive(counter)
        looks = 0
        while _arrivals(counter) < members * meeting:
            looks += 1
            if looks > PATIENCE:
                _yield_processor()
