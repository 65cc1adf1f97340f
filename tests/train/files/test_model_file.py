"""Saving and loading: what comes back is what was saved, or there is a clear error."""

import json
import os
import random
import struct
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load as from_bytes
from safetensors.numpy import load_file, save_file

import lstmcore as lc
from lstmcore.train import load, save
from lstmcore.train.files import atomic, contents, sealed

MODELS = {
    "lstm": lambda dtype: lc.LSTM(3, 4, dtype=dtype, seed=0),
    "gru": lambda dtype: lc.GRU(3, 4, dtype=dtype, seed=0, return_sequences=False),
    "rnn": lambda dtype: lc.RNN(1, 1, dtype=dtype, seed=0),
    "linear": lambda dtype: lc.Linear(3, 2, bias=False, dtype=dtype, seed=0),
    "towers": lambda dtype: lc.Bidirectional(
        lc.Stack([lc.LSTM(3, 4, dtype=dtype), lc.LSTM(4, 2, dtype=dtype)]),
        lc.Stack([lc.LSTM(3, 2, dtype=dtype), lc.GRU(2, 2, dtype=dtype)]),
        merge="sum",
    ),
    "text": lambda dtype: lc.Stack(
        [
            lc.Embedding(5, 3, dtype=dtype),
            lc.LSTM(3, 4, dtype=dtype),
            lc.Dropout(0.5),
            lc.Linear(4, 5, dtype=dtype),
            lc.Tanh(),
        ]
    ),
}


@pytest.fixture
def model():
    return lc.Stack([lc.LSTM(3, 4, seed=0), lc.Linear(4, 2, seed=1)])


@pytest.fixture
def saved(model, tmp_path):
    path = tmp_path / "model.safetensors"
    save(path, model)
    return path


def rewritten(path, change_metadata=None, change_weights=None, seal=False):
    """The file again with other metadata or weights; with `seal`, its checksum is made to fit."""
    with safe_open(path, framework="numpy") as file:
        metadata = dict(file.metadata())
    weights = load_file(path)
    if change_metadata:
        change_metadata(metadata)
    if change_weights:
        change_weights(weights)
    if seal:
        metadata["sha256"] = sealed.digest(sealed.MODEL, metadata, weights.items())
    save_file(weights, path, metadata)
    return path


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", MODELS)
def test_round_trip(name, dtype, tmp_path):
    model = MODELS[name](dtype)
    save(tmp_path / "m", model)
    twin = load(tmp_path / "m")
    assert repr(twin) == repr(model)
    assert twin.config() == model.config()
    assert list(twin.params) == list(model.params)
    for key, w in model.params.items():
        np.testing.assert_array_equal(twin.params[key], w)
        assert twin.params[key].dtype == w.dtype == dtype
    x = np.random.default_rng(0).standard_normal((5, 2, 1 if name == "rnn" else 3)).astype(dtype)
    x = np.array([[0, 4], [2, 1]]) if name == "text" else x
    np.testing.assert_array_equal(twin.predict(x)[0], model.predict(x)[0])


@pytest.mark.parametrize("name", MODELS)
def test_shapes_told_without_building(name):
    model = MODELS[name]("float64")
    expected = {key: (w.shape, w.dtype.name) for key, w in model.params.items()}
    assert contents.parameter_shapes(model.config()) == (expected, [])


def test_engine_is_handed_on(saved):
    assert load(saved, engine="reference").layers[0].engine == "reference"
    with pytest.raises(ValueError, match="`engine` should be one of"):
        load(saved, engine="steam")


def test_metadata(saved):
    with safe_open(saved, framework="numpy") as file:
        metadata = file.metadata()
    assert metadata["format"] == "lstmcore model"
    assert metadata["library"] == lc.__version__
    assert json.loads(metadata["gates"]) == {"LSTM": "i f g o"}  # of its own cells alone


def test_a_view_of_another_order_is_saved_right(tmp_path):
    """safetensors writes bytes as they lie in memory: they must lie in C order."""
    model = lc.Linear(3, 2, seed=0)
    model.params._arrays["W"] = np.asfortranarray(model.params["W"])
    save(tmp_path / "m", model)
    np.testing.assert_array_equal(load(tmp_path / "m").params["W"], model.params["W"])


@pytest.mark.parametrize("name", MODELS)
def test_the_same_model_gives_the_same_bytes(name, tmp_path):
    model = MODELS[name]("float32")
    for path in ("one", "two"):
        save(tmp_path / path, model)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_the_bytes_are_those_of_the_format():
    """Every dtype and an array without elements, as the library reads them; each array begins at a multiple of its
    item's size."""
    arrays = {dtype: np.arange(6).reshape(2, 3).astype(dtype) for dtype in sealed.DTYPES.values()}
    arrays |= {"turned": np.arange(6.0).reshape(2, 3).T, "none": np.zeros((0, 3)), "number": np.array(7, "int8")}
    data = sealed.to_bytes(arrays, {"ä": "ß\n"})
    back = from_bytes(data)
    assert back.keys() == arrays.keys()
    for name, a in arrays.items():
        assert back[name].dtype == a.dtype
        np.testing.assert_array_equal(back[name], a)
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    assert header.pop("__metadata__") == {"ä": "ß\n"}
    for name, entry in header.items():
        assert (8 + length + entry["data_offsets"][0]) % arrays[name].itemsize == 0


# ---- written whole or not at all ------------------------------------------------------------------------------------


def test_saving_again_replaces(saved, model):
    model.params["1.b"][...] = 7.0
    save(saved, model)
    np.testing.assert_array_equal(load(saved).params["1.b"], 7.0)
    assert os.listdir(saved.parent) == [saved.name]


@pytest.mark.parametrize("moment", ["write", "fsync", "replace"])
def test_a_full_disk_leaves_the_old_file(moment, saved, model, monkeypatch):
    before = saved.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    if moment == "write":
        real = open

        class Full:
            def __init__(self, *arguments):
                self.file = real(*arguments)

            def __enter__(self):
                return self

            def __exit__(self, *_):
                self.file.close()

            def write(self, data):
                self.file.write(data[: len(data) // 2])
                full()

        monkeypatch.setattr(atomic, "open", Full, raising=False)
    else:
        monkeypatch.setattr(atomic.os, moment, full)
    model.params["1.b"][...] = 7.0
    with pytest.raises(OSError, match=r"could not be saved \(No space left on device\).*untouched.*model.safetensors"):
        save(saved, model)
    monkeypatch.undo()
    assert saved.read_bytes() == before
    assert os.listdir(saved.parent) == [saved.name]


def test_a_missing_folder_is_named(model, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"could not be saved \(there is no such folder\)"):
        save(tmp_path / "nowhere" / "m", model)


def test_a_folder_in_the_way(model, tmp_path):
    (tmp_path / "m").mkdir()
    with pytest.raises(OSError, match="could not be saved"):
        save(tmp_path / "m", model)
    assert os.listdir(tmp_path) == ["m"]


def test_a_complex_twin_is_refused(model, tmp_path):
    with pytest.raises(TypeError, match=r"float32 or float64 can be saved; 0.W_ih is complex128"):
        save(tmp_path / "m", model.to(dtype="complex128"))
    assert os.listdir(tmp_path) == []


# ---- damaged, foreign and malicious files ---------------------------------------------------------------------------


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no such file"):
        load(tmp_path / "m")


def test_every_truncation_is_noticed(saved):
    whole = saved.read_bytes()
    for length in {*range(0, len(whole), 37), len(whole) - 1}:
        saved.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="is damaged, truncated or no safetensors file"):
            load(saved)


def test_no_flipped_bit_passes(saved, model):
    """400 random single bits: a clear error, or (a bit of the metadata that carries nothing) the very same model."""
    whole, rng = saved.read_bytes(), random.Random(0)
    refused = 0
    for _ in range(400):
        damaged = bytearray(whole)
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        saved.write_bytes(damaged)
        try:
            twin = load(saved)
        except ValueError:
            refused += 1
        else:
            assert twin.config() == model.config()
            for key, w in model.params.items():
                np.testing.assert_array_equal(twin.params[key], w)
    assert refused > 380  # what passes: bits of the library's version


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04 a zip file, say", b"\x00" * 100, b"\xff" * 100, random.Random(0).randbytes(1000)]
)
def test_other_files_are_refused(content, tmp_path):
    (tmp_path / "m").write_bytes(content)
    with pytest.raises(ValueError, match="is damaged, truncated or no safetensors file"):
        load(tmp_path / "m")


def test_a_header_that_promises_more_than_there_is(tmp_path):
    """No memory is taken for a length that only the header claims."""
    header = json.dumps({"W": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}).encode()
    (tmp_path / "m").write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(ValueError, match="is damaged, truncated"):
        load(tmp_path / "m")
    (tmp_path / "m").write_bytes(struct.pack("<Q", 2**62) + header)
    with pytest.raises(ValueError, match="is damaged, truncated"):
        load(tmp_path / "m")


def test_a_foreign_safetensors_file_is_refused(tmp_path):
    save_file({"W": np.ones(3)}, tmp_path / "m")
    with pytest.raises(ValueError, match="is no model or checkpoint of lstmcore: its format is 'not given'"):
        load(tmp_path / "m")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": "2", "library": "9.9"}, "has version '2' of the format.*reads '1'.*by lstmcore 9.9"),
        ({"gates": '{"LSTM": "i g f o"}'}, "has its gates in the order .*i g f o.*; here it is .*i f g o"),
        ({"config": "{"}, "its configuration cannot be read"),
        ({"config": "[" * 100_000}, "its configuration cannot be read"),
        ({"config": "[]"}, "its configuration describes no model of this version"),
        ({"config": '{"kind": "Transformer"}'}, "describes no model of this version.*no kind 'Transformer'"),
        ({"config": '{"kind": 7}'}, "describes no model"),
        ({"config": '{"kind": "LSTM"}'}, "describes no model"),
        ({"config": '{"kind": "Tanh"}'}, "is damaged: .* should be absent by its configuration; it is float32"),
        ({"sha256": "0" * 64}, "its contents do not match their checksum"),
    ],
)
def test_wrong_metadata_is_refused(change, message, saved):
    rewritten(saved, lambda metadata: metadata.update(change))
    with pytest.raises(ValueError, match=message):
        load(saved)


def test_a_changed_configuration_of_the_same_shapes_is_noticed(saved):
    def bend(metadata):
        metadata["config"] = metadata["config"].replace('"return_sequences": true', '"return_sequences": false')
        assert "false" in metadata["config"]

    rewritten(saved, bend)
    with pytest.raises(ValueError, match="its contents do not match their checksum"):
        load(saved)


def test_a_configuration_of_a_giant_takes_no_memory(saved):
    """With its checksum made to fit: the sizes are compared with the file before anything is built."""

    def grow(metadata):
        config = json.loads(metadata["config"])
        config["layers"][0]["hidden_size"] = 10**9
        metadata["config"] = json.dumps(config)

    rewritten(saved, grow, seal=True)
    with pytest.raises(ValueError, match=r"should be float32 \(.*4000000000.*by its configuration; it is float32 \("):
        load(saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("1.b"), r"1.b should be float32 \(2,\) by its configuration; it is absent"),
        (lambda w: w.update({"2.b": np.ones(2)}), r"2.b should be absent by its configuration; it is float64 \(2,\)"),
        (lambda w: w.update({"1.b": np.ones(3, "float32")}), r"1.b should be float32 \(2,\).*it is float32 \(3,\)"),
        (lambda w: w.update({"1.b": np.ones(2)}), r"1.b should be float32 \(2,\).*it is float64 \(2,\)"),
        (lambda w: w.update({"1.b": np.ones(2, "int8")}), r"1.b should be float32 \(2,\).*it is int8 \(2,\)"),
    ],
)
def test_weights_that_do_not_fit_the_configuration_are_refused(change, message, saved):
    """The checksum fits."""
    rewritten(saved, change_weights=change, seal=True)
    with pytest.raises(ValueError, match=message):
        load(saved)


def test_options_that_no_layer_has_are_refused(saved):
    """The checksum fits, and so do the shapes."""

    def bend(metadata):
        config = json.loads(metadata["config"])
        config["layers"][0]["return_sequence"] = True
        metadata["config"] = json.dumps(config)

    rewritten(saved, bend, seal=True)
    with pytest.raises(ValueError, match="return_sequence"):
        load(saved)


# ---- files written before ----------------------------------------------------------------------------------------

FIXTURES = Path(__file__).parent / "fixtures"  # by lstmcore 0.1.0, whose files held the gates of all cells


@pytest.mark.parametrize("name", ["stack", "gru", "rnn", "bidirectional"])
def test_a_file_written_before_gives_the_outputs_that_it_gave(name):
    """As the reference engine computed them then: another machine's exp and tanh may differ by a few eps in each of
    four steps, and weights below 4 in size hand on less than a hundredfold."""
    model = load(FIXTURES / f"{name}.safetensors", engine="reference")
    dtype = next(iter(model.params.values())).dtype
    x = np.arange(8).reshape(4, 2) % 5 if name == "stack" else np.sin(np.arange(24.0)).reshape(4, 2, 3).astype(dtype)
    y = model.predict(x, None, np.array([[1, 1], [1, 0], [0, 1], [1, 1]], bool))[0]
    want = json.loads((FIXTURES / "expected.json").read_text())[name]
    assert np.max(np.abs(y - np.array(want))) <= 1000 * np.finfo(dtype).eps


def test_a_cell_whose_gates_stand_in_another_order_is_told_and_others_do_not_matter(saved):
    """A file of before holds orders of cells that it does not use, and so may one of later."""
    orders = {"LSTM": "i f g o", "GRU": "z r n m", "PEEPHOLE": "p"}
    rewritten(saved, lambda metadata: metadata.update({"gates": json.dumps(orders)}), seal=True)
    assert load(saved).params["0.b"].shape == (16,)
    rewritten(saved, lambda metadata: metadata.update({"gates": '{"GRU": "r z n m"}'}), seal=True)
    with pytest.raises(ValueError, match=r'has its gates in the order \{"GRU".*; here it is \{"LSTM": "i f g o"\}'):
        load(saved)


def test_a_stack_of_four_thousand_layers(tmp_path):
    """Nothing is drawn for weights that come from the file, and no part is compared with all others: less than 1 s of
    the processor, and 6 s if each is; 4 s leave room for a slow machine."""
    model = lc.Stack([lc.RNN(1, 1, seed=0) for _ in range(4_000)])
    save(tmp_path / "m", model)
    begin = time.process_time()
    twin = load(tmp_path / "m")
    assert time.process_time() - begin < 4
    np.testing.assert_array_equal(twin.params["3999.W_ih"], model.params["3999.W_ih"])


def test_layers_nested_too_deep_are_refused(saved, tmp_path):
    def deep(n):
        model = lc.Tanh()
        for _ in range(n):
            model = lc.Stack([model])
        return model

    save(tmp_path / "m", deep(100))
    assert repr(load(tmp_path / "m")) == repr(deep(100))
    with pytest.raises(TypeError, match=r"nested at most 100 deep to be saved; 0(\.0){100} is deeper"):
        save(tmp_path / "n", deep(101))
    nested = '{"kind": "Stack", "layers": [' * 300 + '{"kind": "Tanh"}' + "]}" * 300
    rewritten(saved, lambda metadata: metadata.update({"config": nested}), seal=True)
    with pytest.raises(ValueError, match="layers are nested more than 100 deep"):
        load(saved)
