"""Functions that kernels call, under names that tell them apart.

Machine code that was compiled in two processes may meet in a third, and the linker knows functions by name alone: of
two functions with one name it keeps the first. Numba's names hold the function's qualified name, the types of its
arguments and a number that starts again in every process. A function made by a factory, such as the product tile of
float32, has the same name as its sibling of float64. So the hash of what the function is made of goes into the name.
"""

import contextlib
from collections.abc import Callable
from types import CellType, FunctionType, ModuleType

import numba
from numba.core.dispatcher import Dispatcher
from numba.extending import register_jitable

from lstmcore.ops.cells.symbol import Number
from lstmcore.ops.cpu.identity import UnknownContent, by_name, identity, named, named_values, replaced, settled

FLAGS = {
    "nogil": True,  # several threads of Python run kernels side by side
    "error_model": "numpy",  # a division that may raise is not vectorised
    "fastmath": {"contract"},  # a * b + c in one rounding; nothing that assumes that there is no NaN
    "no_cfunc_wrapper": True,  # nobody calls them from C
}


def jitable(function: Callable) -> Callable:
    """Decorator: `function` may be called from kernels. What it calls in turn should be defined before it."""
    return _registered(function, forceinline=False)


def inlined(function: Callable) -> Callable:
    """The same; its machine code is put where it is called, and fitted to arguments that are constants there."""
    return _registered(function, forceinline=True)


def pick(places: tuple[int, ...]) -> Callable[[tuple[Number, ...]], tuple[Number, ...]]:
    """values -> those at some places, as a tuple; both are tuples in kernels too."""
    first = places[0]

    @jitable
    def one(values):
        return (values[first],)

    if len(places) == 1:
        return one
    others = pick(places[1:])

    @jitable
    def more(values):
        return one(values) + others(values)

    return more


def _registered(function: Callable, **options: object) -> Callable:
    options |= {**FLAGS, "no_cpython_wrapper": True}  # as kernels have them: for every other caller Numba compiles anew
    try:
        settled[function] = identity(function, sorted(options.items()))
    except UnknownContent:  # nothing made of it goes to disk
        named(function, "")
    else:
        named(function, settled[function])
    return register_jitable(**options)(function)


def copied(function: FunctionType) -> Callable:
    """A copy of a user's function to be called from kernels, with copies of the functions that it calls in turn.

    Numba compiles a function once in a process, and the values of its names are fixed from then on. The copy is
    compiled with their present values; and the functions that it calls need not have been made for Numba.
    """
    return _copy(function, {})


def _copy(function: FunctionType, copies: dict[FunctionType, Callable]) -> Callable:
    if function in copies:
        return copies[function]
    code, cells = function.__code__, {name: CellType() for name in function.__code__.co_freevars}
    scope = {**function.__globals__}
    copy = FunctionType(code, scope, function.__name__, None, tuple(cells.values()))
    copies[function] = copy
    copy.__defaults__ = _called(function.__defaults__, copies)  # type: ignore[assignment]
    copy.__kwdefaults__, copy.__qualname__ = function.__kwdefaults__, function.__qualname__
    for name, cell in zip(code.co_freevars, function.__closure__ or ()):
        with contextlib.suppress(ValueError):  # a name without a value so far
            cells[name].cell_contents = cell.cell_contents
    for kind, name, taken, value in named_values(function):
        called = _called(value, copies)
        if called is value:
            continue
        if kind == "free":
            cells[name].cell_contents = _with(cells[name].cell_contents, taken, called)
        elif name in scope:
            scope[name] = _with(scope[name], taken, called)
    return jitable(copy)


def _called(value: object, copies: dict[FunctionType, Callable]) -> object:
    """The copy of a function of Python or Numba, or of a tuple that holds some; anything else as it is."""
    if isinstance(value, FunctionType) and not (value in settled or by_name(value.__module__ or "") or replaced(value)):
        return _copy(value, copies)
    if isinstance(value, Dispatcher) and not by_name(value.py_func.__module__ or ""):
        return numba.jit(**value.targetoptions)(_copy(value.py_func, copies))
    if isinstance(value, tuple):
        items = tuple([_called(item, copies) for item in value])
        if any(item is not old for item, old in zip(items, value)):
            return type(value)._make(items) if hasattr(value, "_fields") else items  # type: ignore[attr-defined]
    return value


def _with(owner: object, taken: tuple[str, ...], value: object) -> object:
    """`value` in place of what is taken of `owner`: of a copy of it, where that is a module."""
    if not taken:
        return value
    copy = ModuleType(owner.__name__)  # type: ignore[attr-defined]
    vars(copy).update(vars(owner))
    setattr(copy, taken[0], _with(getattr(owner, taken[0]), taken[1:], value))
    return copy
