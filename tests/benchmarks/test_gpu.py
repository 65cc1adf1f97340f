"""What of benchmarks/gpu needs no GPU: the frame, and the words and sums of the report."""

import shutil
import sys
from pathlib import Path

import pytest
from gpu.conftest import emulator  # noqa: F401 (a fixture)
from gpu.stand_in import installed

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


# ---- on the stand-in for CuPy --------------------------------------------------------------------------------------


@pytest.fixture
def cupy(emulator):  # noqa: F811
    modules = ("race", "speed", "step", "contestants", "timing")
    with installed() as module:
        yield module
    for name in modules:  # what imported the stand-in is forgotten
        sys.modules.pop(f"benchmarks.gpu.{name}", None)


def test_a_race_finds_no_difference_where_there_is_none(cupy):
    from benchmarks.gpu import race

    for case in race.SMALL[:2]:
        row = race.differences(case, 2, 100)
        assert (row["kernel"], row["repeats"], row["different_words"], row["nan"]) == ("small", 2, 0, 0)


def test_a_race_finds_differences(cupy, monkeypatch):
    from benchmarks.gpu import race

    calls = iter(range(10))
    right = race.Call.results

    def wrong(self, engine):
        family, arrays = right(self, engine)
        arrays[0][0, 0, 0, 0] += next(calls)  # nothing at first
        return family, arrays

    monkeypatch.setattr(race.Call, "results", wrong)
    assert race.differences(race.SMALL[0], 2, 100)["different_words"] == 2


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("both", [False, True])
def test_the_bench_checks_before_it_times(cupy, torch, both, padded):
    """lstmcore and torch in float32 against torch in float64, on its CPU: the rule of speed.py holds, and bites."""
    from benchmarks.gpu import contestants as c

    problem = c.Problem(c.Shape("tiny", 6, 5, 3, 7, both, padded))
    truth = c.torchs(problem, "ieee", dtype=torch.float64, device="cpu")
    assert {"y", "dx", "weight_ih_l0", "bias_hh_l0"} <= truth.results().keys()
    got = c.ours(problem, "ieee")
    off, own = (c.errors(who.results(), truth.results()) for who in (got, c.torchs(problem, "ieee", device="cpu")))
    assert got.name == "lstmcore small"
    assert off.keys() == truth.results().keys()
    assert all(off[name] <= 4 * own[name] + 8 * 2**-23 for name in off), (off, own)
    results = dict(got.results())
    results["dx"] = results["dx"] * 1.0001
    assert c.errors(results, truth.results())["dx"] > 4 * own["dx"] + 8 * 2**-23


def test_a_recorded_pass_is_checked_like_any_other(cupy, torch):
    from benchmarks.gpu import contestants as c

    problem = c.Problem(c.Shape("tiny", 4, 3, 3, 7, True, True))
    plain, recorded = c.ours(problem, "ieee"), c.ours(problem, "ieee", graph=True)
    assert recorded.name == "lstmcore small recorded"
    recorded.call()
    for name, want in plain.results().items():
        assert (recorded.results()[name] == want).all(), name


def test_whole_steps_are_checked_before_they_are_timed(cupy, torch):
    """The losses of five steps of the same model, against torch in float64; lstmcore's two ways give the same bits."""
    from benchmarks.gpu import contestants as c
    from benchmarks.gpu import step

    lesson = step.Lesson(c.Shape("tiny", 5, 4, 1, 6))
    truth = step.truth(lesson, device="cpu")
    own = c.errors(step.torchs(lesson, device="cpu").results(), truth)["loss"]
    both = [step.ours(lesson, recorded) for recorded in (False, True)]
    for who in both:
        who.call()
        assert c.errors(who.results(), truth)["loss"] <= 4 * own + 8 * 2**-23
    assert both[0].results()["loss"].tolist() == both[1].results()["loss"].tolist()
    assert both[0].results()["loss"][-1] < both[0].results()["loss"][0]
    assert [who.name for who in both] == ["lstmcore step by step", "lstmcore recorded"]


def test_the_report_tells_goals_and_what_is_short(cupy, torch):
    from benchmarks.gpu import speed

    def row(shape, precision, who, ratio):
        return speed.Row("now", "GPU", *shape[:7], precision, who, "1", 5, 1.0, 0.9, 1.1, 2.0, ratio, ratio, 1e-7)

    count, loop, *_ = speed.SHAPES
    text = speed.report(
        [row(count, "ieee", "lstmcore small", 3.5), row(loop, "tf32", "lstmcore persistent", 1.5),
         row(speed.STEPS[0], "ieee", "lstmcore recorded", 4.0), row(speed.STEPS[0], "ieee", "lstmcore step", 2.0),
         row(loop, "ieee", "lstmcore persistent", 0.5), row(loop, "tf32", "torch graph", 1.0)]
    )  # fmt: skip
    assert "count ieee  goal 3.0 x  3.50 x  ok" in text
    assert "loop256 tf32  goal 3.0 x  1.50 x  SHORT" in text
    assert "wide512 tf32  goal 2.5 x  not measured" in text
    assert "step ieee  goal 3.0 x of wall time, against torch step by step  4.00 x  ok" in text
    assert "step1000 ieee  goal 3.0 x of wall time, against torch step by step  not measured" in text
    assert "loop256 ieee is slower than torch: 0.50 x" in text
    assert {shape.name for shape in speed.SHAPES} >= {shape for shape, _ in speed.GOALS}
