"""What is installed holds all that the package reads: the wheel, built and looked into."""

import re
import shutil
import zipfile
from pathlib import Path

from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).parents[1]
PAGE = re.compile(r"\b(docs/[\w/-]+\.md)")


def test_the_wheel_holds_the_package_and_its_data(tmp_path):
    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if name.startswith("lstmcore/")}
        (told,) = (archive.read(name).decode() for name in archive.namelist() if name.endswith("/METADATA"))
    here = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "lstmcore").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    pages = {name for name in inside if name.startswith("lstmcore/docs/")}
    assert inside - pages == here
    linked = re.findall(r"\]\((docs/[^)#]+)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert {f"lstmcore/{page}" for page in linked} <= pages, "a page that README.md leads to"
    named = {page for name in here if name.endswith(".py") for page in PAGE.findall((ROOT / name).read_text("utf-8"))}
    assert {f"lstmcore/{page}" for page in named} <= pages | {"lstmcore/docs/explorer"}, "a page that a message names"
    assert pages >= {
        "lstmcore/docs/changelog.md",
        "lstmcore/docs/lstm_in_one_file.py",
        "lstmcore/docs/figures/cell.svg",
    }
    assert not re.search(r"\]\((?!https?://)", told), "a link that an index page cannot follow"
    assert "(`docs/case-format.md`)" in told
    assert "lstmcore docs" in told
    assert {Path(name).suffix for name in inside} >= {".py", ".cu", ".cuh"}
    assert "lstmcore/py.typed" in inside  # or the checkers of others see no type


def test_kernels_go_into_the_wheel_if_there_are_any(tmp_path):
    """Though git does not know them."""
    for name in ("pyproject.toml", "hatch_build.py", "README.md", "CHANGELOG.md", "LICENSE", ".gitignore"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "lstmcore" / "kernels").mkdir(parents=True)
    shutil.copy(ROOT / "lstmcore" / "__init__.py", tmp_path / "lstmcore")
    for name in ("a.kernel", "a.lock", "a.unfinished"):
        (tmp_path / "lstmcore" / "kernels" / name).write_bytes(b"")
    (wheel,) = WheelBuilder(str(tmp_path)).build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(wheel) as archive:
        inside = [name for name in archive.namelist() if name.startswith("lstmcore/kernels/")]
    assert inside == ["lstmcore/kernels/a.kernel"]
