"""Fixtures of the tests that run or compile kernels without a GPU."""

import pytest
from gpu.emulator import Emulator, compiler


@pytest.fixture
def emulator(request: pytest.FixtureRequest) -> type[Emulator]:
    """A CUDA machine on a CPU. It compiles with g++: without one, skipped, or a failure under --require-peers."""
    if compiler() is None:
        reason = "the emulation of kernels needs g++, which is not here"
        if request.config.getoption("--require-peers"):
            pytest.fail(f"{reason} (--require-peers was given)", pytrace=False)
        pytest.skip(reason)
    return Emulator
