"""The command line as somebody in a shell meets it: what is printed, exit codes; a real process for each recipe, with
piped output, and the other commands called in this one."""

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer
from children import started, struck
from command import called, lstmcore
from typer.testing import CliRunner

import lstmcore as lc
from lstmcore.cli import app
from lstmcore.cli.train.common import keeping
from lstmcore.ops.cpu import disk
from lstmcore.recipes import text as writing
from lstmcore.recipes.loops import generator, npz

SMALL = ("--hidden", 3, "--epochs", 1, "--examples", 200, "--batch", 50, "--engine", "reference")


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--cell", "gru", "--mask", "left"),
        ("--cell", "rnn", "--mask", "empty"),
        ("--bidirectional", "interleaved", "--layers", 2, "--mask", "gaps"),
        ("--bidirectional", "towers", "--layers", 2, "--dropout", 0.5, "--mask", "right", "--classes", 3),
        ("--method", "central", "--directions", 2),
    ],
    ids=lambda words: " ".join(map(str, words)) or "defaults",
)
def test_check_proves_and_says_so(words):
    answer = called("check", "--hidden", 2, *words)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert answer.stdout.splitlines()[-1].endswith("every gradient is right")
    assert "W_hh" in answer.stdout


def test_check_as_json_says_which_coordinate_is_worst():
    answer = json.loads(called("check", "--hidden", 2, "--json").stdout)
    assert answer["ok"] is True
    assert 0 < answer["worst"] < 1e-12
    assert answer["worst_at"].split("[")[0] in {row["name"] for row in answer["table"]}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("check", "--mask", "middle"), "'middle' is not one of"),
        (("check", "--engine", "warp"), "`engine` should be one of 'reference'"),
        (("train", "count", "--hidden", 0), "Invalid value for '--hidden'"),
        (("predict", "count", "nowhere", "1" * 20), "there is no such file"),
        (("train",), "Usage"),
    ],
)
def test_what_makes_no_sense_is_refused_with_exit_code_2(words, message):
    answer = called(*words)
    assert answer.returncode == 2
    assert message in answer.stdout + answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_short_training_run_can_be_used_afterwards(tmp_path):
    """Train, look at what was written, and use it: the whole way of a newcomer, on a tiny network."""
    run = tmp_path / "run"
    answer = lstmcore("train", "count", *SMALL, "--out", run, "--json")
    assert answer.returncode == 0, answer.stderr
    metrics = json.loads(answer.stdout.splitlines()[-1])
    assert metrics["total"] == 2**20 - 200
    assert metrics["wrong"] == sum(metrics["wrong_by_ones"]) > 0
    assert metrics["test_error"] == metrics["wrong"] / metrics["total"]
    assert {"train_seconds", "test_seconds", "seed"} <= metrics.keys()
    assert metrics["engine"] == "reference"
    assert f"{metrics['wrong']:,} of {metrics['total']:,} strings are wrong" in answer.stdout
    assert sorted(path.name for path in run.iterdir()) == [
        "checkpoints",
        "epochs.csv",
        "epochs.jsonl",
        "history.json",
        "lock",
        "metrics.json",
        "model.safetensors",
        "picture.png",
    ]
    assert json.loads((run / "metrics.json").read_text()) == metrics
    assert (run / "picture.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"

    answer = called("predict", "count", run, "10011011101001101110", "0" * 20)
    assert answer.returncode == 0, answer.stderr
    first, second = answer.stdout.splitlines()
    assert first.startswith("10011011101001101110 has 12 ones; the network says ")
    assert second.startswith("00000000000000000000 has 0 ones")
    answer = called("predict", "count", run, "10011011101001101110", "--json")
    assert abs(sum(json.loads(answer.stdout)["probabilities"]) - 1) < 21 * 2.0**-23  # 21 roundings of float32

    for bad, message in (("101", "should have 20 bits, as in training; got 3"), ("2" * 20, "should hold only 0 and 1")):
        answer = called("predict", "count", run, bad)
        assert answer.returncode == 2
        assert message in answer.stderr


def test_a_goal_that_is_missed_is_an_exit_code_of_1():
    answer = called("train", "count", *SMALL, "--goal", 0.001)
    assert answer.returncode == 1
    assert "is above the goal of 0.001" in answer.stderr


def test_a_folder_that_cannot_be_written_is_found_before_the_training(tmp_path):
    (tmp_path / "file").write_text("in the way")
    answer = called("train", "count", "--out", tmp_path / "file")
    assert answer.returncode == 2
    assert f"lstmcore: {tmp_path / 'file'}: a folder is wanted here, and a file is in the way" in answer.stderr


def test_info_names_versions_and_engines():
    facts = json.loads(called("info", "--json").stdout)
    assert facts["lstmcore"]
    assert "reference" in facts["engines"]
    assert "cores" in facts["machine"]
    assert any(f"fused-cpu-bf16 ({how})" in facts["engines"] for how in ("native", "emulated"))
    assert "numpy" in called("info").stdout
    assert "compiled, " in facts["kernels"]


def test_the_version_and_python_m():
    assert lstmcore("--version").stdout == f"lstmcore {lc.__version__}\n"
    command = [sys.executable, "-m", "lstmcore", "--version"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == f"lstmcore {lc.__version__}\n"


def test_info_empties_the_cache_of_kernels(monkeypatch, tmp_path):
    """Those of a cache of its own: that of this suite is needed by the tests behind it."""
    monkeypatch.setattr(disk, "folders", lambda: (tmp_path / "kernels",))
    disk.save("a", bytes(1_000_000))
    result = CliRunner().invoke(app, ["info", "--clear-cache"])
    assert result.output == "1 compiled kernels removed, 1.0 MB\n"
    assert disk.usage().files == 0
    both = CliRunner().invoke(app, ["info", "--clear-cache", "--build-kernels"])
    assert both.exit_code == 2
    assert "three things to do: give one of them" in " ".join(both.output.split())


def test_the_alphabet_says_what_happens_while_it_happens():
    answer = called("train", "alphabet", "--epochs", 3, "--hidden", 5, "--json")
    assert answer.returncode == 0, answer.stderr
    assert "the outputs do not vary: the network predicts the mean of the targets" in answer.stderr
    assert "the inputs saturate most gates" in answer.stderr
    assert "11.9167" in answer.stdout
    metrics = json.loads(answer.stdout.splitlines()[-1])
    assert abs(metrics["loss"] / metrics["variance"] - 1) < 0.01
    assert metrics["ended"] == "all 3 epochs done"


def test_a_text_is_learnt_and_written(tmp_path):
    (tmp_path / "text").write_text("to be or not to be, that is the question. " * 60)
    small = ("--hidden", 16, "--embedding", 4, "--steps", 20, "--batch", 4, "--epochs", 2)
    answer = lstmcore("train", "text", "text", *small, "--out", "run", "--json", cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    metrics = json.loads(answer.stdout.splitlines()[-1])
    assert metrics["learnt"] + metrics["held_back"] == 42 * 60
    assert 0 < metrics["nats"] < metrics["unigram_nats"] + 1
    assert json.loads((tmp_path / "run" / "metrics.json").read_text()) == metrics
    written = [
        called("predict", "text", "run", "--length", 50, "--seed", 1, "--start", "to be", cwd=tmp_path).stdout
        for _ in range(2)
    ]
    assert written[0] == written[1]
    assert len(written[0]) == len("to be") + 50 + 1  # and a new line
    assert written[0].startswith("to be")
    answer = called("predict", "text", "run", "--start", "x", cwd=tmp_path)
    assert answer.returncode == 2
    assert "the text learnt from has no 'x'" in answer.stderr


def test_a_series_of_ones_own_is_forecast(tmp_path):
    rows = [f"{hour},{(hour % 24) ** 0.5 + (hour * 7 % 5) / 50}" for hour in range(400)]
    (tmp_path / "load.csv").write_text("\n".join(["hour,MW", *rows]))
    words = ("train", "series", "load.csv", "--hidden", 8, "--window", 48, "--horizon", 24, "--epochs", 2)
    answer = lstmcore(*words, "--column", "MW", "--out", "run", "--json", cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    metrics = json.loads(answer.stdout.splitlines()[-1])
    assert metrics["season"] == 24
    assert metrics["one_step"].keys() == {"lstm", "last value", "season before", "mean"}
    assert "24 ahead" in answer.stdout
    assert (tmp_path / "run" / "picture.png").is_file()
    answer = called(*words, cwd=tmp_path)
    assert answer.returncode == 2
    assert "has the columns hour, MW; say which one with --column" in answer.stderr


def test_loops_are_learnt_and_predicted(tmp_path):
    """From a file of loops, with the model of the question, small; its leak is told; and from structures, of none."""
    npz.write(tmp_path / "loops.npz", generator.generate(120))
    words = ("train", "loops", "--data", "loops.npz", "--model", "q3", "--widths", "6,4", "--epochs", 2, "--out", "run")
    answer = lstmcore(*words, "--split", "random", "--json", cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert "leak: " in answer.stderr
    metrics = json.loads(answer.stdout.splitlines()[-1])
    assert metrics["options"]["head"] == "last-state"
    assert metrics["options"]["widths"] == [6, 4]
    assert "mean per triple" in answer.stdout
    assert len(answer.stdout.splitlines()) < 14  # what matters; the tables of residues and positions are in a file
    lines = (tmp_path / "run" / "errors.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "by,which,residues,masked squared error,phi,psi"
    assert len(lines) == 1 + len(metrics["by_residue"]) + len(metrics["by_position"])
    assert float(lines[1].split(",")[3]) == next(iter(metrics["by_residue"].values()))["mse"]
    assert (tmp_path / "run" / "picture.png").is_file()
    told = called("predict", "loops", "run", "GPA", "AC", "--json", cwd=tmp_path).stdout.splitlines()
    assert [len(json.loads(line)["phi"]) for line in told] == [3, 2]
    assert "GPA" in called("predict", "loops", "run", "GPA", cwd=tmp_path).stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--data", "nowhere.npz"), "No such file or directory"),
        (("--data", "data.npz", "--pdb", "."), "--data and --pdb are two sources: give one"),
        (("--pdb", "."), "holds no structure"),
        (("--widths", "64,x"), "--widths should be positive numbers separated by commas"),
        (("--pad", 3), "the longest loop has 30 residues, and should be padded to 3"),
    ],
)
def test_loops_that_cannot_be(tmp_path, words, message):
    answer = called("train", "loops", *words, cwd=tmp_path)
    assert answer.returncode == 2
    assert message in answer.stderr
    assert "Traceback" not in answer.stderr


@pytest.mark.skipif(os.name != "posix", reason="Ctrl-C is sent as a signal of POSIX")
def test_ctrl_c_saves_and_the_command_that_it_tells_goes_on(tmp_path):
    """The whole way: begun, interrupted, refused without a word about it, gone on with; bit-identical weights."""
    (tmp_path / "my text").write_text("to be or not to be, that is the question. " * 60)
    words = ["train", "text", "my text", "--hidden", "8", "--embedding", "4", "--steps", "10", "--batch", "4"]
    words += ["--epochs", "30", "--out"]
    program = struck(signal.SIGINT, tmp_path, "cut/epochs.csv", 2, "from lstmcore.cli import main; main()")
    with started(
        sys.executable, "-c", program, *words, "cut", stdout=-1, stderr=-1, text=True, cwd=tmp_path
    ) as process:
        _, told = process.communicate()
    assert process.returncode == 130, told
    assert "saved: cut/checkpoints/step-0000" in told
    command = told.partition("go on with: lstmcore ")[2].splitlines()[0]
    assert command == "train text 'my text' " + " ".join([*words[3:], "cut", "--resume"])
    metrics = json.loads((tmp_path / "cut" / "metrics.json").read_text())
    assert metrics["ended"] == "interrupted"
    assert metrics["updates"] < 30 * 57

    answer = lstmcore(*words, "cut", cwd=tmp_path)
    assert answer.returncode == 2
    assert f"cut holds a run; go on with it: lstmcore {command}; or begin anew with --overwrite" in answer.stderr

    answer = lstmcore(*shlex.split(command), cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert "cut: goes on after" in answer.stderr
    options = writing.Options(hidden=8, embedding=4, steps=10, batch=4, epochs=30)
    whole = writing.run((tmp_path / "my text").read_text(), options, progress=False)
    for name, w in lc.load(tmp_path / "cut" / "model.safetensors").params.items():
        assert w.tobytes() == whole.model.params[name].tobytes()
    assert (tmp_path / "cut" / "epochs.csv").read_text().count("\n") == 31


@pytest.mark.parametrize(
    ("folder", "resume", "overwrite", "message"),
    [
        (None, True, False, "--resume needs the folder of the run: --out FOLDER"),
        (None, False, True, "--overwrite needs the folder of the run: --out FOLDER"),
        (Path("run"), True, True, "--resume goes on with a run and --overwrite deletes it"),
    ],
)
def test_options_about_a_run_that_make_no_sense(folder, resume, overwrite, message, capsys):
    with pytest.raises(typer.Exit) as exit, keeping(folder, resume, overwrite):
        pass
    assert exit.value.exit_code == 2
    assert message in capsys.readouterr().err


def test_a_model_without_checkpoints_is_not_overwritten_by_resuming(tmp_path, capsys):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(typer.Exit), keeping(tmp_path, resume=True, overwrite=False):
        pass
    assert "holds a model, but no checkpoint to go on from; --overwrite begins anew" in capsys.readouterr().err
    with keeping(tmp_path, resume=False, overwrite=True) as keep:
        assert keep.overwrite
    (tmp_path / "checkpoints" / "step-0000000003.damaged").touch()  # that is told later, by name
    with keeping(tmp_path, resume=True, overwrite=False) as keep:
        assert keep.resume


def test_the_learning_rate_is_looked_for(tmp_path):
    answer = called("train", "count", *SMALL, "--find-lr", "--out", tmp_path, "--json")
    assert answer.returncode == 0, answer.stderr
    found = json.loads(answer.stdout.splitlines()[-1])
    assert 1e-6 < found["fastest"] <= found["lowest"] <= 10
    assert "the loss falls fastest at" in answer.stdout
    assert sorted(os.listdir(tmp_path)) == ["learning-rate.png", "lock"]


def test_the_pages_are_listed_and_printed():
    listed = called("docs").stdout
    assert "\nderivation " in listed
    assert "questions/predicts-the-mean " in listed
    for name, file in {
        **dict.fromkeys(
            ("tutorial", "docs/tutorial.md", "./docs/tutorial.md", "Tutorial", "docs/Tutorial.MD#1"), "docs/tutorial.md"
        ),
        **dict.fromkeys(("CHANGELOG.md", "changelog", "Changelog"), "CHANGELOG.md"),
        **dict.fromkeys(("lstm_in_one_file.py", "docs/lstm_in_one_file"), "docs/lstm_in_one_file.py"),
        **dict.fromkeys(("questions", "docs/questions/", "Questions/Index"), "docs/questions/index.md"),
    }.items():
        assert called("docs", name).stdout == (Path(__file__).parents[1] / file).read_text("utf-8"), name
    for name in ("changelog ", "lstm_in_one_file.py ", "questions/index "):
        assert f"\n{name}" in listed
    answer = called("docs", "derivations")
    assert answer.returncode == 2
    assert "there is no page 'derivations'; derivation or " in answer.stderr


COMMANDS = [
    (), ("train",), ("train", "count"), ("train", "alphabet"), ("train", "text"), ("train", "series"),
    ("train", "loops"), ("predict", "count"), ("predict", "text"), ("predict", "loops"), ("check",), ("info",),
    ("docs",),
]  # fmt: skip


@pytest.mark.parametrize("words", COMMANDS)
def test_every_command_has_help(words):
    answer = called(*words, "--help")
    assert answer.returncode == 0
    assert "Usage" in answer.stdout


@pytest.fixture
def case(tmp_path):
    """Writes the case of a small LSTM whose gradients are what `spoil` makes of the right ones."""

    def write(spoil=lambda grads: grads):
        rng = np.random.default_rng(0)
        lstm = lc.LSTM(3, 4, dtype="float64", seed=0, engine="reference")
        x, dy = rng.standard_normal((5, 3, 3)), rng.standard_normal((5, 3, 4))
        mask = lc.mask_from_lengths([5, 3, 1], 5)
        _, _, cache = lstm.forward(x, mask=mask)
        _, _, grads = lstm.backward(dy, cache)
        weights = {f"weights.{name}": value for name, value in lstm.params.items()}
        gradients = {f"grads.{name}": value for name, value in spoil(grads).items()}
        np.savez(tmp_path / "case.npz", x=x, dy=dy, mask=mask, **weights, **gradients)
        return tmp_path / "case.npz"

    return write


def test_diagnose_says_right_and_wrong(case):
    answer = called("diagnose", case())
    assert answer.returncode == 0, answer.stdout + answer.stderr
    answer = called("diagnose", case(lambda grads: grads | {"b": grads["b"] / 3}), "--json")
    assert answer.returncode == 1
    found = json.loads(answer.stdout)
    assert not found["ok"]
    assert any("averaged over the batch" in name for name in found["names"])
    assert found["residual"] < 1e-12


def test_debug_shows_a_case_as_text_and_as_a_page(case, tmp_path):
    path = case()
    answer = called("debug", path)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "6 of 15 steps are padding; they give exactly nothing" in answer.stdout
    answer = called("debug", path, "--out", tmp_path / "page.html")
    assert answer.returncode == 0
    assert (tmp_path / "page.html").read_text().startswith("<!DOCTYPE html>")


def test_a_broken_case_is_refused(tmp_path):
    (tmp_path / "case.npz").write_bytes(b"no archive")
    for command in ("diagnose", "debug"):
        answer = called(command, tmp_path / "case.npz")
        assert answer.returncode == 2
        assert "is damaged, or no .npz file" in answer.stderr
        assert "Traceback" not in answer.stderr


def test_bench_hands_its_options_on():
    answer = lstmcore("bench", "--help")
    assert answer.returncode == 0, answer.stderr
    assert "--shapes" in answer.stdout
