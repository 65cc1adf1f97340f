"""Kernels on disk: compiled once, found again, and never found when any file they are made of has changed."""

import ast
import logging
import shutil
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
from numba.core import types

from lstmcore.ops.cpu import kernel as kernel_cpu
from lstmcore.ops.cpu.jitable import jitable
from lstmcore.ops.cpu.kernel import compile_kernel, source_hash
from lstmcore.ops.recurrence.cpu import kernels as kernels_cpu

PACKAGE = Path(kernels_cpu.__file__).parents[2]
SIGNATURE = types.void(types.Array(types.float64, 1, "C"))
FILES = [
    path for source in kernels_cpu.SOURCES for path in (sorted(source.glob("*.py")) if source.is_dir() else [source])
]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A cache of this test's own."""
    monkeypatch.setattr(kernel_cpu, "directory", lambda: tmp_path / "kernels")
    yield tmp_path / "kernels"
    source_hash.cache_clear()


def make(source: Path, factor: float, name: str = "scale"):
    source_hash.cache_clear()

    def scale(x):
        for i in range(x.size):
            x[i] *= factor

    return compile_kernel(scale, name, SIGNATURE, (source,))


def result(kernel) -> float:
    x = np.ones(1)
    kernel(x)
    return x[0]


def test_the_second_time_it_comes_from_disk(tmp_path, caplog):
    source = tmp_path / "source.py"
    source.write_text("one")
    assert result(make(source, 2.0)) == 2
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "compiling scale" in caplog.text
    assert result(make(source, 3.0)) == 2  # the text has not changed, so it is taken for the same kernel
    assert len(caplog.records) == 1  # and nothing was compiled


def test_an_edit_is_noticed_and_the_old_file_goes(tmp_path, folder):
    source = tmp_path / "source.py"
    source.write_text("one")
    make(source, 2.0)
    before = set(folder.iterdir())
    source.write_text("two")
    assert result(make(source, 3.0)) == 3
    after = set(folder.iterdir())
    assert len(before) == len(after) == 1
    assert before != after


def test_names_keep_kernels_apart(tmp_path):
    source = tmp_path / "source.py"
    source.write_text("one")
    assert result(make(source, 2.0, "twice")) == 2
    assert result(make(source, 3.0, "thrice")) == 3


def test_a_damaged_file_is_compiled_again(tmp_path, folder, caplog):
    source = tmp_path / "source.py"
    source.write_text("one")
    make(source, 2.0)
    (path,) = folder.iterdir()
    path.write_bytes(path.read_bytes()[:100])
    assert result(make(source, 2.0)) == 2
    assert "cannot be read" in caplog.text


def test_a_folder_that_cannot_be_written_is_no_obstacle(tmp_path, monkeypatch, caplog):
    source = tmp_path / "source.py"
    source.write_text("one")
    monkeypatch.setattr(kernel_cpu, "directory", lambda: source / "below a file")
    assert result(make(source, 2.0)) == 2
    assert "cannot be kept on disk" in caplog.text


def test_another_type_is_refused_not_compiled(tmp_path):
    source = tmp_path / "source.py"
    source.write_text("one")
    kernel = make(source, 2.0)
    with pytest.raises(TypeError, match="No matching definition"):
        kernel(np.ones(1, np.float32))


def test_sources_are_all_that_a_kernel_is_made_of():
    """Whatever the kernels import from the package, directly or through others, is hashed; all but what only names
    types.
    """
    plain = {
        "lstmcore/__init__.py",
        "lstmcore/arrays.py",
        "lstmcore/ops/__init__.py",
        "lstmcore/ops/recurrence/__init__.py",
    }
    hashed = {path.relative_to(PACKAGE.parent).as_posix() for path in FILES}
    reached, todo = set(), ["lstmcore.ops.recurrence.cpu.kernels"]
    while todo:
        module = todo.pop()
        path = PACKAGE.parent / (module.replace(".", "/") + ".py")
        path = path if path.exists() else path.with_suffix("") / "__init__.py"
        if not path.exists() or path in reached:
            continue
        reached.add(path)
        if path.relative_to(PACKAGE.parent).as_posix() in plain:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("lstmcore"):
                todo += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    names = {path.relative_to(PACKAGE.parent).as_posix() for path in reached}
    assert len(names) > 10
    assert names - plain <= hashed


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.name)
def test_an_edit_of_any_source_gives_another_key(file, tmp_path):
    """Not one comment can change without the kernels' names changing."""
    copies = []
    for source in kernels_cpu.SOURCES:
        copy = tmp_path / source.name
        shutil.copytree(source, copy, ignore=lambda _, names: {"__pycache__"} & set(names)) if source.is_dir() else (
            shutil.copy(source, copy)
        )
        copies.append(copy)
    before = source_hash(tuple(copies))
    source_hash.cache_clear()
    assert source_hash(tuple(copies)) == before
    (edited,) = [path for path in tmp_path.rglob(file.name) if path.parent.name in (file.parent.name, tmp_path.name)]
    edited.write_text(edited.read_text() + "\n#")
    source_hash.cache_clear()
    assert source_hash(tuple(copies)) != before


MEETING = """
import sys, numpy as np
from pathlib import Path
from numba.core import types
from lstmcore.ops.cpu import kernel as kernel_cpu
from lstmcore.ops.cpu.tile import product
from lstmcore.ops.cpu.memory import vectors
kernel_cpu.directory = lambda: Path(sys.argv[1])
for dtype in sys.argv[2:]:
    tile, lanes, size, integer = product(dtype), vectors(dtype).lanes, vectors(dtype).size, types.int64
    def multiply(A, B, out):
        tile(1, 1, 2, A, 0, size, B, lanes * size, out, 0, out, 0, B)
        tile(1, 1, 2, A, 0, size, B, lanes * size, out, 0, out, 0, B)
    kernel = kernel_cpu.compile_kernel(multiply, f"multiply-{dtype}", types.void(integer, integer, integer), ())
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


def test_identity_goes_into_the_name():
    def function(x):
        return x

    plain = function.__qualname__
    assert jitable("float32", 3)(function).__qualname__ == f"{plain}_float32_3"
    assert numba.njit(lambda x: function(x))(5) == 5
