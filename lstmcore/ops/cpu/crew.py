"""Threads that share the tasks of a call inside compiled code, without the interpreter's lock.

A call puts its work into a *box*: where its machine code is, where its arguments lie, how many tasks there are. Then it
opens the box and takes tasks, one after the other; helpers that watch the box take tasks too. No Python runs between
two tasks, and a helper that is watching begins within a microsecond. Waking a sleeping thread takes tens of
microseconds, on a virtual machine a hundred.

The box is int64 numbers, a cache line apart, named by its address. Its arguments lie on the stack of the call, which
therefore closes the box and waits until no helper is inside before it returns.
"""

from collections.abc import Callable, Sequence

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from lstmcore.ops.cpu.barrier import add_number, arrive, linger, load_number, store_number, take, wait
from lstmcore.ops.cpu.jitable import jitable
from lstmcore.ops.cpu.vector import INT64, at

PATIENCE = 5000  # looks, about a millisecond: helpers should not go to sleep between the passes of a training step
LINE = 8  # numbers in a cache line
OPEN, CODE, ARGUMENTS, TASKS, MEMORY, SIZE, WANTED, NEXT, DONE, FAILED, ENTERED, INSIDE = (
    8 * LINE * k for k in range(12)  # bytes from the start of the box
)  # fmt: skip


def new_box() -> np.ndarray:
    """A closed box."""
    return np.zeros(12 * LINE, np.int64)


TASK = ir.FunctionType(INT64, [INT64, INT64, INT64])  # arguments, task, memory -> 1 if it failed


@intrinsic
def _call(typing, code, arguments, task, memory):
    def generate(context, builder, signature, operands):
        code, *given = operands
        return builder.call(builder.inttoptr(code, TASK.as_pointer()), given)

    return types.intp(*[types.intp] * 4), generate


@jitable
def _work(box, memory):
    """Takes tasks until there are none left."""
    code, arguments, tasks = load_number(box + CODE), load_number(box + ARGUMENTS), load_number(box + TASKS)
    task = take(box + NEXT)
    while task < tasks:
        if _call(code, arguments, task, memory):
            take(box + FAILED)
        arrive(box + DONE, tasks)
        task = take(box + NEXT)


@jitable
def _share(box, code, arguments, tasks, helpers, memory, size):
    """Does all tasks, with at most `helpers` helpers; how many failed."""
    store_number(box + CODE, code)
    store_number(box + ARGUMENTS, arguments)
    store_number(box + TASKS, tasks)
    store_number(box + MEMORY, memory)
    store_number(box + SIZE, size)
    store_number(box + WANTED, helpers)
    store_number(box + NEXT, 0)
    store_number(box + DONE, 0)
    store_number(box + FAILED, 0)
    store_number(box + ENTERED, 0)
    store_number(box + OPEN, 1)
    _work(box, memory)
    wait(box + DONE, tasks)
    store_number(box + OPEN, 0)
    wait(box + INSIDE, 0)  # helpers that come now find it closed
    return load_number(box + FAILED)


def watch(box):
    """Helps with every call, until there was nothing to do for PATIENCE looks; to be compiled."""
    looks = 0
    while looks < PATIENCE:
        if load_number(box + OPEN) and load_number(box + NEXT) < load_number(box + TASKS):
            add_number(box + INSIDE, -1)  # a number below zero, as far as helpers are inside
            if load_number(box + OPEN):
                place = take(box + ENTERED) + 1  # whose memory is the caller's own: 0
                if place <= load_number(box + WANTED):
                    _work(box, load_number(box + MEMORY) + place * load_number(box + SIZE))
            arrive(box + INSIDE, 0)
            looks = 0
        else:
            linger(looks)
            looks += 1


def laid_out() -> Callable:
    """The function, to be compiled, that lays out arguments of a task, for `shared`: (address, *arguments) -> bytes
    that they take; address 0: nothing is written. Whoever calls it keeps the arrays alive.
    """

    @intrinsic
    def store(typing, address, arguments):
        def generate(context, builder, _, operands):
            address, content = operands
            for k, kind in enumerate(arguments):
                if isinstance(kind, types.Array):  # what counts the array's users lives as long as this call alone
                    array = context.make_array(kind)(context, builder, builder.extract_value(content, k))
                    array.meminfo = cgutils.get_null_value(array.meminfo.type)
                    content = builder.insert_value(content, array._getvalue(), k)
            with builder.if_then(builder.icmp_signed("!=", address, INT64(0))):
                builder.store(content, at(builder, address, content.type), align=8)
            return INT64(context.get_abi_sizeof(content.type))

        return types.intp(address, arguments), generate

    def lay_out(address, *arguments):
        return store(address, arguments)

    return lay_out


def shared(signature: numba.core.typing.Signature, given: Sequence[int] = ()) -> Callable:
    """The function, to be compiled, that does all tasks of a call: (address of the machine code of a task, *arguments,
    box, tasks, helpers, memory, bytes of it for each) -> how many failed.

    signature: of a task, which are the arguments, the number of the task, and its memory. given: if only these
    arguments differ from call to call, by their places; in place of the first one come where `laid_out` has put all
    others, and these.
    """
    every = signature.args[:-2]
    free = [every[place] for place in given] if given else [*every]
    bound = types.Tuple([kind for place, kind in enumerate(every) if place not in given])  # type: ignore[attr-defined]
    given_types = types.Tuple([types.intp, *([types.intp] if given else []), *free])  # type: ignore[attr-defined]
    addresses = types.UniTuple(types.intp, 2)  # type: ignore[attr-defined]
    count = len(given_types)

    def merged(context, builder, values):
        """All arguments in their order, at the place of a call."""
        if not given:
            return values
        place, *values = values
        kind = context.get_value_type(bound)
        known = iter(cgutils.unpack_tuple(builder, builder.load(at(builder, place, kind), align=8)))
        return [values[given.index(k)] if k in given else next(known) for k in range(len(every))]

    @intrinsic
    def publish(typing, given):
        """The address of a function that finds everything in one place, and that place, on the caller's stack."""

        def generate(context, builder, _, operands):
            place = cgutils.alloca_once_value(builder, operands[0])
            function = ir.Function(builder.module, TASK, "task_from_box")
            function.linkage = "internal"
            body = ir.IRBuilder(function.append_basic_block())
            arguments, task, memory = function.args
            content = body.load(body.inttoptr(arguments, operands[0].type.as_pointer()))
            code, *values = cgutils.unpack_tuple(body, content)
            values = merged(context, body, values)
            kind = context.call_conv.get_function_type(signature.return_type, signature.args).as_pointer()
            status, _ = context.call_conv.call_function(
                body, body.inttoptr(code, kind), signature.return_type, signature.args, [*values, task, memory]
            )
            body.ret(body.zext(status.is_error, INT64))
            return context.make_tuple(
                builder, addresses, [builder.ptrtoint(function, INT64), builder.ptrtoint(place, INT64)]
            )

        return addresses(given_types), generate

    def all_tasks(*given):
        code, place = publish(given[:count])
        box, tasks, helpers, memory, size = given[count:]
        if helpers > 0:
            return _share(box, code, place, tasks, helpers, memory, size)
        failed = 0
        for task in range(tasks):
            failed += _call(code, place, task, memory)
        return failed

    return all_tasks
