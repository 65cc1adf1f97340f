"""`make quick`: the tests of a changed file are found by its path, and the fast ones are chosen."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
from quick import ALWAYS, ROOT, changed, mirrored, within


@pytest.mark.parametrize(
    ("file", "tests"),
    [
        ("lstmcore/train/update/clip.py", {"tests/train/update/test_clip.py"}),
        ("lstmcore/debug/flow/words.py", {"tests/debug/flow/test_flow.py"}),
        ("lstmcore/arrays.py", {"tests/test_arrays.py"}),
        ("lstmcore/debug/ledger/__init__.py", {"tests/debug/ledger/test_ledger.py"}),
        ("benchmarks/shapes.py", {"tests/benchmarks/test_shapes.py"}),
        ("tests/ops/test_linear.py", {"tests/ops/test_linear.py"}),
        ("tests/ops/test_gone.py", set()),
        ("docs/design.md", {"tests/test_documents.py"}),
        ("Makefile", set()),
    ],
)  # fmt: skip
def test_the_mirrored_a_file(file, tests):
    assert set(mirrored([file])) == tests | set(ALWAYS)


def test_every_file_of_the_package_has_tests():
    """Those that nothing but the whole suite looks at are few, and stand at the top."""
    files = [path.relative_to(ROOT).as_posix() for path in (ROOT / "lstmcore").rglob("*.py")]
    without = [file for file in files if len(mirrored([file])) == len(ALWAYS) and file.count("/") > 1]
    assert without == []
    assert all((ROOT / file).is_file() for file in mirrored(files))


def test_what_changed(tmp_path):
    def git(*words):
        own = ("-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false")
        subprocess.run(("git", *own, *words), cwd=tmp_path, check=True, capture_output=True)

    git("init")
    for name in ("a.py", "b.py"):
        (tmp_path / name).touch()
        git("add", name)
        git("commit", "-m", name)
    assert changed(tmp_path) == ["b.py"]
    (tmp_path / "a.py").write_text("1")
    (tmp_path / "c.py").touch()
    assert changed(tmp_path) == ["a.py", "c.py"]


def test_the_fastest_within_a_time():
    took = {"slow": 9.0, "fast": 1.0, "fair": 2.0}
    assert within(3.5, took, took) == {"fast", "fair"}
    assert within(0.5, took, took) == set()
    assert within(1.5, ["new", *took], took) == {"new", "fast"}
    assert within(100, took, took) == set(took)


def test_what_nobody_knew_to_be_slow_ends_the_rest(request):
    house = request.config.pluginmanager.get_plugin(str(ROOT / "tests" / "conftest.py"))
    config = SimpleNamespace(getoption={"--seconds": 30.0}.get, stash=pytest.Stash())
    config.stash[house.BEGAN] = sum(os.times()[:4]) - 15
    house.pytest_runtest_setup(SimpleNamespace(config=config))
    config.stash[house.BEGAN] -= 16
    with pytest.raises(pytest.skip.Exception, match="the 30 s of --seconds are over"):
        house.pytest_runtest_setup(SimpleNamespace(config=config))


def test_processor_time_is_known_of_a_process_that_was_waited_for(request):
    """A test that sleeps costs nothing; one that starts a busy process costs what that did."""
    house = request.config.pluginmanager.get_plugin(str(ROOT / "tests" / "conftest.py"))
    before = house._processor_time()
    subprocess.run((sys.executable, "-c", "import time\nwhile time.process_time() < 0.3: pass"), check=True)
    assert house._processor_time() - before > 0.25
