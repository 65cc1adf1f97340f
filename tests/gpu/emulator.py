"""The machine of ops/gpu/launch.py on a CPU: kernels' text, compiled by g++ against emulator.h, over NumPy."""

import ctypes
import functools
import re
import shutil
import subprocess
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
from gpu.kept import kept

from lstmcore.ops.gpu.launch import LaunchError, source, struct

HERE = Path(__file__).parent
LETTERS = {"float32": "f", "float64": "d", "bool": "b", "uint8": "b", "int32": "i", "uint32": "u"}
OUTCOMES = (
    None,
    "the arguments are not those of the kernel",
    "deadlock: all threads that are left wait at barriers",
    "the kernel does not end",
)


def compiler() -> str | None:
    """Where g++ is; None if there is none."""
    return shutil.which("g++")


class Emulator:
    """`seed` draws the order in which threads and blocks run."""

    library = "numpy"

    def __init__(self, multiprocessors: int = 4, shared_limit: int = 227 * 1024, seed: int = 0):
        self.multiprocessors, self.shared_limit, self.seed = multiprocessors, shared_limit, seed
        self.launches: list[str] = []  # the entries of all kernels that ran, in order
        self.alarm = np.zeros(1, "uint32")

    def alarm_raised(self):
        raised = bool(self.alarm[0])
        self.alarm[:] = 0
        return raised

    def tf32_products(self):
        return nullcontext()  # NumPy has none

    def compile(self, file, entry, defines, together=False):
        return self.compile_text(source(file, defines), entry, together)

    def compile_text(self, text, entry, together=False):
        return Kernel(self, entry, getattr(_library(text), f"emulate_{entry}"), together)


class Address(int):
    """64 bits that may be a number or an address, as CuPy passes them."""


class Launch(ctypes.Structure):
    """As in emulator.h."""

    _fields_ = (
        *((name, ctypes.c_uint) for name in ("grid_x", "grid_y", "threads")),
        ("together", ctypes.c_int),
        ("seed", ctypes.c_uint),
        ("shared_bytes", ctypes.c_size_t),
        ("turns", ctypes.c_longlong),
    )


class Kernel:
    def __init__(self, machine: Emulator, entry: str, run: Callable[..., int], together: bool):
        self.machine, self.entry, self.run, self.together = machine, entry, run, together

    def resident_blocks(self, threads, shared_bytes):
        """One block per multiprocessor, as kernels that fill one have it."""
        fits = threads <= 1024 and shared_bytes <= self.machine.shared_limit
        return self.machine.multiprocessors if fits else 0

    def __call__(self, grid, threads, shared_bytes, *arguments, turns: int = 10**9):
        if threads > 1024 or shared_bytes > self.machine.shared_limit:
            raise LaunchError(f"{self.entry}: a block has no room for {threads} threads and {shared_bytes} bytes")
        if self.together and grid[0] * grid[1] > self.resident_blocks(threads, shared_bytes):
            raise LaunchError(f"{self.entry}: {grid[0] * grid[1]} blocks cannot be resident at once")
        letters, slots = "", []
        for value in arguments:
            if isinstance(value, tuple):
                value = struct(value, lambda array: array.ctypes.data)
            if value is None:
                letters, slot = letters + "0", ctypes.c_void_p(None)
            elif isinstance(value, np.ndarray) and value.dtype.kind == "V":
                letters, slot = letters + "w" * (value.nbytes // 8), (ctypes.c_char * value.nbytes).from_buffer(value)
            elif isinstance(value, np.ndarray):
                letters, slot = letters + LETTERS[value.dtype.name], ctypes.c_void_p(value.ctypes.data)
            elif isinstance(value, Address):
                letters, slot = letters + "*", ctypes.c_longlong(value)
            elif isinstance(value, np.int64):
                letters, slot = letters + "L", ctypes.c_longlong(int(value))
            else:
                letters, slot = letters + "I", ctypes.c_int(value)
                assert slot.value == value, f"{value} is no C int"
            slots.append(slot)
        addresses = (ctypes.c_void_p * len(slots))(*[ctypes.addressof(slot) for slot in slots])
        how = Launch(*grid, threads, int(self.together), self.machine.seed, shared_bytes, turns)
        outcome = self.run(ctypes.byref(how), letters.encode(), addresses)
        self.machine.launches.append(self.entry)
        if outcome:
            raise LaunchError(f"{self.entry}{grid} with arguments {letters}: {OUTCOMES[outcome]}")


@functools.cache
def _library(text: str) -> ctypes.CDLL:
    """The text as a shared library, with a way in for each of its kernels."""
    entries = re.findall(r'extern "C" __global__ void\s+(?:__launch_bounds__\(.*?\)\s+)?(\w+)\(', text)
    text += "".join(f"\nEMULATED_ENTRY({entry})" for entry in entries) + "\n"
    machine = _compiled("the emulator", (HERE / "emulator.cpp").read_text(), "-O2", "-c")
    return ctypes.CDLL(str(_compiled(" and ".join(entries), text, "-O1", "-shared", linked=machine)))


def _compiled(what: str, text: str, *options: str, linked: Path | None = None) -> Path:
    """What g++ makes of a text that may use emulator.h, linked with an object.

    -ffp-contract=off: multiplications and additions fuse only where the text says fmaf.
    """
    flags = ("-std=c++17", "-ffp-contract=off", "-U_FORTIFY_SOURCE", "-fPIC", *options)
    objects = () if linked is None else ("-x", "none", str(linked))

    def make(path: Path) -> None:
        given = ("-I", str(HERE), "-include", "emulator.h", "-x", "c++", "-", *objects, "-o", str(path))
        result = subprocess.run((str(compiler()), *flags, *given), input=text, capture_output=True, text=True)
        if result.returncode:
            raise LaunchError(f"g++ could not compile {what}:\n{result.stderr}")

    headers = [path.read_text() for path in sorted(HERE.glob("*.h"))]
    return kept(make, _version(), text, *headers, *flags, b"" if linked is None else linked.read_bytes())


@functools.cache
def _version() -> str:
    """Of the compiler, and the processor that it compiles for."""
    return subprocess.run((str(compiler()), "-v"), capture_output=True, text=True, check=True).stderr
