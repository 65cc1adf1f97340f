"""The machine of launch.py that is a GPU: kernels compiled by NVRTC and launched on the current stream, by CuPy.

CuPy keeps what it compiles on disk, under a hash of the text. It compiles with -ftz=true: numbers below 1.2e-38 count
as zero, here and wherever the project compiles the same text.
"""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import cupy
import numpy as np
from cupy.cuda import driver

from lstmcore.ops.gpu.launch import Argument, Defines, LaunchError, source, struct

OPTIONS = ("--std=c++17",)


@functools.cache
def machine(device: int) -> "Gpu":
    """The GPU of that number."""
    return Gpu(device)


def current_machine() -> "Gpu":
    """The GPU that CuPy works on now."""
    return machine(cupy.cuda.Device().id)


class Gpu:
    """One GPU; `extra`: constants for every kernel. Raises LaunchError where one cannot be compiled or launched."""

    library = "cupy"

    def __init__(self, device: int, extra: Defines = ()):
        attributes = cupy.cuda.Device(device).attributes
        self.multiprocessors: int = attributes["MultiProcessorCount"]
        self.shared_limit: int = attributes["MaxSharedMemoryPerBlockOptin"]
        self.talks_between_blocks = bool(attributes["CooperativeLaunch"])
        self.extra = extra
        self._kernels: dict[tuple, GpuKernel] = {}
        memory = cupy.cuda.alloc_pinned_memory(4)  # the GPU sees it at the same address
        self.alarm: Argument = np.int64(memory.ptr)
        self._alarm = np.frombuffer(memory, np.uint32, 1)
        self._alarm[:] = 0

    def alarm_raised(self) -> bool:
        raised = bool(self._alarm[0])
        self._alarm[0] = 0
        return raised

    @contextmanager
    def tf32_products(self) -> Iterator[None]:
        """By CuPy's own switch, which has no public name yet; a CuPy without it computes in IEEE float32."""
        try:
            from cupy._core import _routines_linalg as linalg

            tf32, before = linalg.COMPUTE_TYPE_TF32, linalg.get_compute_type("f")
        except (ImportError, AttributeError):
            yield
            return
        linalg.set_compute_type("f", tf32)
        try:
            yield
        finally:
            linalg.set_compute_type("f", before)

    def compile(self, file: str, entry: str, defines: Defines, together: bool = False) -> "GpuKernel":
        key = (file, entry, defines, together)
        if key not in self._kernels:
            if together and not self.talks_between_blocks:
                raise LaunchError(f"{entry}: this GPU has no cooperative launches")
            module = cupy.RawModule(
                code=source(file, (*self.extra, *defines)), options=OPTIONS, enable_cooperative_groups=together
            )
            try:
                self._kernels[key] = GpuKernel(self, module.get_function(entry))
            except (cupy.cuda.compiler.CompileException, driver.CUDADriverError) as error:
                raise LaunchError(f"{entry} could not be compiled for this GPU: {error}") from error
        return self._kernels[key]


class GpuKernel:
    gpu: Gpu
    function: cupy.RawKernel
    shared_bytes: int

    def __init__(self, gpu: Gpu, function: cupy.RawKernel):
        self.gpu, self.function, self.shared_bytes = gpu, function, 48 * 1024  # what every kernel may have unasked

    def resident_blocks(self, threads: int, shared_bytes: int) -> int:
        self._allow(shared_bytes)
        each = driver.occupancyMaxActiveBlocksPerMultiprocessor(self.function.kernel.ptr, threads, shared_bytes)
        return each * self.gpu.multiprocessors

    def __call__(self, grid: tuple[int, int], threads: int, shared_bytes: int, *arguments: Argument) -> None:
        self._allow(shared_bytes)
        # A 1-D cooperative grid that is too large would silently be shrunk by CuPy, and the rest wait for ever: so
        # residency is checked here, and every grid has two axes.
        if self.function.enable_cooperative_groups and self.resident_blocks(threads, shared_bytes) < grid[0] * grid[1]:
            raise LaunchError(f"{self.function.name}: {grid[0] * grid[1]} blocks cannot be resident at once")
        try:
            self.function((*grid, 1), (threads, 1, 1), tuple(map(_passed, arguments)), shared_mem=shared_bytes)
        except driver.CUDADriverError as error:
            raise LaunchError(f"{self.function.name}{grid} could not be launched: {error}") from error

    def _allow(self, shared_bytes: int) -> None:
        """More than 48 KiB of dynamic shared memory must be asked for once."""
        if shared_bytes > self.gpu.shared_limit:
            raise LaunchError(
                f"{self.function.name}: {shared_bytes} bytes of shared memory; {self.gpu.shared_limit} are there"
            )
        if shared_bytes > self.shared_bytes:
            self.function.max_dynamic_shared_size_bytes = self.shared_bytes = shared_bytes


def _passed(argument: Argument) -> object:
    """CuPy would pass a Python int as 64 bits; a null pointer is a number of 64 bits; and a struct is a host array of
    one item, whose bytes are passed by value."""
    if argument is None:
        return np.int64(0)
    if isinstance(argument, tuple):
        return struct(argument, lambda array: cast(cupy.ndarray, array).data.ptr)
    return np.int32(argument) if isinstance(argument, int) else argument
