"""Fixtures of the tests that run or compile kernels without a GPU."""

import pytest
from gpu.compiler import nvrtc
from gpu.emulator import Emulator, compiler


def missing(request: pytest.FixtureRequest, reason: str) -> None:
    """What these tests need is installed with the extra `dev`, or with any C++ compiler."""
    if request.config.getoption("--require-peers"):
        pytest.fail(f"{reason} (--require-peers was given)", pytrace=False)
    pytest.skip(reason)


@pytest.fixture
def emulator(request: pytest.FixtureRequest) -> type[Emulator]:
    """A CUDA machine on a CPU. It compiles with g++: without one, skipped, or a failure under --require-peers."""
    if compiler() is None:
        missing(request, "the emulation of kernels needs g++, which is not here")
    return Emulator


@pytest.fixture(name="compiler")
def nvidia_compiler(request: pytest.FixtureRequest) -> None:
    """NVIDIA's compiler; it needs no GPU."""
    if nvrtc() is None:
        missing(request, "compiling for GPUs needs the wheel nvidia-cuda-nvrtc, which is not installed")
