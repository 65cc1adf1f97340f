"""Every recipe goes on where it was broken off, and ends as if nothing had happened."""

import json
from dataclasses import replace

import numpy as np
import pytest

from lstmcore import train
from lstmcore.recipes import alphabet, count, series, text
from lstmcore.recipes import job as finished
from lstmcore.recipes.job import Keep

RHYME = "".join(("axa ", "byb ", "czc ")[k] for k in np.random.default_rng(0).integers(0, 3, 500))
SINE = np.sin(2 * np.pi * np.arange(400) / 10)

# recipe -> (options, what runs it and gives the model and the history)
RECIPES = {
    "count": (
        count.Options(hidden=3, epochs=2, examples=200, batch=50, engine="reference"),
        lambda options, keep: count.run(options, progress=False, tell=quiet, keep=keep),
    ),
    "text": (
        text.Options(hidden=8, embedding=4, batch=4, steps=30, epochs=2, dropout=0.2, engine="reference"),
        lambda options, keep: text.run(RHYME, options, progress=False, tell=quiet, keep=keep),
    ),
    "series": (
        series.Options(hidden=4, window=30, horizon=10, epochs=2, batch=20, engine="reference"),
        lambda options, keep: series.run(SINE, options, progress=False, tell=quiet, keep=keep),
    ),
    "alphabet": (
        alphabet.Options(hidden=4, epochs=3, noise=0.1, freeze=True, engine="reference"),
        lambda options, keep: alphabet.run(options, progress=False, tell=quiet, keep=keep),
    ),
}


def quiet(message):
    pass


class PowerFailure(Exception):
    pass


def outcome(recipe, result):
    """Weights and history, without the seconds."""
    trials = result.trials if recipe == "alphabet" else [result]
    return [
        (
            {name: w.tobytes() for name, w in trial.model.params.items()},
            [{**row, "seconds": 0} for row in trial.history["epochs"]],
            trial.history["ended"],
            getattr(trial, "said", None),
        )
        for trial in trials
    ]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Short epochs, and few strings to be tested on."""
    monkeypatch.setattr(alphabet, "UPDATES", 10)
    monkeypatch.setattr(count, "_logits_of_all", lambda net: iter([(0, np.zeros((1000, count.CLASSES)))]))


@pytest.mark.parametrize("recipe", RECIPES)
def test_goes_on_after_a_power_failure(recipe, tmp_path, monkeypatch):
    """In the midst of the training, for alphabet of the second one of two."""
    options, run = RECIPES[recipe]
    whole = outcome(recipe, run(options, Keep(tmp_path / "whole", tell=quiet)))
    assert outcome(recipe, run(options, None)) == whole
    original, saves = train.Checkpoints.on_batch, []
    stop = {"count": 3, "text": 5, "series": 7, "alphabet": 30 + 13}[recipe]

    def failing(self, run):
        original(self, run)
        saves.append(run.step)
        if len(saves) == stop:
            raise PowerFailure

    keep = Keep(tmp_path / "broken", every_seconds=0.0, tell=quiet)
    with monkeypatch.context() as patch:
        patch.setattr(train.Checkpoints, "on_batch", failing)
        with pytest.raises(PowerFailure):
            run(options, keep)
    told = []
    resumed = run(options, replace(keep, resume=True, tell=told.append))
    assert outcome(recipe, resumed) == whole
    step = 13 if recipe == "alphabet" else stop
    assert any(f"goes on after {step} updates" in words for words in told)
    csv = next((tmp_path / "broken").glob("**/epochs.csv")).read_text()
    assert [line.split(",")[0] for line in csv.splitlines()] == ["epoch", *map(str, range(1, options.epochs + 1))]


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_finished_run_is_tested_again_and_not_trained(recipe, tmp_path, monkeypatch):
    options, run = RECIPES[recipe]
    keep = Keep(tmp_path, tell=quiet)
    first = run(options, keep)
    monkeypatch.setattr(train.loop, "_train_epoch", None)
    assert outcome(recipe, run(options, replace(keep, resume=True))) == outcome(recipe, first)


@pytest.mark.parametrize("recipe", RECIPES)
def test_other_options_are_told_and_nothing_is_lost(recipe, tmp_path):
    options, run = RECIPES[recipe]
    keep = Keep(tmp_path, tell=quiet)
    run(options, keep)
    before = {path: path.read_bytes() for path in tmp_path.glob("**/*.safetensors")}
    with pytest.raises(ValueError, match=r"is of another training: options\.hidden was \d, and is 5 now"):
        run(replace(options, hidden=5), replace(keep, resume=True))
    assert {path: path.read_bytes() for path in tmp_path.glob("**/*.safetensors")} == before


def test_other_data_are_told(tmp_path):
    options, _ = RECIPES["text"]
    keep = Keep(tmp_path, tell=quiet)
    text.run(RHYME, options, progress=False, keep=keep, tell=quiet)
    with pytest.raises(ValueError, match=r"is of another training: data was '[0-9a-f]{16}', and is '[0-9a-f]{16}' now"):
        text.run(RHYME[:-1], options, progress=False, keep=replace(keep, resume=True), tell=quiet)


def test_overwriting_begins_anew(tmp_path):
    """And removes what is of the run before, so that no --resume can take it for its own."""
    options, run = RECIPES["alphabet"]
    keep = Keep(tmp_path, tell=quiet)
    run(options, keep)
    (tmp_path / "trials" / "left-over" / "checkpoints").mkdir(parents=True)
    (tmp_path / "trials" / "left-over" / "checkpoints" / "step-0000000001.damaged").touch()
    (tmp_path / "notes.txt").write_text("mine")
    assert keep.holds_a_run
    run(replace(options, hidden=5), replace(keep, overwrite=True))
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert not list((tmp_path / "trials" / "left-over" / "checkpoints").iterdir())
    told = []
    run(replace(options, hidden=5), replace(keep, resume=True, tell=told.append))
    assert "goes on after 30 updates, 3 of 3 epochs" in told[0]


def test_what_a_run_is_about():
    one = finished.about("text", text.Options(), "abc", np.arange(3))
    assert one == finished.about("text", text.Options(), "abc", np.arange(3))
    assert one["data"] != finished.about("text", text.Options(), "abd", np.arange(3))["data"]
    assert one["data"] != finished.about("text", text.Options(), "abc", np.arange(4))["data"]
    assert json.loads(json.dumps(one)) == one
    assert one["options"]["hidden"] == 256
