"""A stand-in for CuPy on a machine without a GPU: its arrays are NumPy's in a wrapper, and its kernels are emulated.

It is as strict as CuPy where code that was only ever run on NumPy goes wrong: a NumPy array never meets one of its
arrays, nothing is turned into a NumPy array unasked (`get` does it), and a single element is an array, too. What it
knows of CuPy's own interface is what cupy_machine.py uses, and graphs.py.
"""

import contextlib
import ctypes
import operator
import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
from gpu import graphs
from gpu.emulator import Address, Emulator

from lstmcore.ops.gpu.launch import LaunchError

MULTIPROCESSORS = 4


class ndarray(np.lib.mixins.NDArrayOperatorsMixin):
    __module__ = "cupy"

    def __init__(self, values: np.ndarray):
        self.values = values

    def get(self) -> np.ndarray:
        graphs.ask()
        return self.values.copy()

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`")

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        function = ufunc if method == "__call__" else getattr(ufunc, method)
        return wrapped(graphs.run(function, bare(inputs), bare(options)))

    def __array_function__(self, function: Any, _: Any, arguments: tuple, options: dict) -> Any:
        return wrapped(graphs.run(function, bare(arguments), bare(options)))

    def __getitem__(self, key: Any) -> "ndarray":
        return ndarray(np.asarray(graphs.run(operator.getitem, (self.values, bare(key)), {})))

    def __setitem__(self, key: Any, value: Any) -> None:
        graphs.run(operator.setitem, (self.values, bare(key), bare(value)), {})

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return method(getattr(self.values, name))

    @property
    def data(self) -> SimpleNamespace:
        return SimpleNamespace(ptr=self.values.ctypes.data)

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator["ndarray"]:
        return (self[k] for k in range(len(self.values)))

    def __bool__(self) -> bool:
        return bool(self.get())

    def __int__(self) -> int:
        return int(self.get())

    def __float__(self) -> float:
        return float(self.get())

    def __index__(self) -> int:
        return self.get().__index__()

    def __copy__(self) -> "ndarray":
        return ndarray(graphs.run(np.copy, (self.values,), {}))

    def __deepcopy__(self, _: Any) -> "ndarray":
        return self.__copy__()

    def __repr__(self) -> str:
        return repr(self.values)


def bare(tree: Any) -> Any:
    """Wrapped arrays bare, at any depth; a NumPy array among them is refused."""
    if isinstance(tree, ndarray):
        return tree.values
    if isinstance(tree, np.ndarray):
        raise TypeError("Unsupported type <class 'numpy.ndarray'>")
    if isinstance(tree, tuple | list):
        return type(tree)(bare(part) for part in tree)
    return {name: bare(part) for name, part in tree.items()} if isinstance(tree, dict) else tree


def wrapped(tree: Any) -> Any:
    if isinstance(tree, np.ndarray | np.generic):
        return ndarray(np.asarray(tree))
    return type(tree)(wrapped(part) for part in tree) if type(tree) in (tuple, list) else tree


def method(value: Any) -> Any:
    """A function of NumPy's that takes and gives wrapped arrays; what is no function only wrapped."""
    if not callable(value) or isinstance(value, type):
        return wrapped(value)

    def call(*arguments: Any, **options: Any) -> Any:
        return wrapped(graphs.run(value, bare(arguments), bare(options)))

    for name in set(dir(value)) & {"at", "reduce", "accumulate"}:
        setattr(call, name, method(getattr(value, name)))
    return call


class CompileException(Exception):
    pass


class CUDADriverError(RuntimeError):
    pass


class RawKernel:
    """What RawModule.get_function gives: a kernel on the emulated machine."""

    def __init__(self, kernel: Any, name: str, together: bool):
        self.emulated, self.name, self.enable_cooperative_groups = kernel, name, together
        self.kernel = SimpleNamespace(ptr=self)
        self.max_dynamic_shared_size_bytes = 48 * 1024

    def __call__(self, grid: tuple, block: tuple, arguments: tuple, *, shared_mem: int = 0) -> None:
        assert len(grid) == len(block) == 3
        if shared_mem > self.max_dynamic_shared_size_bytes:
            raise CUDADriverError("CUDA_ERROR_INVALID_VALUE: invalid argument")
        for value in arguments:
            allowed = isinstance(value, ndarray | np.int32 | np.int64) or is_struct(value)
            assert allowed, f"CuPy would pass {value!r} as 64 bits"
        passed = (
            v.values if isinstance(v, ndarray) else Address(int(v)) if isinstance(v, np.int64) else
            v if is_struct(v) else int(v) for v in arguments
        )  # fmt: skip
        launch = (grid[:2], block[0], shared_mem, *passed)
        if (graph := graphs.recording()) is None:
            self.emulated(*launch)
        else:
            graph.kernel(self.name, self.emulated, launch)


def is_struct(value: Any) -> bool:
    """What CuPy passes by value: a host array of one item."""
    return isinstance(value, np.ndarray) and value.size == 1


class RawModule:
    def __init__(self, *, code: str, options: tuple[str, ...], enable_cooperative_groups: bool = False):
        assert all(option.startswith("-") for option in options)
        self.code, self.together = code, enable_cooperative_groups

    def get_function(self, name: str) -> RawKernel:
        try:
            return RawKernel(machine.compile_text(self.code, name, self.together), name, self.together)
        except LaunchError as error:
            raise CompileException(str(error)) from error


machine = Emulator(MULTIPROCESSORS)


def occupancy(kernel: RawKernel, threads: int, shared_bytes: int) -> int:
    return kernel.emulated.resident_blocks(threads, shared_bytes) // MULTIPROCESSORS


class PinnedMemory(ctypes.c_uint32):
    @property
    def ptr(self) -> int:
        return ctypes.addressof(self)


class Device:
    id = 0
    attributes = {  # noqa: RUF012 (as CuPy has it)
        "MultiProcessorCount": MULTIPROCESSORS,
        "MaxSharedMemoryPerBlockOptin": machine.shared_limit,
        "CooperativeLaunch": 1,
    }

    def __init__(self, _: int = 0):
        pass

    def synchronize(self) -> None:
        """Emulated kernels have run when their launch returns."""


class ComputeTypes:
    """How CuPy multiplies matrices; it remembers what was asked for."""

    COMPUTE_TYPE_TF32 = 3

    def __init__(self) -> None:
        self.asked = [0]

    def get_compute_type(self, dtype: str) -> int:
        assert dtype == "f"
        return self.asked[-1]

    def set_compute_type(self, dtype: str, kind: int) -> None:
        assert dtype == "f"
        self.asked.append(kind)


def asarray(value: Any, dtype: Any = None, order: Any = None, *, copy: bool | None = None) -> ndarray:
    """From a host array too: this is the way to the GPU, and always copies."""
    if isinstance(value, ndarray):
        how = {"dtype": dtype, "order": order, "copy": copy}
        return ndarray(graphs.run(np.asarray, (value.values,), how))
    graphs.ask()
    return ndarray(np.array(value, dtype=dtype, order=order))


class Module(ModuleType):
    """`cupy`: its own few things, else NumPy's functions over wrapped arrays."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return method(getattr(np, name))


@contextlib.contextmanager
def installed() -> Iterator[Module]:
    """As if CuPy were there. What imported it is forgotten again."""
    cupy, cuda, core = Module("cupy"), ModuleType("cupy.cuda"), ModuleType("cupy._core")
    vars(core)["_routines_linalg"] = ComputeTypes()
    vars(cupy).update(
        ndarray=ndarray,
        asarray=asarray,
        array=asarray,
        RawModule=RawModule,
        RawKernel=lambda code, name: None,
        cuda=cuda,
    )
    vars(cuda).update(
        Device=Device,
        Stream=graphs.Stream,
        MemoryPool=graphs.MemoryPool,
        get_current_stream=graphs.get_current_stream,
        using_allocator=graphs.using_allocator,
        runtime=SimpleNamespace(CUDARuntimeError=graphs.CUDARuntimeError),
        alloc_pinned_memory=lambda size: PinnedMemory(),
        compiler=SimpleNamespace(CompileException=CompileException),
        driver=SimpleNamespace(CUDADriverError=CUDADriverError, occupancyMaxActiveBlocksPerMultiprocessor=occupancy),
    )
    names = ("cupy", "cupy.cuda", "cupy._core", "lstmcore.ops.gpu.cupy_machine")
    before = {name: sys.modules.pop(name, None) for name in names}
    sys.modules |= {"cupy": cupy, "cupy.cuda": cuda, "cupy._core": core}
    try:
        yield cupy
    finally:
        for name in names:
            sys.modules.pop(name, None)
            if before[name] is not None:
                sys.modules[name] = before[name]  # type: ignore[assignment]
