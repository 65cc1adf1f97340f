"""A process that runs a module for its parent imports the parent's package, whatever else is called lstmcore."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import lstmcore
from lstmcore.recipes import child

ROOT = Path(lstmcore.__file__).parents[1]
PARENT = """
import subprocess, sys
{before}
import lstmcore
from lstmcore.recipes.child import same_package
{after}
print(lstmcore.__file__)
environment = {{**__import__("os").environ, **same_package()}}
subprocess.run([sys.executable, "-P", "-c", "import lstmcore; print(lstmcore.__file__)"], env=environment, check=True)
"""


@pytest.fixture
def other(tmp_path):
    """Another lstmcore, as an older one that is installed."""
    (tmp_path / "other" / "lstmcore").mkdir(parents=True)
    (tmp_path / "other" / "lstmcore" / "__init__.py").write_text("")
    return tmp_path / "other"


@pytest.mark.parametrize(
    ("before", "after", "cwd"),
    [
        (f"sys.path.insert(0, {str(ROOT)!r})", "", None),  # as a script does that knows where it lies
        ("", "", ROOT),  # from the current folder
        ("", "import os; os.chdir('/')", ROOT),  # which is another one by now
        ("", "sys.path.insert(0, os.environ['PYTHONPATH'])", ROOT),
    ],
)
def test_the_child_imports_what_its_parent_has(other, before, after, cwd, tmp_path):
    code = PARENT.format(before=before, after="import os\n" + after)
    said = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(other)}, cwd=cwd or tmp_path,
        stdout=subprocess.PIPE, text=True, check=True,
    ).stdout  # fmt: skip
    assert said.splitlines() == [lstmcore.__file__] * 2


def test_the_path_is_handed_on_as_it_is(monkeypatch):
    """No folder comes before those of Python itself that did not: what lies there would hide modules of Python's."""
    monkeypatch.setattr(sys, "path", ["", str(ROOT), *sys.path])
    assert child.same_package()["PYTHONPATH"].split(os.pathsep) == sys.path[1:]
