"""The recipe as a whole: it learns, reports, keeps itself, and can be used afterwards."""

import json
from dataclasses import replace

import numpy as np
import pytest

from lstmcore.recipes import job as run
from lstmcore.recipes import loops
from lstmcore.recipes.loops import generator, npz, scores
from lstmcore.recipes.loops.torsions import UNDEFINED, Loops

SMALL = replace(loops.MODELS["per-step"], widths=(12,), epochs=6, batch=16, dropout=0.1, lr=0.02)
DATA = generator.generate(400, seed=2)


@pytest.fixture(scope="module")
def result() -> loops.Result:
    return loops.run(DATA, SMALL, progress=False, best=generator.best)


def test_it_learns(result):
    """Better than the mean per residue, which needs the neighbours; never better than possible, but for chance: the
    mean over 1,000 residues of errors below 1 has a standard error of 0.01 at most."""
    floors = {name: score.mse for name, score in result.floors.items()}
    assert result.score.mse < floors["mean per residue"]
    assert result.score.mse > floors["best possible"] - 0.03
    assert result.score == scores.score(result.predicted, result.parts.tested.targets)
    assert result.leaked == 0


def test_what_it_reports(result, tmp_path):
    loops.save(tmp_path, result, SMALL)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["mse"] == result.score.mse
    assert metrics["floors"]["exact memory"]["mse"] == metrics["floors"]["mean per residue"]["mse"]  # grouped
    assert sum(row["residues"] for row in metrics["by_position"]) == result.score.residues
    assert sum(row["residues"] for row in metrics["by_residue"].values()) == result.score.residues
    assert metrics["loops"]["learnt"] + metrics["loops"]["validation"] + metrics["loops"]["tested"] == 400
    assert metrics["alphabet"] == loops.ALPHABET
    assert metrics["options"]["widths"] == [12]


def test_it_can_be_used_afterwards(result, tmp_path):
    """Alone or beside a longer loop, at any length: the same angles, to the rounding of float32 sums of 64 terms."""
    loops.save(tmp_path, result, SMALL)
    net, alphabet = loops.load(tmp_path)
    tested = result.parts.tested
    told = dict(loops.predict(net, alphabet, list(tested.sequences[:5]) + ["G" * 60]))
    assert told["G" * 60].shape == (60, 4)
    for n in range(5):
        sequence = tested.sequences[n]
        assert np.max(np.abs(told[sequence] - result.predicted[n, : len(sequence)])) <= 64 * 2.0**-23
    with pytest.raises(ValueError, match="a sequence should hold letters of"):
        list(loops.predict(net, alphabet, ["GXA"]))


@pytest.mark.parametrize("alphabet", ["null", '"ACD"', "5"])
def test_a_folder_that_does_not_fit(result, tmp_path, alphabet):
    loops.save(tmp_path, result, SMALL)
    (tmp_path / "metrics.json").write_text(f'{{"alphabet": {alphabet}}}')
    with pytest.raises(ValueError, match=r"metrics\.json does not hold the alphabet of the model beside it"):
        loops.load(tmp_path)


def test_the_picture(result, tmp_path):
    pytest.importorskip("matplotlib", reason="the extra `plot` is not installed")
    loops.draw(tmp_path / "picture.png", result)
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_the_same_seed_gives_the_same_run(result):
    again = loops.run(DATA, SMALL, progress=False)
    assert np.array_equal(again.predicted, result.predicted)


def test_another_model_gets_the_same_split(result):
    job = loops.prepare(DATA, replace(loops.MODELS["q3"], widths=(3,), seed=SMALL.seed))
    assert list(job.parts.tested.sequences) == list(result.parts.tested.sequences)


@pytest.mark.parametrize("head", ["last-state", "last-output"])
def test_one_dense_layer_for_all_residues(head, tmp_path):
    """The model of the question, smaller. Its head has as many residues as the longest loop, or `pad`."""
    options = replace(loops.MODELS["q3"], head=head, widths=(8, 4), epochs=2, batch=50, pad=32)
    result = loops.run(DATA, options, progress=False)
    assert result.predicted.shape == (len(result.parts.tested), 32, 4)
    assert result.model.params["1.W" if head == "last-state" else "2.W"].shape == (8, 128)
    first, last = result.history["epochs"][0]["loss"], result.history["epochs"][-1]["loss"]
    assert last < first
    loops.save(tmp_path, result, options)
    net, alphabet = loops.load(tmp_path)
    with pytest.raises(ValueError, match="this network's head has 32 residues; got 33"):
        list(loops.predict(net, alphabet, ["G" * 33]))


def test_a_leak_is_told():
    said = []
    result = loops.run(DATA, replace(SMALL, split="random", epochs=1), progress=False, tell=said.append)
    assert result.leaked > 0
    assert said[0].startswith(f"leak: {result.leaked} of {len(result.parts.tested)} test loops")


def test_undefined_angles_are_never_learnt_from(tmp_path):
    """The first phi of every loop is undefined: a mark that was taken for a target would show in the loss."""
    targets = DATA.targets.copy()
    targets[:, 0, :2] = UNDEFINED
    marked = Loops(DATA.index, targets)
    npz.write(tmp_path / "marked.npz", marked)
    data = npz.read(tmp_path / "marked.npz")
    result = loops.run(data, replace(SMALL, epochs=2), progress=False)
    assert np.isfinite(result.score.mse)
    assert np.isnan(scores.by_position(result.predicted, result.parts.tested)[0].phi)
    assert result.history["epochs"][-1]["loss"] < 1  # a mark taken for a target would give 9


def test_going_on_gives_the_same_weights(tmp_path):
    """Interrupted after the third epoch and resumed: bit for bit the weights of the run that was left alone."""
    whole = loops.run(DATA, SMALL, progress=False)

    class Interrupt:
        def on_epoch(self, run):
            if run.epoch == 3:
                run.ended = "interrupted"

    def tell(message):
        pass

    keep = run.Keep(tmp_path, tell=tell)
    loops.prepare(DATA, SMALL).training.fit([*loops.callbacks(SMALL, 0.4, tell), Interrupt()], keep, False)
    resumed = loops.run(DATA, SMALL, progress=False, tell=tell, keep=replace(keep, resume=True))
    assert resumed.history["step"] == whole.history["step"]
    for name, w in whole.model.params.items():
        assert np.array_equal(w, resumed.model.params[name]), name
