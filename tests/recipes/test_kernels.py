"""Kernels that come with the package: compiled by one user for a level of processors, and used by all others."""

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

import lstmcore
from lstmcore.ops.cpu import target
from lstmcore.recipes import kernels
from lstmcore.recipes.child import same_package

ROOT = Path(lstmcore.__file__).parents[1]
NOBODY = 65534

ONE = """
import logging, sys
import numpy as np
from numba.core import types
from lstmcore.ops.cpu import disk, kernel
logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")

def compiled(factor):
    def scale(x):
        x[0] = x[0] * factor + 1
    return kernel.compile_kernel(scale, "scale", types.void(types.Array(types.float64, 1, "C")))
"""
BY_ROOT = """
import os
os.umask(0o022)
with disk.filling(disk.BUILT):
    compiled(3)
"""
BY_OTHERS = f"""
import os
if os.getuid() == 0:
    os.setgroups([])
    os.setgid({NOBODY})
    os.setuid({NOBODY})
x = np.ones(1)
compiled(3)(x)
print(x[0], os.getuid())
"""


@pytest.fixture
def site():
    """The package as root would install it: all may read it, and only root may write to it."""
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are its user's alone
        place = Path(name)
        place.chmod(0o755)
        shutil.copytree(ROOT / "lstmcore", place / "lstmcore", ignore=shutil.ignore_patterns("__pycache__", "*.kernel"))
        yield place


def python(site: Path, code: str, **environment: str) -> str:
    """What a process says that has no home, so that it can keep nothing."""
    plain = {name: value for name, value in os.environ.items() if name not in ("HOME", "XDG_CACHE_HOME", "PYTHONPATH")}
    run = subprocess.run(
        [sys.executable, "-c", code],
        env=plain | {"PYTHONPATH": str(site), "HOME": "/nowhere", "PYTHONDONTWRITEBYTECODE": "1"} | environment,
        cwd=site, stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    return run.stdout


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="users as POSIX systems have them")
def test_what_root_has_compiled_for_a_level_serves_others(site):
    """The processes are two users where the test runs as root, and the folder is one that nobody can write to."""
    (level, *_) = target.levels() or pytest.skip("this processor reaches no level")
    assert python(site, ONE + BY_ROOT, NUMBA_CPU_NAME=level, NUMBA_CPU_FEATURES="").count("compiling scale") == 1
    built = site / "lstmcore" / "kernels"
    assert len(list(built.iterdir())) == 1
    built.chmod(0o555)
    user = NOBODY if os.getuid() == 0 else os.getuid()
    assert python(site, ONE + BY_OTHERS).splitlines() == [f"4.0 {user}"]  # nothing was compiled
    built.chmod(0o777)
    said = python(site, ONE + "compiled(3)")
    assert "compiling scale" in said
    assert "may have been written by others" in said


def test_complaints(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="File exists"):
        kernels.build(tmp_path / "file")
    monkeypatch.setattr(target, "levels", tuple)
    with pytest.raises(OSError, match="reaches no level that kernels are compiled for: each process compiles its own"):
        kernels.build(tmp_path)
    monkeypatch.setattr(kernels, "has_compiler", lambda: False)
    with pytest.raises(OSError, match="there is nothing to compile with: pip install numba"):
        kernels.build(tmp_path)


@pytest.fixture
def built(tmp_path):
    """The package's folder, with a kernel of an earlier version."""
    folder = tmp_path / "kernels"
    folder.mkdir(mode=0o700)
    (folder / "older-edit.kernel").touch()
    return folder


def python_that(monkeypatch, tmp_path, does: str) -> None:
    """Has `build` run a script of the shell in place of Python; $new is the folder to be filled."""
    if not target.levels():
        pytest.skip("this processor reaches no level")
    (tmp_path / "python").write_text(f"#!/bin/sh\nfor new; do :; done\n{does}\n")
    (tmp_path / "python").chmod(0o755)
    monkeypatch.setattr(kernels.sys, "executable", str(tmp_path / "python"))


@pytest.mark.skipif(os.name == "nt", reason="a script of a POSIX shell")
def test_until_all_are_there_the_old_ones_stay(monkeypatch, tmp_path, built):
    python_that(monkeypatch, tmp_path, "touch $new/new.kernel; exit 1")
    with pytest.raises(OSError, match=r"compiling for [-\w]+ ended with code 1: it said nothing"):
        kernels.build(built)
    assert [path.name for path in built.iterdir()] == ["older-edit.kernel"]


@pytest.mark.skipif(os.name == "nt", reason="a script of a POSIX shell")
def test_new_kernels_take_the_place_of_the_old(monkeypatch, tmp_path, built):
    """Everybody may read the folder, whatever the umask was; and the child imports this package."""
    python_that(
        monkeypatch,
        tmp_path,
        "ls -ld $new | grep ^drwxr-xr-x && printf %s $PYTHONPATH > $new/of-$NUMBA_CPU_NAME.kernel",
    )
    before = os.umask(0o077)
    try:
        usage, levels = kernels.build(built)
    finally:
        os.umask(before)
    assert sorted(path.name for path in built.iterdir()) == sorted(f"of-{level}.kernel" for level in levels)
    assert usage.files == len(levels) == len(target.levels())
    assert built.stat().st_mode & 0o777 == 0o755
    assert {path.read_text() for path in built.iterdir()} == {same_package()["PYTHONPATH"]}


ASKED = """
import sys
from pathlib import Path
from lstmcore.ops.cpu import disk
load, asked = disk.load, {}
disk.load = lambda name: (asked.setdefault(name), load(name))[1]
"""
FILLED = """
from lstmcore.recipes import kernels
kernels.fill(disk.writable())
print(*asked)
"""
SMALL = """
from typing import get_args

import numpy as np
from lstmcore.recipes import alphabet, count, series, text
for cell in ("lstm", "gru", "rnn"):
    asked_of = count.Options(hidden=8, layers=2, cell=cell, examples=1000, batch=500, epochs=1, engine="fused-cpu")
    count.run(asked_of, progress=False)
alphabet.run(alphabet.Options(hidden=3, epochs=1), progress=False, tell=lambda message: None)
for level in get_args(text.Level):
    options = text.Options(hidden=8, embedding=4, batch=4, steps=8, epochs=1, level=level, engine="fused-cpu")
    text.run("to be or not to be, " * 1000, options, progress=False)
values = np.sin(np.arange(400.0))[:, None]
series.run(values, series.Options(hidden=8, epochs=1, engine="fused-cpu"), progress=False)
print(*asked)
"""


def test_what_is_built_is_what_recipes_ask_for():
    """On one processor as on two: what kernels are called tells what they are (test_kernel.py)."""
    one, two = ({"NUMBA_NUM_THREADS": count} for count in "12")
    built, wanted = (
        set(python(ROOT, ASKED + code, **threads).split()) for code, threads in ((FILLED, one), (SMALL, two))
    )
    assert wanted - built == set()
    for word in ("crew-watch", "gru-backward-float32", "softmax-cross-entropy", "adam-update"):
        assert any(name.startswith(word) for name in wanted)


GRADIENT = """
import logging, os, sys, time
logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
import numpy as np
import lstmcore as lc
lstm = lc.LSTM(21, 64, seed=0)
y, _, cache = lstm.forward(np.ones((31, 20, 21), "float32"))
lstm.backward(y, cache)
print(cache.engine, time.process_time())
"""

TRAINING = """
import logging, sys
logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
import lstmcore as lc
from lstmcore.recipes import count
result = count.run(count.Options(hidden=24, examples=200, batch=50, epochs=1, engine="fused-cpu"))
print(result.engine)
"""


def test_a_package_with_kernels_compiles_nothing(site, nightly, tmp_path):
    """From the command to a first gradient and a first training, of whoever installs the wheel that holds them."""
    if not nightly:
        pytest.skip("with --nightly: it takes minutes to compile them all")
    if not target.levels():
        pytest.skip("this processor reaches no level")
    said = python(site, "import sys; from lstmcore.cli import main; sys.argv = ['', 'info', '--build-kernels']; main()")
    assert f"kernels in {site / 'lstmcore' / 'kernels'}, " in said
    for name in ("pyproject.toml", "hatch_build.py", "README.md", "CHANGELOG.md", "LICENSE", ".gitignore"):
        shutil.copy(ROOT / name, site)
    (wheel,) = WheelBuilder(str(site)).build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    engine, seconds = python(tmp_path / "installed", GRADIENT).split()  # and no word of compiling
    assert engine == "fused-cpu"
    assert float(seconds) < 3  # of processor time: the goal
    trained = python(tmp_path / "installed", TRAINING)
    assert trained.splitlines()[-1] == "fused-cpu"
    assert "compiling" not in trained
