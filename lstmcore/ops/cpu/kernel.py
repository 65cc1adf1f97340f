"""Compiled kernels, kept on disk: compiled once on a machine, loaded in milliseconds afterwards.

Numba's own cache looks at the one file in which a kernel stands. A kernel here is put together from many (the cell's
step, the maths, the tile), so an edit of tanh would go unnoticed and old machine code would run. This cache names each
file by a hash of every source file that its kernel is made of, the versions of Numba and LLVM, the machine's features
and the signature. Another source, another name: stale code cannot be found.
"""

import functools
import hashlib
import logging
import os
import pickle
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import llvmlite
import numba
from numba.core import serialize, types
from numba.core.compiler import CompileResult
from numba.core.runtime.nrt import rtsys

from lstmcore.ops.cpu.crew import shared

FOLDER = Path(__file__).resolve().parent
BESIDE = FOLDER / "__pycache__"
FLAGS = {
    "nogil": True,  # several threads of Python run kernels side by side
    "error_model": "numpy",  # a division that may raise is not vectorised
    "fastmath": {"contract"},  # a * b + c in one rounding; nothing that assumes that there is no NaN
}

logger = logging.getLogger("lstmcore")
_compiling = threading.Lock()


def compile_kernel(
    function: Callable, name: str, signature: numba.core.typing.Signature, sources: tuple[Path, ...]
) -> Callable:
    """`function`, compiled for this one signature, from disk if it has been compiled before.

    `name` says in words what it is, such as "lstm-forward-float32"; kernels made by one function differ in their names.
    `sources` are the files that it is made of, or folders of them. Before each compilation one line goes to the logger
    "lstmcore", which shows it on stderr unless it is told otherwise.
    """
    function.__qualname__ = name.replace("-", "_")  # see jitable.py
    kernel = numba.njit(**FLAGS)(function)
    kernel._cache = _Disk(name, source_hash(sources))
    with _compiling:
        kernel.compile(signature)
    kernel.disable_compile()  # another type of argument is a mistake, not a reason to compile
    return kernel


def compile_tasks(
    function: Callable, name: str, signature: numba.core.typing.Signature, sources: tuple[Path, ...]
) -> Callable:
    """The kernel that does all tasks of a call, for `threads.run`: see crew.py.

    function(*arguments, task, memory) does one of them; `signature` is that of its arguments. Else as compile_kernel.
    """
    signature = types.void(*signature.args, types.intp, types.intp)
    one_task = compile_kernel(function, f"{name}-task", signature, sources)
    compiled = one_task.overloads[signature.args]  # type: ignore[attr-defined]
    address = compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)
    every = types.intp(types.Tuple([types.intp, *signature.args[:-2], *[types.intp] * 5]))  # type: ignore[attr-defined]
    kernel = functools.partial(compile_kernel(shared(signature), f"{name}-tasks", every, (FOLDER,)), address)
    kernel.one_task = one_task  # type: ignore[attr-defined]  # its code must live as long as its address
    return kernel


class _Disk:
    """What Numba's dispatcher asks for a compiled function, and hands a newly compiled one."""

    def __init__(self, name: str, sources: str):
        self.name, self.sources = name, sources

    def load_overload(self, signature, target):
        try:
            content = self._path(signature, target.codegen()).read_bytes()
            rtsys.initialize(target)  # memory for arrays; all else that compiling needs would take 0.3 s to load
            return CompileResult._rebuild(target, *pickle.loads(content))
        except FileNotFoundError:
            logger.warning("lstmcore: compiling %s, once on this machine", self.name)
        except Exception as error:  # a damaged file is no reason to fail: what it held can be compiled again
            logger.warning("lstmcore: compiling %s again, its file cannot be read (%s)", self.name, error)
        return None

    def save_overload(self, signature, result):
        path = self._path(signature, result.codegen)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            for old in path.parent.glob(f"{self.name}-*.kernel"):
                old.unlink(missing_ok=True)  # made of sources that are no more
            with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
                file.write(serialize.dumps(result._reduce()))
            os.replace(file.name, path)  # in one move: another process finds the whole file or none
        except OSError as error:
            logger.warning("lstmcore: %s cannot be kept on disk (%s); every process will compile it", self.name, error)

    def _path(self, signature, codegen) -> Path:
        parts = (self.sources, numba.__version__, llvmlite.__version__, codegen.magic_tuple(), signature)
        key = hashlib.sha256(repr(parts).encode()).hexdigest()
        return directory() / f"{self.name}-{key[:32]}.kernel"


@functools.cache
def source_hash(sources: tuple[Path, ...]) -> str:
    """One hash over the names and texts of the files `sources`, and of the Python files in those that are folders."""
    digest = hashlib.sha256()
    for source in sources:
        for path in sorted(source.glob("*.py")) if source.is_dir() else [source]:
            text = path.read_bytes()
            digest.update(f"{path.name} {len(text)}\n".encode() + text)
    return digest.hexdigest()


@functools.cache
def directory() -> Path:
    """Where compiled kernels lie: beside the sources, or in the user's cache where those cannot be written."""
    if os.access(BESIDE if BESIDE.exists() else BESIDE.parent, os.W_OK):
        return BESIDE
    home = Path(os.environ.get("LOCALAPPDATA") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "lstmcore"
