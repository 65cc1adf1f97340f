"""How a kernel gets from its text to a machine, and what the host side of every kernel is written against.

There are two machines: a GPU, through CuPy (cupy_machine.py), and the emulation of one on a CPU, on which the tests run
the same text under the same host code. The text lies beside this file: a kernel family in each .cu, and what they share
in the .cuh.
"""

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np

from lstmcore.arrays import Array, dtype_name, namespace

FOLDER = Path(__file__).parent

# What a kernel can be given: an array (its address; its strides are the kernel's business), nothing (a null pointer),
# a number (int is a C int, np.int64 a C long long), or a tuple of these but for int: a C struct, passed by value.
Struct: TypeAlias = "tuple[Array | np.int64 | Struct | None, ...]"
Argument: TypeAlias = "Array | int | np.int64 | Struct | None"
Defines = tuple[tuple[str, int | str], ...]  # constants of a kernel's text, by name
REAL = {"float32": "float", "float64": "double"}  # what texts for either call their numbers


class Kernel(Protocol):
    """A compiled kernel."""

    def __call__(self, grid: tuple[int, int], threads: int, shared_bytes: int, *arguments: Argument) -> None:
        """Runs `grid` blocks of `threads` threads, each block with so much dynamic shared memory."""

    def resident_blocks(self, threads: int, shared_bytes: int) -> int:
        """How many such blocks the whole machine can hold at once."""


class Machine(Protocol):
    """Where kernels run."""

    library: str  # whose arrays it takes: "cupy" or, emulated, "numpy"
    multiprocessors: int
    shared_limit: int  # bytes of dynamic shared memory that one block can have at most
    alarm: Argument  # a word in the memory of the host, which a kernel sets to 1 if its results are worth nothing

    def alarm_raised(self) -> bool:
        """Whether a kernel did that since somebody last asked. Waits for no kernel."""

    def tf32_products(self) -> AbstractContextManager[None]:
        """Inside it, the array library's products of float32 matrices may round their factors to 11 bits."""

    def compile(self, file: str, entry: str, defines: Defines, together: bool = False) -> Kernel:
        """The kernel `entry` of a file of this folder, with the named constants. Compiled once, then remembered.

        together: its blocks talk to each other, so all of them must be resident (a cooperative launch); a launch of
        more than fit raises LaunchError, and nothing runs.
        """


def kernel_in(machine: Machine, file: str, entry: str, dtype: object, *defines: tuple[str, int | str]) -> Kernel:
    """The kernel whose text calls its numbers REAL, in this dtype."""
    return machine.compile(file, entry, (("REAL", REAL[dtype_name(dtype)]), *defines))


class LaunchError(RuntimeError):
    """A kernel that was not, or could not be, run."""


def source(file: str, defines: Defines = ()) -> str:
    """The text of a file of this folder: the constants first, and what it includes in its place, each file once.

    One self-contained text, so that every compiler needs nothing else, and caches that go by the text go right.
    """
    seen: set[str] = set()

    def expanded(name: str) -> str:
        if name in seen:
            return ""
        seen.add(name)
        text = (FOLDER / name).read_text(encoding="utf-8")
        return re.sub(r'^#include "([^"]+)"\n', lambda match: expanded(match[1]), text, flags=re.MULTILINE)

    constants = "".join(f"#define {name} {value}\n" for name, value in defines)
    return constants + expanded(file)


def struct(fields: Struct, address: Callable[[Array], int]) -> np.ndarray:
    """The bytes of a C struct, as an array of one item. Every field takes 8 bytes; a tuple is a struct within it."""
    values = np.array(_words(fields, address), np.int64)
    return values.view(f"V{values.nbytes}")


def _words(fields: Struct, address: Callable[[Array], int]) -> list[int]:
    words = []
    for field in fields:
        if field is None:
            words.append(0)
        elif isinstance(field, tuple):
            words += _words(field, address)
        else:
            words.append(int(field) if isinstance(field, np.int64) else address(field))
    return words


def contiguous(array: Array) -> Array:
    """The array itself, or a copy without gaps."""
    return namespace(array).ascontiguousarray(array)
