"""The command line as somebody in a shell meets it: real processes, piped output, exit codes."""

import json
import os
import subprocess
import sys

import pytest


def lstmcore(*words, cwd=None):
    """Runs the command in a process of its own, its output piped."""
    return subprocess.run(
        [sys.executable, "-c", "from lstmcore.cli import main; main()", *map(str, words)],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=300,
        env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1"},
    )


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
    answer = lstmcore("check", "--hidden", 2, *words)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert answer.stdout.splitlines()[-1].endswith("every gradient is right")
    assert "W_hh" in answer.stdout


def test_check_as_json_says_which_coordinate_is_worst():
    answer = json.loads(lstmcore("check", "--hidden", 2, "--json").stdout)
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
    answer = lstmcore(*words)
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
        "history.json",
        "metrics.json",
        "model.safetensors",
        "picture.png",
    ]
    assert json.loads((run / "metrics.json").read_text()) == metrics
    assert (run / "picture.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"

    answer = lstmcore("predict", "count", run, "10011011101001101110", "0" * 20)
    assert answer.returncode == 0, answer.stderr
    first, second = answer.stdout.splitlines()
    assert first.startswith("10011011101001101110 has 12 ones; the network says ")
    assert second.startswith("00000000000000000000 has 0 ones")
    answer = lstmcore("predict", "count", run, "10011011101001101110", "--json")
    assert abs(sum(json.loads(answer.stdout)["probabilities"]) - 1) < 21 * 2.0**-23  # 21 roundings of float32

    for bad, message in (("101", "should have 20 bits, as in training; got 3"), ("2" * 20, "should hold only 0 and 1")):
        answer = lstmcore("predict", "count", run, bad)
        assert answer.returncode == 2
        assert message in answer.stderr


def test_a_goal_that_is_missed_is_an_exit_code_of_1():
    answer = lstmcore("train", "count", *SMALL, "--goal", 0.001)
    assert answer.returncode == 1
    assert "is above the goal of 0.001" in answer.stderr


def test_a_folder_that_cannot_be_written_is_found_before_the_training(tmp_path):
    (tmp_path / "file").write_text("in the way")
    answer = lstmcore("train", "count", "--out", tmp_path / "file")
    assert answer.returncode == 2
    assert "File exists" in answer.stderr


def test_info_names_versions_and_engines():
    facts = json.loads(lstmcore("info", "--json").stdout)
    assert facts["lstmcore"]
    assert "reference" in facts["engines"]
    assert "cores" in facts["machine"]
    assert "numpy" in lstmcore("info").stdout


@pytest.mark.parametrize("words", [(), ("train",), ("train", "count"), ("predict", "count"), ("check",), ("info",)])
def test_every_command_has_help(words):
    answer = lstmcore(*words, "--help")
    assert answer.returncode == 0
    assert "Usage" in answer.stdout
