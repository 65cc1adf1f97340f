"""Sweeps: what is tried and refused, real processes on tiny runs, one of them killed, and what is made of it all."""

import csv
import functools
import importlib
import json
import math
import os
import pkgutil
import signal
import subprocess
import sys
import time
import types
import typing
from dataclasses import fields
from pathlib import Path

import pytest
from children import started, struck
from typer.testing import CliRunner

from lstmcore import recipes
from lstmcore.cli import app
from lstmcore.recipes import alphabet, sweep
from lstmcore.recipes.lock import locked
from lstmcore.recipes.sweep import jobs, process, space, study

TINY = ("hidden=3", "epochs=2")  # of the alphabet: 200 updates


# ---- what is tried ---------------------------------------------------------------------------------------------------


def test_every_value_comes_with_the_first_seed_then_with_the_next():
    found = sweep.read("count", ["lr=1e-3,3e-3", "cell=lstm,gru"], ["epochs=5", "seed=7"], seeds=2)
    assert [str(point) for point in found.points()] == [
        f"lr={lr} cell={cell} seed={seed}" for seed in (7, 8) for lr in (0.001, 0.003) for cell in ("lstm", "gru")
    ]
    assert found.metric == "test_error"
    point = next(found.points())
    told = found.words(point)["options"]
    assert (told["lr"], told["cell"], told["epochs"], told["seed"], told["engine"]) == (
        "0.001",
        "lstm",
        "5",
        "7",
        "none",
    )
    assert len({found.name(point) for point in found.points()}) == 8


def test_a_single_value_is_a_fixed_option():
    found = sweep.read("series", ["window=48", "horizon=5,10"], ["season=none"], metric="rolled_out.lstm")
    assert found.swept == {"horizon": (5, 10)}
    assert found.fixed == {"window": 48, "season": None}
    assert found.metric == "rolled_out.lstm"


def test_the_data_belong_to_a_trial(tmp_path):
    """Another content of the same file is another trial; where the file is told from makes no difference."""
    book = tmp_path / "book.txt"
    names = []
    for text in ("one", "two", "one"):
        book.write_text(text)
        found = sweep.read("text", ["lr=1e-3,1e-2"], ["limit=500"], file=book)
        names.append([found.name(point) for point in found.points()])
    assert names[0] == names[2]
    assert not set(names[0]) & set(names[1])
    assert found.inputs == {"file": book, "limit": 500}


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ({"recipe": "chess"}, "the recipe should be one of count, alphabet, text, loops, series"),
        ({"params": ["lr"]}, "a parameter should be NAME=VALUE or NAME=VALUE,VALUE; got 'lr'"),
        ({"params": ["lr="]}, "got 'lr='"),
        (
            {"params": ["layer=1,2"]},
            "count has no option 'layer' (did you mean 'layers'?); it has hidden",
        ),
        ({"params": ["warp=9"]}, "count has no option 'warp'; it has hidden"),
        ({"params": ["lr=1e-3,fast"]}, "`lr` should be a number; got 'fast'"),
        ({"params": ["lr=nan"]}, "`lr` should be a number; got 'nan'"),
        ({"params": ["hidden=24,4.5"]}, "`hidden` should be a whole number; got '4.5'"),
        ({"params": ["balanced=yes"]}, "`balanced` should be one of true, false; got 'yes'"),
        ({"params": ["lr=1e-3,0.001"]}, "`lr` has a value twice: 1e-3,0.001"),
        ({"params": ["lr=1e-3"], "fixed": ["lr=1e-2"]}, "`lr` is told twice"),
        (
            {"fixed": ["lr=1e-3,1e-2"]},
            "`lr` should have one value; got 1e-3,1e-2 (only options can be",
        ),
        ({"params": ["seed=1,2"]}, "`seed` should have one value; got 1,2 (how many: --seeds 5)"),
        ({"seeds": 0}, "`seeds` should be at least 1; got 0"),
        ({"metric": "beauty"}, "`metric` of count should be one of test_error; got 'beauty'"),
    ],
)
def test_what_makes_no_sense_is_refused(words, complaint):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the text is compared)
        sweep.read(**{"recipe": "count", "params": [], **words})
    assert complaint in str(caught.value)


def test_a_file_is_refused_where_none_is_read(tmp_path):
    with pytest.raises(ValueError, match="count reads no file"):
        sweep.read("count", [], file=tmp_path / "book.txt")
    with pytest.raises(FileNotFoundError):
        sweep.read("text", [], file=tmp_path / "book.txt")


def test_every_recipe_can_be_swept():
    """Those are the modules that have Options."""
    names = [module.name for module in pkgutil.iter_modules(recipes.__path__)]
    modules = {name: importlib.import_module(f"lstmcore.recipes.{name}") for name in names}
    assert {name for name, module in modules.items() if hasattr(module, "Options")} == sweep.RECIPES.keys()


def test_the_model_of_loops_says_what_is_not_told():
    wanted = sweep.read("loops", ["widths=64+32,8", "model=per-step,q3"])
    told = [wanted.words(point)["options"] for point in wanted.points()]
    assert [(t["model"], t["widths"], t["topology"], t["batch"]) for t in told] == [
        ("per-step", "64+32", "layers", "64"), ("q3", "64+32", "towers", "200"),
        ("per-step", "8", "layers", "64"), ("q3", "8", "towers", "200"),
    ]  # fmt: skip
    with pytest.raises(ValueError, match="`model` should be one of per-step, q3; got 'q4'"):
        sweep.read("loops", ["model=q3,q4"])


@pytest.mark.parametrize(
    ("history", "validation"),
    [({"epochs": [{"validation": 0.4}, {"validation": 0.3}, {"validation": 0.5}]}, 0.3), ({"epochs": []}, math.inf)],
)
def test_the_lowest_validation_loss_is_a_metric(tmp_path, history, validation):
    """A score that is no number is null in metrics.json, and infinite here."""
    (tmp_path / "metrics.json").write_text(json.dumps({"mse": None, "phi": 20.5, "psi": 1, "ended": "stopped early"}))
    (tmp_path / "history.json").write_text(json.dumps(history))
    metrics = {"validation": validation, "mse": math.inf, "phi": 20.5, "psi": 1}
    assert jobs.outcome("loops", tmp_path) == (metrics, "stopped early")


@pytest.mark.parametrize("name", sweep.RECIPES)
def test_every_option_of_every_recipe_can_be_told(name):
    """And is what it was: so are those that a worker is told."""
    recipe = sweep.RECIPES[name]
    default = recipe.make()
    assert recipe.options.keys() == {field.name for field in fields(default)} - {"seed"}
    for option, kind in recipe.options.items():
        value = getattr(default, option)
        assert space.convert(option, kind, space.told(value)) == value
    assert recipe.metrics


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (tuple[int, ...], "256+128+64", (256, 128, 64)), (tuple[int, ...], "8", (8,)), (int | None, "none", None),
        (int | None, "25", 25), (float, "1e-3", 0.001), (bool, "true", True), (str | None, "none", None),
        (typing.Literal["adam", "sgd"], "sgd", "sgd"), (str, "gru", "gru"),
    ],
)  # fmt: skip
def test_words_and_values(kind, text, value):
    assert space.convert("x", kind, text) == value
    assert space.convert("x", kind, space.told(value)) == value


# ---- processes -------------------------------------------------------------------------------------------------------


def rows_of(path):
    return list(csv.DictReader(path.read_text().splitlines()))


class Victim(process.Process):
    """The first trial of lr = 0.01 with seed 1 is killed by the system as soon as it trains."""

    killed = False

    def __init__(self, words, folder, threads):
        with pytest.MonkeyPatch.context() as patch:
            if "lr=0.01,seed=1" in folder.name and not Victim.killed:
                work = "from lstmcore.recipes.sweep.worker import main; main()"
                program = struck(signal.SIGKILL, folder, "trials/*/epochs.csv", 0, work)
                patch.setattr(process.subprocess, "Popen", functools.partial(popen_of, program, subprocess.Popen))
                Victim.killed = True
            super().__init__(words, folder, threads)


def popen_of(program, popen, command, **options):
    """The same process, with another program."""
    return popen([*command[:2], "-c", program, *command[4:]], **options)


def test_a_killed_worker_is_done_again_and_the_others_are_kept(tmp_path, monkeypatch):
    """Four trials, one killed; the same sweep again does that one alone. The values are those of training by hand; a
    smaller sweep finds all of its trials done, and there is a row for each."""
    monkeypatch.setattr(study, "Process", Victim)
    wanted = sweep.read("alphabet", ["lr=1e-3,1e-2"], TINY, seeds=2)
    seen = []
    first = sweep.run(wanted, tmp_path, jobs=2, watch=seen.append)
    assert Victim.killed
    assert first.ended == "all trials done"
    states = {str(trial.point): trial.state for trial in first.trials}
    assert states.pop("lr=0.01 seed=1") == "failed"
    assert set(states.values()) == {"finished"}
    (failed,) = [trial for trial in first.trials if trial.state == "failed"]
    assert failed.ended == "its process was killed by signal 9 (out of memory?)"
    assert max(standing.running for standing in seen) == 2
    assert [s.latest.state for s in seen if s.latest].count("failed") == 1
    assert (seen[-1].finished, seen[-1].failed, seen[-1].seconds_left) == (3, 1, 0)
    assert any(standing.seconds_left for standing in seen)

    again = sweep.run(wanted, tmp_path, watch=seen.append)
    assert (again.kept, [trial.state for trial in again.trials]) == (3, ["finished"] * 4)
    for before, after in zip(first.trials, again.trials):
        assert before == after or before is failed
    options = alphabet.Options(hidden=3, epochs=2, lr=0.01, seed=1)
    by_hand = alphabet.run(options, progress=False, tell=lambda message: None).trials[0].loss
    assert again.trials[3].value == by_hand  # bit for bit: one thread or two, killed or not

    smaller = sweep.run(sweep.read("alphabet", ["lr=1e-2,1e-3"], TINY), tmp_path)
    assert smaller.kept == 2
    assert [trial.value for trial in smaller.trials] == [again.trials[1].value, again.trials[0].value]
    sweep.write_csv(tmp_path / "trials.csv", wanted, again.trials)
    rows = rows_of(tmp_path / "trials.csv")
    assert [(row["lr"], row["seed"], float(row["loss"])) for row in rows] == [
        (str(trial.point.values["lr"]), str(trial.point.seed), trial.value) for trial in again.trials
    ]
    assert all((tmp_path / row["folder"] / "model.safetensors").is_file() for row in rows)


def test_the_time_left_is_known_after_an_epoch(tmp_path, monkeypatch):
    """One of five epochs was there before; two more took 10 s: the last two will take as long."""
    monkeypatch.setattr(process, "time", types.SimpleNamespace(perf_counter=lambda: 13.0))
    running = object.__new__(process.Process)
    running.folder, running._began, running._took = tmp_path, 3.0, 0.0
    running._epochs, running._before, running._looked, running._done = 5, 1, 0.0, 0
    assert running.seconds_left is None
    (tmp_path / "trials" / "as-asked").mkdir(parents=True)
    (tmp_path / "trials" / "as-asked" / "epochs.jsonl").write_text("{}\n" * 3)
    running._looked = 0.0
    assert running.seconds_left == 10.0


def test_a_worker_goes_when_its_parent_does(tmp_path):
    """Killed, the parent can tell it nothing; but its end of the pipe is closed."""
    command = [sys.executable, "-P", "-m", "lstmcore.recipes.sweep.worker", str(tmp_path)]
    words = sweep.read("alphabet", [], ["epochs=100000"])
    with started(*command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as worker:
        worker.stdin.write(json.dumps(words.words(next(words.points()))).encode() + b"\n")
        worker.stdin.flush()
        while not (tmp_path / "trials").exists():  # it has begun
            assert worker.poll() is None
            time.sleep(0.05)
        worker.stdin.close()
        assert worker.wait() == 3


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="no /proc to see a process's variables in")
def test_trials_of_a_rank_of_mpi_are_none_themselves(tmp_path, monkeypatch):
    """`mpiexec lstmcore sweep`: what the launcher says is for the sweep alone; all else is handed on."""
    for name in ("PMI_RANK", "PMI_SIZE", "PMIX_RANK", "OMPI_COMM_WORLD_SIZE", "MPI_LOCALRANKID", "OTHER"):
        monkeypatch.setenv(name, "2")
    child = process.Process({"options": {"epochs": 1}}, tmp_path, 1)
    variables = Path(f"/proc/{child._process.pid}/environ").read_text().split("\0")
    child.stop()
    assert "OTHER=2" in variables
    assert not [name for name in variables if name.startswith(("PMI", "OMPI", "MPI_"))]


def test_one_sweep_at_a_time(tmp_path):
    wanted = sweep.read("alphabet", [], TINY)
    with locked(tmp_path), pytest.raises(OSError, match="another training or sweep is at work there"):
        sweep.run(wanted, tmp_path)


def test_a_memory_that_is_none(tmp_path):
    (tmp_path / study.MEMORY).write_text("no database at all, but long enough to be looked at" * 20)
    with pytest.raises(OSError, match=r"sweep.db cannot be read or written: file is not a database"):
        sweep.run(sweep.read("alphabet", [], TINY), tmp_path)


# ---- the command -----------------------------------------------------------------------------------------------------


def lstmcore(*words, **options):
    command = [sys.executable, "-c", "from lstmcore.cli import main; main()", "sweep", *words]
    environment = {**os.environ, "COLUMNS": "200", "NO_COLOR": "1"}
    return started(*command, stdout=-1, stderr=-1, text=True, env=environment, **options)


def test_from_a_shell(tmp_path):
    """Two windows, one of which is too long: it is told and counted, and the other one wins."""
    out = tmp_path / "run"
    fixed = [word for name in ("hidden=2", "epochs=1", "horizon=5") for word in ("--set", name)]
    with lstmcore("series", "--param", "window=20,5000", *fixed, "--seeds", 1, "--out", out, "--json") as running:
        stdout, stderr = running.communicate()
    assert running.returncode == 0, stderr
    answer = json.loads(stdout.splitlines()[-1])
    assert answer["best"] == {"window": 20}
    assert (answer["finished"], answer["failed"], answer["open"], answer["ended"]) == (1, 1, 0, "all trials done")
    best, other = answer["configurations"]
    assert best["scores"] == [best["mean"]]
    assert best["spread"] is other["mean"] is None
    assert "window=5000 seed=0: failed" in stderr
    assert "the series is too short: 2000 values" in stderr
    assert "1 of 2 trials failed" in stderr
    assert "best: window=20" in stdout
    assert sorted(path.name for path in out.iterdir()) == [
        "lock", "picture.png", "sweep.db", "trials", "trials.csv",
    ]  # fmt: skip
    assert (out / "picture.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_ctrl_c_tells_how_to_go_on(tmp_path):
    words = ("alphabet", "--param", "lr=1e-3,1e-2", "--set", "epochs=100000", "--jobs", 1, "--out", tmp_path)
    with lstmcore(*words) as running:
        while not list(tmp_path.glob("trials/*/checkpoints")) + list(tmp_path.glob("trials/*/trials")):
            assert running.poll() is None, running.stderr.read()
            time.sleep(0.05)
        running.send_signal(signal.SIGINT)
        stdout, stderr = running.communicate()
    assert running.returncode == 130
    assert "interrupted; go on with: lstmcore sweep alphabet --param lr=1e-3,1e-2" in stderr
    assert "Traceback" not in stderr
    assert "0 of 3" in stdout  # seeds
    rows = rows_of(tmp_path / "trials.csv")
    assert [row["state"] for row in rows] == ["open"] * 6


def test_without_optuna_one_line_says_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    answer = CliRunner().invoke(app, ["sweep", "count", "--out", str(tmp_path)])
    assert answer.exit_code == 2
    assert "pip install 'lstmcore[sweep]'" in answer.output
    assert len(answer.output.strip().splitlines()) == 1


def test_help_has_examples():
    answer = CliRunner().invoke(app, ["sweep", "--help"])
    assert answer.exit_code == 0
    assert "lstmcore sweep count --param lr=1e-3,3e-3,1e-2 --seeds 5" in answer.output


# ---- what is made of it ----------------------------------------------------------------------------------------------


def trials(scores: dict[float, list[float | None]]) -> list[sweep.Trial]:
    """By learning rate; None has failed."""
    return [
        sweep.Trial(sweep.Point({"lr": lr}, k), "failed" if v is None else "finished", v, 10.0, "done", "trials/x")
        for lr, values in scores.items()
        for k, v in enumerate(values)
    ]


def test_the_best_is_first_with_mean_and_spread():
    found = sweep.configurations(trials({1.0: [3.0, math.inf], 0.1: [2.0, None, 4.0], 0.2: [None, None], 0.3: [1.0]}))
    assert [c.values["lr"] for c in found] == [0.3, 0.1, 1.0, 0.2]
    assert (found[1].mean, found[1].spread, found[1].count("failed")) == (3.0, math.sqrt(2), 1)
    assert found[2].mean == math.inf  # a training that diverged is a result
    assert math.isnan(found[2].spread)
    assert math.isnan(found[0].spread)
    assert math.isnan(found[3].mean)
    assert found[0].seconds == 10.0


@pytest.mark.parametrize(
    ("scores", "words"),
    [
        (
            {0.1: [1.0, 1.2], 0.2: [3.0, 3.2]},
            "best: lr=0.1, 1.1; better than lr=0.2 by 2, with a standard error of 0.14",
        ),
        ({0.1: [1.0, 1.2], 0.2: [1.1, 1.2]}, "best: lr=0.1, 1.1; lr=0.2 may be as good: 0.05 apart"),
        ({0.1: [1.0], 0.2: [2.0]}, "only more seeds can tell"),
        ({0.1: [1.0, 1.2]}, "best: lr=0.1, 1.1"),
        ({0.1: [math.inf]}, "nothing has finished with a number"),
    ],
)
def test_the_verdict_knows_chance(scores, words):
    """Of 0.1 and 0.2 in the first line: both deviate by 0.1414, so that their means' difference has
    sqrt(2 * 0.02 / 2) = 0.14."""
    assert words in sweep.verdict(sweep.configurations(trials(scores)))


@pytest.mark.parametrize("params", [[], ["lr=1e-3,1e-2"], ["lr=1e-3,1e-2", "cell=lstm,gru"], ["balanced=true,false"]])
def test_pictures(tmp_path, params):
    wanted = sweep.read("count", params, seeds=2)
    done = [sweep.Trial(point, "finished", 0.5 + 0.1 * k) for k, point in enumerate(wanted.points())]
    sweep.draw(tmp_path / "picture.png", wanted, sweep.configurations(done))
    assert (tmp_path / "picture.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
