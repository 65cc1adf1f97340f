"""One checkpoint: what comes back is what was saved, bit for bit; what does not belong together is refused."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import lstmcore as lc
from lstmcore.train import Adam, Batches, Callback, EarlyStopping, Stream, fit, load, save
from lstmcore.train.files import checkpoint, contents, sealed
from lstmcore.train.files.sealed import Damaged

MODELS = {
    "lstm": lambda: lc.Stack(
        [lc.Embedding(5, 3, seed=0), lc.LSTM(3, 4, seed=1), lc.Dropout(0.5), lc.Linear(4, 5, seed=2)]
    ),
    "gru": lambda: lc.GRU(3, 5, seed=0),
    "deep": lambda: lc.Stack([lc.RNN(3, 2, seed=0), lc.Stack([lc.Tanh(), lc.LSTM(2, 5, dtype="float32", seed=1)])]),
}


class Keep(Callback):
    """The state after the last update."""

    def on_batch(self, run):
        self.state_of_run = run.state


def state_of(name):
    """The state of a run after 2 updates, and its model."""
    model = MODELS[name]()
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 5, 41)
    x = classes[:-1] if name == "lstm" else rng.standard_normal((40, 3)).astype("float32")
    keep = Keep()
    stream = Stream(x, classes[1:], batch_size=4, steps=5)
    fit(
        model, lc.softmax_cross_entropy, stream, Adam(0.01), epochs=1, callbacks=[keep], rng=0, progress=False,
        carry_state=True,
    )  # fmt: skip
    return keep.state_of_run, model


@pytest.fixture(scope="module")
def state():
    return state_of("lstm")[0]


@pytest.fixture
def path(state, tmp_path):
    checkpoint.write(tmp_path / "c", state, {"recipe": "tests"})
    return tmp_path / "c"


def assert_same(one, two, place="state"):
    """Equal trees, arrays bit for bit."""
    if isinstance(one, np.ndarray):
        assert (one.dtype, one.shape, one.tobytes()) == (two.dtype, two.shape, two.tobytes()), place
    elif isinstance(one, dict):
        assert one.keys() == two.keys(), place
        for name, part in one.items():
            assert_same(part, two[name], f"{place}.{name}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(two), place
        for k, part in enumerate(one):
            assert_same(part, two[k], f"{place}.{k}")
    else:
        assert one == two, place


def rewritten(path, change_state=lambda state: None, change_arrays=lambda arrays: None, change_config=lambda c: None):
    """The file again, something in it changed, with a checksum that fits."""
    with safe_open(path, framework="numpy") as file:
        texts = dict(file.metadata())
    arrays, state, config = load_file(path), json.loads(texts["state"]), json.loads(texts["config"])
    change_state(state)
    change_arrays(arrays)
    change_config(config)
    texts |= {"state": json.dumps(state), "config": json.dumps(config)}
    texts["sha256"] = sealed.digest(sealed.CHECKPOINT, texts, arrays.items())
    save_file(arrays, path, texts)
    return path


@pytest.mark.parametrize("name", MODELS)
def test_round_trip(name, tmp_path):
    state, model = state_of(name)
    assert state["carried"] is not None
    checkpoint.write(tmp_path / "c", state, {"recipe": "tests", "options": {"lr": 0.1}})
    back, about = checkpoint.read(tmp_path / "c")
    assert_same(back, state)
    assert about == {"recipe": "tests", "options": {"lr": 0.1}}
    twin = load(tmp_path / "c")
    for key, w in model.params.items():
        np.testing.assert_array_equal(twin.params[key], w)


def test_infinity_in_plain_data_survives(state, tmp_path):
    """The best loss of a run that has none yet; NumPy's own seeds are integers of 128 bits."""
    state = state | {"callbacks": [["EarlyStopping", {"best": math.inf}]], "rng": {"state": 2**127 + 1}}
    checkpoint.write(tmp_path / "c", state)
    assert_same(checkpoint.read(tmp_path / "c")[0], state)


def test_two_arrays_of_one_name_are_refused(state, tmp_path):
    with pytest.raises(ValueError, match=r"two arrays are called a\.b\.c"):
        checkpoint.write(tmp_path / "c", state | {"a": {"b.c": np.ones(1), "b": {"c": np.ones(1)}}})


def test_what_is_no_plain_data(state, tmp_path):
    """NumPy's numbers are; an object of somebody's own is not, and where it stands is said."""
    history = [{"epoch": np.int64(1), "accuracy": np.float32(0.5)}]
    checkpoint.write(tmp_path / "c", state | {"history": history})
    assert checkpoint.read(tmp_path / "c")[0]["history"] == [{"epoch": 1, "accuracy": 0.5}]
    with pytest.raises(TypeError, match=r"should be plain data and NumPy arrays; callbacks\.0\.1 is object"):
        checkpoint.write(tmp_path / "c", state | {"callbacks": [["Mine", object()]]})


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_nothing_to_go_on_from_is_not_saved(bad, state, tmp_path):
    broken = state | {"model": state["model"] | {"1.b": np.full_like(state["model"]["1.b"], bad)}}
    with pytest.raises(ValueError, match=r"model\.1\.b holds NaN or infinity: there is nothing to go on from"):
        checkpoint.write(tmp_path / "c", broken)
    assert not (tmp_path / "c").exists()


def test_a_model_is_no_checkpoint(tmp_path):
    save(tmp_path / "m", MODELS["gru"]())
    with pytest.raises(Damaged, match="is no checkpoint of lstmcore: its format is 'lstmcore model'"):
        checkpoint.read(tmp_path / "m")


def test_every_text_is_under_the_checksum(path):
    with safe_open(path, framework="numpy") as file:
        texts = file.metadata()
    for name in texts.keys() - {"sha256", "format"}:
        save_file(load_file(path), path.with_name("d"), texts | {name: texts[name].replace("0", "1", 1) + " "})
        with pytest.raises(Damaged, match="is damaged: its contents do not match their checksum"):
            checkpoint.read(path.with_name("d"))


def test_a_later_version_is_not_called_damaged(path, monkeypatch, state):
    monkeypatch.setattr(sealed, "CHECKPOINT", sealed.CHECKPOINT._replace(version="2"))
    monkeypatch.setattr(checkpoint, "CHECKPOINT", sealed.CHECKPOINT)
    checkpoint.write(path, state)
    monkeypatch.undo()
    with pytest.raises(ValueError, match="has version '2' of the format, and this lstmcore reads '1'") as error:
        checkpoint.read(path)
    assert not isinstance(error.value, Damaged)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop("model.1.b"), r"damaged: 1\.b should be float32 \(16,\) by its configuration; it is absent"),
        (lambda a: a.update({"model.x": np.ones(2)}), r"damaged: x should be absent"),
        (
            lambda a: a.update({"opt.memory.1.b.m": np.ones(2, "float32")}),
            r"opt\.memory\.1\.b\.m should be float32 \(16,\)",
        ),
        (lambda a: a.update({"callbacks.0.1.params.1.b": np.ones(2)}), r"params\.1\.b should be float32 \(16,\)"),
        (lambda a: a.update({"callbacks.0.1.params.z": np.ones(2)}), r"params\.z should be absent"),
        (lambda a: a.update({"carried.1.0": np.ones((4, 3), "float32")}), r"carried\.1\.0 should be float32 \(4, 4\)"),
        (lambda a: a.update({"carried.1.1": np.ones((3, 4), "float32")}), r"carried\.1\.1 should be float32 \(4, 4\)"),
        (lambda a: a.update({"carried.1.0": np.ones((4, 4))}), r"carried\.1\.\d should be float"),
        (lambda a: a.update({"carried.0.0": np.ones((4, 4), "float32")}), r"carried\.0\.0 should be absent"),
        (
            lambda a: a.update({"carried.1.0": np.full((4, 4), np.nan, "float32")}),
            r"carried\.1\.0 holds NaN or infinity",
        ),
        (lambda a: a.update({"more": np.ones(2)}), r"its state is not one of a training; more is left over"),
    ],
)
def test_arrays_that_do_not_belong_together(change, message, path):
    with pytest.raises(Damaged, match=message):
        checkpoint.read(rewritten(path, change_arrays=change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s["model"].pop("1.b"), "model.1.b is left over"),
        (lambda s: s["model"].update({"1.b": {"array": "model.1.c"}}), r"is damaged: 'model\.1\.c'"),
        (lambda s: s["model"].update({"1.b": {"array": []}}), "is damaged: .*unhashable"),
        (lambda s: s.pop("about"), "its state is not one of a training"),
    ],
)
def test_states_that_do_not_fit_the_arrays(change, message, path):
    with pytest.raises(Damaged, match=message):
        checkpoint.read(rewritten(path, change_state=change))


def test_a_configuration_of_a_giant_takes_no_memory(path):
    """With its checksum made to fit: the sizes are compared before anything is read."""
    with pytest.raises(Damaged, match=r"damaged: 1\.W_hh should be float32 \(1000000000, 4000000000\)"):
        checkpoint.read(rewritten(path, change_config=lambda c: c["layers"][1].update(hidden_size=10**9)))


def test_where_the_states_are():
    both = lc.Bidirectional(lc.LSTM(3, 4), lc.Stack([lc.Linear(3, 2), lc.GRU(2, 4)]))
    sizes = contents.state_sizes(lc.Stack([lc.Dropout(0.1), both, lc.RNN(8, 5)]).config())
    assert sizes == {".1.0.0": 4, ".1.0.1": 4, ".1.1.1.0": 4, ".2.0": 5}


def test_a_checkpoint_written_before_goes_on(tmp_path):
    """Written by lstmcore 0.1.0 after an epoch; the parameters after two more are those that it came to.

    Adam divides by the root of a mean of squares, so that a few eps of other machines' tanh stay a few eps: 1e-10."""
    folder = Path(__file__).parent / "fixtures"
    shutil.copy(folder / "checkpoint.safetensors", tmp_path / "step-0000000003.safetensors")
    x = np.sin(np.arange(96.0)).reshape(4, 12, 2)
    parts = [
        lc.LSTM(2, 3, seed=0, engine="reference", dtype="float64"),
        lc.Linear(3, 2, seed=1, dtype="float64"),
    ]
    model, keep = lc.Stack(parts), lc.Checkpoints(tmp_path, every_seconds=None, every_steps=2)
    batches = Batches(x, x.cumsum(axis=0), batch_size=4, seed=0)
    lc.fit(
        model, lc.squared_error, batches, lc.Adam(0.01), epochs=3, callbacks=[EarlyStopping(), keep],
        resume=keep.last(), carry_state=True, rng=0, progress=False,
    )  # fmt: skip
    want = json.loads((folder / "expected.json").read_text())["checkpoint"]
    for name, w in model.params.items():
        assert np.max(np.abs(w - np.array(want[name]))) <= 1e-10, name
