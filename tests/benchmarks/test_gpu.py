"""What of benchmarks/gpu needs no GPU: the frame, and the words and sums of the report."""

import shutil
import sys
from pathlib import Path

import pytest

from benchmarks.gpu import __main__ as command
from benchmarks.gpu import suite

ROOT = Path(__file__).parents[2]


def no_cupy(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)  # importing it now fails, here as on a machine without it


@pytest.mark.parametrize("part", command.PARTS)
def test_a_machine_without_cupy_is_told_so(monkeypatch, capsys, tmp_path, part):
    no_cupy(monkeypatch)
    assert command.main([part, "--out", str(tmp_path / "new")]) == 2
    assert f"{part}: this machine lacks cupy (import of cupy halted" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_all_that_is_missing_is_named(monkeypatch):
    no_cupy(monkeypatch)
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    assert [lack.split(" ")[0] for lack in command.missing("tests")] == ["cupy", "hypothesis"]


def test_unknown_parts_are_refused(capsys):
    with pytest.raises(SystemExit):
        command.main(["everything", "--out", "x"])
    assert "invalid choice: 'everything'" in capsys.readouterr().err


def test_the_suite_names_files_that_exist():
    assert all((ROOT / file).exists() for file in suite.FILES)
    assert "--require-gpu" in suite.command(Path("out"))
    assert shutil.which(suite.command(Path("out"))[0])


def test_the_suite_picks_the_engines_on_a_gpu():
    """As pytest -k reads it: by what stands in the tests' names."""
    from engines import ALL_ENGINES

    wanted = suite.ENGINES.split(" or ")
    names = {engine.name.replace(" ", "-"): engine for engine in ALL_ENGINES}
    picked = [engine for name, engine in names.items() if any(word in name for word in wanted)]
    assert [engine.library for engine in picked] == ["cupy"] * len(picked)
    assert len(picked) == sum(engine.library == "cupy" for engine in ALL_ENGINES) > 1
