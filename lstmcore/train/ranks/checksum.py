"""A checksum of anything that a training is made of: where two are equal, so is what they are of."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from lstmcore.arrays import is_array, to_numpy

PIECE = 2**24  # bytes


def digest(value: object, met: dict[int, tuple[object, str]] | None = None) -> str:
    """A checksum of arrays, plain data, functions, and what is made of them; of what pickle cannot keep, such as a
    lock, only the kind counts. met: what has been seen, by id, which it holds: no other takes the id."""
    met, kind = {} if met is None else met, type(value).__qualname__
    if value is None or isinstance(value, str | bytes | int | float | complex):
        return f"{kind} {value!r}"
    if isinstance(value, ModuleType | type):
        return f"{kind} {getattr(value, '__module__', '')} {value.__name__}"
    if id(value) not in met:
        met[id(value)] = value, "again"  # inside itself
        sha = hashlib.sha256(kind.encode())
        if is_array(value) and not value.dtype.hasobject:
            sha.update(f"{value.dtype} {tuple(value.shape)}".encode())
            host = np.atleast_1d(to_numpy(value))
            each = max(1, PIECE // max(1, host[:1].nbytes))
            for k in range(0, len(host), each):  # it may lie on a disk, and be larger than the memory
                sha.update(host[k : k + each].tobytes())
        else:
            parts = [digest(part, met) for part in _parts_of(value)]
            for words in sorted(parts) if isinstance(value, set | frozenset) else parts:
                sha.update(f"\n{words}".encode(errors="backslashreplace"))
        met[id(value)] = value, sha.hexdigest()
    return met[id(value)][1]


def _parts_of(value: Any) -> Iterable[object]:
    """What it is made of."""
    if isinstance(value, Mapping):
        return [part for item in value.items() for part in item]
    if isinstance(value, list | tuple | set | frozenset):
        return value
    if isinstance(value, np.random.Generator):
        return [value.bit_generator.state]
    if isinstance(value, partial):
        return value.func, value.args, value.keywords
    if isinstance(value, MethodType):
        return value.__self__, value.__func__
    if isinstance(value, FunctionType):
        return _parts_of_function(value)
    if isinstance(value, CodeType):
        return value.co_code, value.co_names, value.co_consts
    if hasattr(value, "__dict__"):
        return [vars(value).get("__wrapped__", vars(value))]  # of compiled and cached functions: what they were made of
    try:
        kept = value.__reduce_ex__(4)
    except Exception:
        return []
    return [kept] if isinstance(kept, str) else [[*part] if isinstance(part, Iterator) else part for part in kept]


def _parts_of_function(function: FunctionType) -> Iterable[object]:
    """Its code, what it holds, and the plain values, arrays and functions of its own module that it names."""
    cells = []
    for cell in function.__closure__ or ():
        with suppress(ValueError):  # an empty one
            cells.append(cell.cell_contents)
    codes = [function.__code__]
    for code in codes:  # those inside come behind
        codes += [part for part in code.co_consts if isinstance(part, CodeType)]
    there = function.__globals__
    named = {name: there[name] for code in codes for name in code.co_names if name in there}
    own = {
        name: part
        for name, part in named.items()
        if is_array(part) or isinstance(part, str | bytes | int | float | complex)
        or (isinstance(part, FunctionType) and part.__module__ == function.__module__)
    }  # fmt: skip
    return function.__qualname__, codes, cells, function.__defaults__, function.__kwdefaults__, vars(function), own
