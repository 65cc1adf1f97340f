"""Kernels: compiled once, found again, and never found where what they are made of is another thing."""

import logging
import pickle
import subprocess
import sys

import llvmlite.binding
import numba
import numpy as np
import pytest
from numba.core import types

from lstmcore.ops.cpu import disk
from lstmcore.ops.cpu import kernel as kernel_cpu
from lstmcore.ops.cpu.barrier import load_number, store_number
from lstmcore.ops.cpu.jitable import jitable
from lstmcore.ops.cpu.kernel import compile_called, compile_kernel
from lstmcore.ops.cpu.memory import address
from lstmcore.ops.cpu.target import Target

SIGNATURE = types.void(types.Array(types.float64, 1, "C"))


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A cache of this test's own."""
    monkeypatch.setattr(disk, "folders", lambda: (tmp_path / "kernels",))
    monkeypatch.setattr(kernel_cpu, "_told", set())
    return tmp_path / "kernels"


def make(factor: float, name: str = "scale"):
    def scale(x):
        for i in range(x.size):
            x[i] *= factor

    return compile_kernel(scale, name, SIGNATURE)


def result(kernel) -> float:
    x = np.ones(1)
    kernel(x)
    return float(x[0])


def test_the_second_time_it_comes_from_disk(folder, caplog):
    caplog.set_level(logging.INFO, "lstmcore")
    assert result(make(2.0)) == 2
    assert caplog.text.count("compiling scale") == 1
    assert result(make(2.0)) == 2
    assert caplog.text.count("compiling scale") == 1  # nothing was compiled
    assert len(list(folder.glob("*.kernel"))) == 1


def test_a_file_holds_machine_code_and_names(folder):
    """Neither the text with its types nor LLVM's code, which are three quarters of what Numba would keep."""
    make(2.0)
    (path,) = folder.glob("*.kernel")
    kept = path.read_bytes()
    assert b"ELF" in kept or sys.platform != "linux"
    assert b"factor" not in kept
    _, _, (_, names) = pickle.loads(kept[len(disk.SEAL) + 32 :])[0]
    module = llvmlite.binding.parse_bitcode(names)
    assert not list(module.functions)
    assert any("scale" in value.name for value in module.global_variables)


def test_what_is_compiled_for_a_level_serves_whoever_reaches_it(folder, monkeypatch, caplog):
    """The processor's own is taken before; and a file that is damaged is told of."""
    caplog.set_level(logging.INFO, "lstmcore")
    (level, *_) = kernel_cpu.levels() or pytest.skip("this processor reaches no level")
    own = kernel_cpu._Disk._file
    with monkeypatch.context() as patch:  # as if Numba had been told to compile for the level
        patch.setattr(kernel_cpu._Disk, "_file", lambda self, processor: own(self, (processor[0], level, "")))
        assert result(make(2.0)) == 2
    assert result(make(2.0)) == 2
    assert caplog.text.count("compiling scale") == 1
    (path,) = folder.glob("*.kernel")
    path.write_bytes(path.read_bytes()[:-1])
    assert result(make(2.0)) == 2
    assert caplog.text.count("compiling scale") == 2
    assert f"{path} is damaged" in caplog.text


def test_it_is_told_once(caplog):
    make(2.0)
    make(3.0)
    warnings = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert warnings == ["lstmcore: compiling kernels, once on this machine; the first run takes longer"]


def test_a_kernel_that_others_call_is_compiled_once_and_known_by_its_content(folder, caplog):
    caplog.set_level(logging.INFO, "lstmcore")

    def caller(factor: float, name: str):
        def times(place, step):
            store_number(place, load_number(place) * factor + step)

        called = compile_called(times, "times", types.void(types.intp, types.intp))

        def kernel(x):
            called(address(x), 1)
            called(address(x), 0)

        return compile_kernel(kernel, name, types.void(types.Array(types.int64, 1, "C")))

    def results() -> list[int]:
        kernels = [caller(2, "one"), caller(2, "two"), caller(3, "one")]
        given = [np.full(1, 5) for _ in kernels]
        for kernel, x in zip(kernels, given):
            kernel(x)
        return [int(x[0]) for x in given]

    assert results() == results() == [22, 22, 48]
    told = [record.message for record in caplog.records if record.levelno == logging.INFO]
    assert told == [f"compiling {name}" for name in ("times", "one", "two", "times", "one")]


def test_a_value_of_the_closure_is_part_of_the_kernel(folder):
    """Two functions of one text, in one process and from disk: each its own."""
    assert [result(make(factor)) for factor in (1.0, 7.0, 1.0, 7.0)] == [1, 7, 1, 7]
    assert len(list(folder.glob("*.kernel"))) == 2


def test_the_length_of_vectors_is_part_of_the_kernel(folder, monkeypatch):
    for size in (16, 64, 16):
        monkeypatch.setattr(kernel_cpu, "target", lambda size=size: Target(size, 16))
        assert result(make(2.0)) == 2
    assert len(list(folder.glob("*.kernel"))) == 2


def test_names_keep_kernels_apart():
    assert result(make(2.0, "twice")) == 2
    assert result(make(3.0, "thrice")) == 3


@pytest.mark.parametrize("damage", ["cut", "bit", "page", "empty", "other"])
def test_a_damaged_file_is_compiled_again(folder, caplog, damage):
    make(2.0)
    (path,) = folder.glob("*.kernel")
    content = bytearray(path.read_bytes())
    if damage == "cut":
        content = content[:100]
    elif damage == "bit":
        content[len(content) // 2] ^= 4
    elif damage == "page":
        content[1024:2048] = bytes(1024)
    elif damage == "empty":
        content = bytearray()
    else:  # whole, but another kernel's
        make(3.0)
        content = bytearray(next(p for p in folder.glob("*.kernel") if p != path).read_bytes())
    path.write_bytes(content)
    assert result(make(2.0)) == 2
    assert "is damaged" in caplog.text
    assert result(make(2.0)) == 2  # it was mended


def test_a_folder_that_cannot_be_written_is_no_obstacle(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(disk, "folders", lambda: (tmp_path / "file" / "below a file",))
    assert result(make(2.0)) == 2
    assert result(make(3.0)) == 3
    assert caplog.text.count("cannot be kept on disk") == 1


def test_a_folder_that_is_filled_must_take_them(tmp_path):
    """Else a build would end well without the kernels that a full disk has no room for."""
    (tmp_path / "file").write_text("")
    with disk.filling(tmp_path / "file" / "below a file"), pytest.raises(OSError, match="File exists"):
        make(2.0)


def test_what_cannot_be_known_again_is_not_kept(folder, caplog):
    """A value in which anything may stand: compiled in this process, and told."""

    class Anything:
        factor = 2.0

    thing = Anything()

    @numba.extending.overload(repr)
    def _(x):
        return lambda x: thing.factor

    assert result(make(2.0)) == 2  # others are not touched by it
    assert len(list(folder.glob("*.kernel"))) == 1


def test_another_type_is_refused_not_compiled():
    with pytest.raises(TypeError, match="No matching definition"):
        make(2.0)(np.ones(1, np.float32))


MEETING = """
import sys, numpy as np
from pathlib import Path
from numba.core import types
from lstmcore.ops.cpu import disk, kernel as kernel_cpu
from lstmcore.ops.cpu.tile import product
from lstmcore.ops.cpu.memory import vectors
disk.folders = lambda: (Path(sys.argv[1]),)
for dtype in sys.argv[2:]:
    tile, lanes, size, integer = product(dtype), vectors(dtype).lanes, vectors(dtype).size, types.int64
    def multiply(A, B, out):
        tile(1, 1, 2, A, 0, size, B, lanes * size, out, 0, out, 0, B)
        tile(1, 1, 2, A, 0, size, B, lanes * size, out, 0, out, 0, B)
    kernel = kernel_cpu.compile_kernel(multiply, f"multiply-{dtype}", types.void(integer, integer, integer))
    A, B, out = np.ones(2, dtype), np.ones((2, lanes), dtype), np.ones(lanes, dtype)
    kernel(A.ctypes.data, B.ctypes.data, out.ctypes.data)
    print(out[0])
"""


def test_machine_code_of_different_processes_meets_in_one(folder):
    """The linker knows functions by name: siblings from two processes must not be taken for each other."""

    def python(*dtypes):
        command = [sys.executable, "-c", MEETING, str(folder), *dtypes]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()

    assert python("float64") == ["5.0"]
    assert python("float32") == ["5.0"]
    assert python("float64", "float32") == ["5.0", "5.0"]


def test_siblings_of_one_factory_have_names_of_their_own():
    def factory(factor):
        @jitable
        def scaled(x):
            return factor * x

        return scaled

    two, seven = factory(2.0), factory(7.0)
    assert two.__qualname__ != seven.__qualname__
    assert two.__qualname__ == factory(2.0).__qualname__
    assert numba.njit(lambda x: two(x) + seven(x))(1.0) == 9


AT_ONCE = """
import sys, numpy as np
from pathlib import Path
from numba.core import types
from lstmcore.ops.cpu import disk, kernel
disk.folders = lambda: (Path(sys.argv[1]),)
def slow(x):
    for i in range(x.size):
        x[i] = np.sin(x[i]) + np.cos(x[i])
k = kernel.compile_kernel(slow, "slow", types.void(types.Array(types.float64, 1, "C")))
x = np.zeros(1); k(x); print(x[0])
"""


def test_two_processes_at_once(folder):
    """Both get it right, and one file is left that a third can use; no lock and no unfinished file stays."""
    command = [sys.executable, "-c", AT_ONCE, str(folder)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [p.communicate(timeout=120)[0].strip() for p in both] == ["1.0", "1.0"]
    assert [path.suffix for path in folder.iterdir()] == [".kernel"]
