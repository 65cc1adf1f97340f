"""What is installed holds all that the package reads: the wheel, built and looked into."""

import zipfile
from pathlib import Path

from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).parents[1]


def test_the_wheel_holds_the_package_and_its_data(tmp_path):
    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if name.startswith("lstmcore/")}
    here = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "lstmcore").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert inside == here
    assert {Path(name).suffix for name in inside} >= {".py", ".cu", ".cuh"}
    assert "lstmcore/py.typed" in inside  # or the checkers of others see no type
