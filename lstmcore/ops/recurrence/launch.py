"""How a kernel gets from its text to a machine, and what the host side of every kernel is written against.

There are two machines: a GPU, through CuPy (launch_gpu.py), and the emulation of one on a CPU, on which the tests run
the same text under the same host code. The text lies in the folder cuda/, one kernel family per file.
"""

import re
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from lstmcore.arrays import Array

FOLDER = Path(__file__).parent / "cuda"

# What a kernel can be given: an array (its address; its strides are the kernel's business), nothing (a null pointer),
# or a number: int is a C int, np.int64 a C long long.
Argument = Array | int | np.int64 | None


class Kernel(Protocol):
    """A compiled kernel."""

    def __call__(self, grid: tuple[int, int], threads: int, shared_bytes: int, *arguments: Argument) -> None:
        """Runs `grid` blocks of `threads` threads, each block with so much dynamic shared memory."""
        ...

    def resident_blocks(self, threads: int, shared_bytes: int) -> int:
        """How many such blocks the whole machine can hold at once."""
        ...


class Machine(Protocol):
    """Where kernels run."""

    library: str  # whose arrays it takes: "cupy" or, emulated, "numpy"
    multiprocessors: int
    shared_limit: int  # bytes of dynamic shared memory that one block can have at most

    def compile(self, file: str, entry: str, defines: tuple[tuple[str, int], ...], together: bool = False) -> Kernel:
        """The kernel `entry` of a file of cuda/, with the named constants. Compiled once, then remembered.

        together: its blocks talk to each other, so all of them must be resident (a cooperative launch); a launch of
        more than fit raises LaunchError, and nothing runs.
        """
        ...


class LaunchError(RuntimeError):
    """A kernel that was not, or could not be, run."""


def source(file: str, defines: tuple[tuple[str, Any], ...] = ()) -> str:
    """The text of a file of cuda/: the constants first, and the files that it includes in their places, each once.

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
