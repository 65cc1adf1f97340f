"""The files that grow with a run: a row per epoch, each of them once."""

import csv
import json
import math

import numpy as np
import pytest

import lstmcore as lc
from lstmcore.train import SGD, Callback, Records, fit


class Stop(Callback):
    """Keeps the state after an update, and ends the run after a later one."""

    def __init__(self, keep, end):
        self.keep, self.end = keep, end

    def on_batch(self, run):
        if run.step == self.keep:
            self.saved = run.state
        if run.step == self.end:
            run.ended = "enough"


def train(folder, callbacks=(), validation=False, tell=print, resume=None):
    """4 epochs of 3 updates."""
    batch = (np.ones((3, 2, 1), "float32"), np.ones((3, 2, 2), "float32"))
    return fit(
        lc.Linear(1, 2, seed=0), lc.squared_error, [batch] * 3, SGD(0.1), epochs=4, progress=False,
        validation=[batch] if validation else None, callbacks=[*callbacks, Records(folder, tell)], resume=resume,
    )  # fmt: skip


def read(folder):
    lines = [json.loads(line) for line in (folder / "epochs.jsonl").read_text().splitlines()]
    with (folder / "epochs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return lines, rows


@pytest.mark.parametrize("validation", [False, True])
def test_both_hold_the_history(validation, tmp_path):
    history = train(tmp_path / "run", validation=validation)
    lines, rows = read(tmp_path / "run")
    assert lines == history["epochs"]
    assert [{name: float(value) for name, value in row.items()} for row in rows] == history["epochs"]
    assert list(rows[0]) == ["epoch", "step", "loss", *(["validation"] if validation else []), "lr", "seconds"]


def test_they_grow_while_the_run_goes_on(tmp_path):
    lengths = []

    class Look(Callback):
        def on_batch(self, run):
            lengths.append(len(read(tmp_path)[0]))

    train(tmp_path, [Look()])
    assert lengths == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3


def test_no_row_twice_after_going_on(tmp_path):
    """Saved in epoch 2, broken off in epoch 4: the rows of epochs 2 and 3 are written anew."""
    stop = Stop(keep=5, end=10)
    train(tmp_path, [stop])
    assert [line["epoch"] for line in read(tmp_path)[0]] == [1, 2, 3]
    history = train(tmp_path, resume=stop.saved)
    lines, rows = read(tmp_path)
    assert [line["epoch"] for line in lines] == [int(row["epoch"]) for row in rows] == [1, 2, 3, 4]
    assert lines == history["epochs"]


def test_a_number_that_is_not_finite(tmp_path):
    """JSON has none: null."""

    class Spoil(Callback):
        def on_epoch(self, run):
            run.history[-1]["validation"] = math.nan

    train(tmp_path, [Spoil()], validation=True)
    lines, rows = read(tmp_path)
    assert lines[0]["validation"] is None
    assert math.isnan(float(rows[0]["validation"]))


def test_what_others_write_into_a_row(tmp_path):
    """A number of NumPy's, a word, a path: in the JSON lines; the columns of the CSV are those of `fit`."""

    class Add(Callback):
        def on_epoch(self, run):
            run.history[-1] |= {"accuracy": np.float32(0.5), "note": "good", "where": tmp_path}

    train(tmp_path, [Add()])
    lines, rows = read(tmp_path)
    assert (lines[0]["accuracy"], lines[0]["note"], lines[0]["where"]) == (0.5, "good", str(tmp_path))
    assert rows[0].keys() == {"epoch", "step", "loss", "lr", "seconds"}


def test_trouble_on_the_way_is_told_once_and_ends_nothing(tmp_path):
    class Vanish(Callback):
        def on_batch(self, run):
            for path in (tmp_path / "run").glob("epochs.*"):
                path.unlink()
                path.mkdir()

    told = []
    history = train(tmp_path / "run", [Once(Vanish())], tell=told.append)
    assert history["ended"] == "all 4 epochs done"
    assert len(told) == 1
    assert "epochs.jsonl does not" in told[0]


class Once(Callback):
    """Calls the hook of another callback once."""

    def __init__(self, other):
        self.on_batch = lambda run: other.on_batch(run) if run.step == 1 else None


def test_what_a_kill_has_left_half_written_is_removed(tmp_path):
    (tmp_path / ".model.safetensors.12345678.part").write_bytes(b"half")
    (tmp_path / ".mine").write_text("kept")
    train(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".mine", "epochs.csv", "epochs.jsonl"]


def test_trouble_at_the_start_is_an_error(tmp_path):
    (tmp_path / "run").write_text("in the way")
    with pytest.raises(FileExistsError):
        train(tmp_path / "run")
