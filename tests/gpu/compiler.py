"""NVIDIA's compiler, without a GPU: what a kernel's text costs in registers on each generation of chips.

NVRTC from the wheel nvidia-cuda-nvrtc, which is also what CuPy compiles with on a GPU; called through its C interface.
"""

import ctypes
import functools
import importlib.metadata
import importlib.util
import json
import re
from pathlib import Path
from typing import NamedTuple

from gpu.kept import kept

from lstmcore.ops.gpu.launch import Defines, source

ARCHITECTURES = ("sm_80", "sm_90", "sm_100")  # A100, H100, B200
# As cupy_machine.py and CuPy itself ask for it.
OPTIONS = ("--std=c++17", "-ftz=true", "--device-as-default-execution-space", "--ptxas-options=-v")


class Usage(NamedTuple):
    """What one thread of a kernel takes."""

    registers: int
    stack_bytes: int  # local memory: spilled registers, and arrays that found no place in registers
    spilled_bytes: int


class Built(NamedTuple):
    """What the compiler made of a text."""

    words: str  # its own, with the figures
    instructions: dict[str, str]  # of each kernel, in PTX


class CompileError(Exception):
    """With the compiler's own words."""


@functools.cache
def nvrtc() -> ctypes.CDLL | None:
    """The library, or None where the wheel is not installed."""
    spec = importlib.util.find_spec("nvidia")
    folders = [Path(folder) for folder in spec.submodule_search_locations] if spec else []
    found = [path for folder in folders for path in sorted(folder.glob("*/lib/libnvrtc.so.*"))]
    if not found:
        return None
    for builtins in found[0].parent.glob("libnvrtc-builtins.so.*"):
        ctypes.CDLL(str(builtins))  # NVRTC asks for it by name alone: so it must be there before
    return ctypes.CDLL(str(found[0]))


def compiled(file: str, defines: Defines, architecture: str) -> dict[str, Usage]:
    """Compiles a file of ops/gpu/ to machine code for one generation: what each of its kernels takes."""
    return usages(build(source(file, defines), architecture).words)


def build(text: str, architecture: str) -> Built:
    """Compiles a text, or knows from before. Raises CompileError."""
    options = (f"--gpu-architecture={architecture}", *OPTIONS)

    def make(path: Path) -> None:
        path.write_text(json.dumps(_build(text, options)), encoding="utf-8")

    version = importlib.metadata.version("nvidia-cuda-nvrtc")
    return Built(*json.loads(kept(make, "nvrtc", version, text, *options).read_text(encoding="utf-8")))


def _build(text: str, options: tuple[str, ...]) -> Built:
    library, program = nvrtc(), ctypes.c_void_p()
    assert library is not None
    library.nvrtcCreateProgram(ctypes.byref(program), text.encode(), b"kernel.cu", 0, None, None)
    encoded = [option.encode() for option in options]
    failed = library.nvrtcCompileProgram(program, len(encoded), (ctypes.c_char_p * len(encoded))(*encoded))
    words = _told(library, "ProgramLog", program)
    ptx = "" if failed else _told(library, "PTX", program)
    library.nvrtcDestroyProgram(ctypes.byref(program))
    if failed:
        raise CompileError(words)
    return Built(words, dict(re.findall(r"\.entry (\w+)(.*?^})", ptx, re.DOTALL | re.MULTILINE)))


def _told(library: ctypes.CDLL, what: str, program: ctypes.c_void_p) -> str:
    """What nvrtcGetProgramLog or nvrtcGetPTX gives."""
    size = ctypes.c_size_t()
    getattr(library, f"nvrtcGet{what}Size")(program, ctypes.byref(size))
    text = ctypes.create_string_buffer(size.value)
    getattr(library, f"nvrtcGet{what}")(program, text)
    return text.value.decode()


def usages(log: str) -> dict[str, Usage]:
    """The figures in the compiler's words."""
    found = {}
    for entry in log.split("Compiling entry function ")[1:]:
        name = re.match(r"'(\w+)'", entry)
        stack = re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", entry)
        registers = re.search(r"Used (\d+) registers", entry)
        if not (name and stack and registers):
            raise CompileError(f"the compiler words its figures differently now:\n{entry}")
        found[name[1]] = Usage(int(registers[1]), int(stack[1]), int(stack[2]) + int(stack[3]))
    return found
