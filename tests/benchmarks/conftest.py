"""Contestants made for a test: a module with a class `Peer`, written into a temporary folder."""

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.measure import Contestant

HEAD = """
from pathlib import Path
from benchmarks.peers import Job
from benchmarks.peers.lstmcore import Peer as Base
"""


@pytest.fixture
def contestant(tmp_path: Path) -> Callable[[str, str], Contestant]:
    """(name, source) -> a contestant. The source may build on `Base`, lstmcore on its reference engine."""

    def write(name: str, source: str) -> Contestant:
        (tmp_path / f"{name}.py").write_text(f"{HEAD}FOLDER = Path({str(tmp_path)!r})\n{source}\n")
        return Contestant(name, name, "reference", folder=tmp_path)

    return write
