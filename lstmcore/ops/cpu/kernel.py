"""Compiled kernels: compiled once on a machine, loaded from disk in milliseconds afterwards.

A kernel is known by what was compiled: by its identity (identity.py), its signature, the versions of Python, NumPy,
Numba and LLVM, and the processor that Numba compiles for (target.py). An edit of any helper is another kernel, and one
that the kernel does not use is none. Of Python and NumPy the last number of the version does not count: within one
series neither changes what machine code sees of them.
"""

import contextlib
import functools
import hashlib
import inspect
import logging
import pickle
import sys
from collections.abc import Callable, Iterator

import llvmlite.binding
import numba
import numpy as np
from numba.core import cgutils, serialize, types
from numba.core.compiler import CompileResult
from numba.core.compiler_lock import global_compiler_lock
from numba.core.runtime.nrt import rtsys
from numba.extending import intrinsic

from lstmcore.ops.cpu import disk
from lstmcore.ops.cpu.crew import laid_out, shared
from lstmcore.ops.cpu.identity import UnknownContent, identity, named
from lstmcore.ops.cpu.jitable import FLAGS
from lstmcore.ops.cpu.target import levels, target

VERSIONS = (sys.implementation.cache_tag, np.__version__.split(".")[:2], numba.__version__, llvmlite.__version__)

logger: logging.Logger = logging.getLogger("lstmcore")
_count = 0  # of the kernels that this process has compiled
_told: set[str] = set()
_called: list[Callable] = []


def compile_kernel(
    function: Callable, name: str, signature: numba.core.typing.Signature, from_python: bool = True
) -> Callable:
    """`function`, compiled for this one signature, from disk if it has been compiled before.

    `name` says in words what it is, such as "lstm-forward-float32". from_python: whether Python will call it. What is
    compiled is told to the logger "lstmcore": the first kernel of a process as a warning, all as information.
    """
    flags = {**FLAGS, "no_cpython_wrapper": not from_python}
    try:
        known = signature.args, signature.return_type, sorted(flags.items(), key=str), VERSIONS, tuple(target())
        key = identity(function, *known)
    except UnknownContent as unknown:
        logger.warning("lstmcore: %s is made of %s; every process will compile it", name, unknown)
        key = ""
    named(function, key, name.replace("-", "_"))
    kernel = numba.njit(**flags)(function)
    with global_compiler_lock, contextlib.ExitStack() as until_saved:
        kernel._cache = _Disk(name, key, until_saved)
        kernel.compile(signature)
    kernel.disable_compile()  # another type of argument is a mistake, not a reason to compile
    return kernel


def compile_tasks(function: Callable, name: str, signature: numba.core.typing.Signature) -> Callable:
    """The kernel that does all tasks of a call, for `threads.run`: see crew.py.

    function(*arguments, task, memory) does one of them; `signature` is that of its arguments. Else as compile_kernel.
    """
    signature = types.void(*signature.args, types.intp, types.intp)
    one_task = compile_kernel(function, f"{name}-task", signature, from_python=False)
    compiled = one_task.overloads[signature.args]  # type: ignore[attr-defined]
    address = compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)
    every = types.intp(types.Tuple([types.intp, *signature.args[:-2], *[types.intp] * 5]))  # type: ignore[attr-defined]
    kernel = functools.partial(compile_kernel(shared(signature), f"{name}-tasks", every), address)
    kernel.one_task = one_task  # type: ignore[attr-defined]  # its code must live as long as its address
    return kernel


def compile_again(
    kernel: Callable, name: str, given: tuple[int, ...]
) -> tuple[Callable, Callable, tuple[int, Callable]]:
    """For a kernel of `compile_tasks` that is called again and again with most of its arguments the same: a function
    that lays those out in memory, (address, *arguments) -> bytes, and the kernel that finds them there: (address, *the
    arguments that are `given`, by their places), and as the other one from there on. And that one once more, for those
    who know that all is of the right type, shape and layout, which nobody asks then: the address of a task, and what
    takes it and all the others as one tuple.
    """
    (signature,) = kernel.one_task.nopython_signatures  # type: ignore[attr-defined]
    every = signature.args[:-2]
    kept = types.Tuple([kind for place, kind in enumerate(every) if place not in given])  # type: ignore[attr-defined]
    lay_out = compile_kernel(laid_out(), f"{name}-lay-out", types.intp(types.intp, kept))
    taken = types.Tuple([types.intp] * 2 + [every[place] for place in given] + [types.intp] * 5)  # type: ignore[attr-defined]
    again = compile_kernel(shared(signature, given), f"{name}-again", types.intp(taken))
    (address,), (compiled,) = kernel.args, again.overloads.values()  # type: ignore[attr-defined]
    return lay_out, functools.partial(again, address), (address, compiled.entry_point)


def compile_called(function: Callable, name: str, signature: numba.core.typing.Signature) -> Callable:
    """`function`, which returns nothing, as a kernel of its own that other kernels call: they hold its name, which says
    what it is made of, and none of its code. So it is compiled once for all of them. Else as compile_kernel.
    """
    kernel = compile_kernel(function, name, signature, from_python=False)
    compiled, symbol = kernel.overloads[signature.args], function.__qualname__  # type: ignore[attr-defined]
    address = compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)
    llvmlite.binding.add_symbol(symbol, address)
    _called.append(kernel)  # its code must live as long as its address

    def call(typing, *given):
        def generate(context, builder, _, operands):
            kind = context.call_conv.get_function_type(signature.return_type, signature.args)
            code = cgutils.get_or_insert_function(builder.module, kind, symbol)
            context.call_conv.call_function(builder, code, signature.return_type, signature.args, operands)
            return context.get_dummy_value()

        return signature, generate

    given = inspect.signature(function).parameters.values()
    call.__signature__ = inspect.signature(call).replace(  # type: ignore[attr-defined]
        parameters=[inspect.Parameter("typing", inspect.Parameter.POSITIONAL_OR_KEYWORD), *given]
    )
    return intrinsic(call)


class _Disk:
    """What Numba's dispatcher asks for a compiled function, and hands a newly compiled one. Without a key: nothing."""

    def __init__(self, name: str, key: str, until_saved: contextlib.ExitStack):
        self.name, self.key, self.until_saved = name, key, until_saved

    def load_overload(self, signature, target):
        if self.key:
            loaded, _ = self._load(target)
            if loaded is not None:
                return loaded
            self.until_saved.enter_context(disk.turn(self._file(target.codegen().magic_tuple())))
            loaded, problem = self._load(target)  # by whoever had their turn before
            if loaded is not None:
                return loaded
            if problem:
                _tell_once(f"lstmcore: a compiled kernel is compiled again: {problem}")
        self.until_saved.enter_context(_compiling_one(self.name))
        return None

    def save_overload(self, signature, result):
        if self.key:
            try:
                disk.save(self._file(result.codegen.magic_tuple()), serialize.dumps(_machine_code(result)))
            except OSError as error:
                if disk.is_filling():
                    raise
                _tell_once(f"lstmcore: compiled kernels cannot be kept on disk ({error}); every process compiles them")

    def _load(self, target):
        """For this processor; or for a level that it reaches (target.py), which the package may have come with."""
        own = target.codegen().magic_tuple()
        content, problem = disk.load(self._file(own))
        for level in levels():
            if content is None:
                content, another = disk.load(self._file((own[0], level, "")))
                problem = problem or another
        if content is None:
            return None, problem
        try:
            rtsys.initialize(target)  # memory for arrays; all else that compiling needs would take 0.3 s to load
            return CompileResult._rebuild(target, *pickle.loads(content)), ""
        except Exception as error:  # whole, but not what this Numba reads: what it held can be compiled again
            return None, f"{self.name} cannot be read ({error!r})"

    def _file(self, processor: tuple[str, str, str]) -> str:
        """processor: the system, the processor's name, and its features, as far as the name does not say them."""
        machine = hashlib.sha256(repr((self.key, processor)).encode()).hexdigest()
        return f"{self.name}-{machine[:32]}"


def _machine_code(result: CompileResult) -> tuple:
    """What Numba needs to load a kernel. What it would keep besides, three quarters of all, is the types of all values
    of its text, and its code for LLVM, to be put into other functions. Of that the names remain that it defines.
    """
    (name, kind, (code, _)), *rest = result._replace(type_annotation="")._reduce()
    linked = result.library._get_module_for_linking()
    defined = [value for value in (*linked.functions, *linked.global_variables) if not value.is_declaration]
    names = llvmlite.binding.parse_assembly("\n".join(f'@"{value.name}" = global i8 0' for value in defined))
    return (name, kind, (code, names.as_bitcode())), *rest


@contextlib.contextmanager
def _compiling_one(name: str) -> Iterator[None]:
    """Tells that a kernel is compiled: on a terminal, in one line that counts, as long as it takes."""
    global _count
    _count += 1
    logger.info("compiling %s", name)
    if sys.stderr is not None and sys.stderr.isatty() and not logger.hasHandlers():
        print(f"\rlstmcore: compiling kernel {_count}, once on this machine\033[K", end="", file=sys.stderr, flush=True)
        try:
            yield
        finally:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
    else:
        _tell_once("lstmcore: compiling kernels, once on this machine; the first run takes longer")
        yield


def _tell_once(message: str) -> None:
    kind = message.partition("(")[0]
    if kind not in _told:
        _told.add(kind)
        logger.warning(message)
