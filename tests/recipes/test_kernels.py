"""Kernels that come with the package: compiled by one user for a level of processors, and used by all others."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

import lstmcore
from lstmcore.ops.cpu import target
from lstmcore.recipes import kernels

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
    monkeypatch.undo()
    monkeypatch.setattr(kernels.sys, "executable", shutil.which("false"))
    (tmp_path / "new").mkdir(mode=0o700)
    (tmp_path / "new" / "older-edit.kernel").touch()
    with pytest.raises(OSError, match=r"compiling for [-\w]+ ended with code 1: it said nothing"):
        kernels.build(tmp_path / "new")
    assert not list((tmp_path / "new").iterdir())
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o755  # whatever the umask was


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
    began = time.perf_counter()
    engine, seconds = python(tmp_path / "installed", GRADIENT).split()  # and no word of compiling
    assert engine == "fused-cpu"
    assert float(seconds) < 3 or time.perf_counter() - began > float(seconds) * 1.5  # the goal, but on a busy machine
    trained = python(tmp_path / "installed", TRAINING)
    assert trained.splitlines()[-1] == "fused-cpu"
    assert "compiling" not in trained
