"""More than ten kinds of file and object, each made by its own system: read, run, and where lstmcore writes it, back.

Here, a layer and a head over it, with the system's own outputs:

    torch       module, .pt, .bin, .safetensors, a folder of them, .ckpt, .npz          test_torch
    Keras       .keras, .weights.h5                                                     test_keras
    ONNX        .onnx, and with its weights beside it                                   test_onnx
    torch -> lstmcore -> ONNX -> onnxruntime, lengths that differ                       test_a_chain

Elsewhere, and not again here:

    Flax        modules of nnx and linen, their arrays        read/test_flax_modules.py::test_nnx, test_linen
    Equinox     cells                                         read/test_flax_modules.py::test_equinox
    TF1, haste, MLX, Chainer: arrays by layout                test_layouts.py::test_the_systems_own_numbers
    Keras       layers and models that live                   read/test_keras_files.py::test_layers, test_files
    ONNX        nodes, with every attribute                   read/test_onnx_graphs.py
    refused     pickles, programs, quantised models           read/test_names.py

All compute in float32: outputs below 3, sums of fewer than 30 terms in each of at most 6 steps.
"""

import json

import numpy as np
import pytest
from interop_models import LENGTHS, B, T

from lstmcore.interop import read, to_onnx, to_torch
from lstmcore.interop.write.keras_model import to_keras

I, H, SINGLE = 3, 4, 1e-5

# what torch and Keras deprecate in themselves is not ours to mend
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


def given():
    return np.random.default_rng(5).standard_normal((T, B, I)).astype("float32")


def quietly(thing, **options):
    return read(thing, tell=lambda _: None, **options)


def same_sum(there, back):
    """b_ih + b_hh, before and after: one rounding of the sum, which is at most 1 ulp of it."""
    assert (np.abs(there - back) <= np.spacing(np.abs(there))).all()


@pytest.fixture
def module(torch):
    """An LSTM with a head, as people write it."""
    torch.manual_seed(0)

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = torch.nn.LSTM(I, H)
            self.fc = torch.nn.Linear(H, 2)

        def forward(self, x):
            return self.fc(self.lstm(x)[0])

    return Model().eval()


def torchs_kinds(torch, module, folder):
    """What torch, safetensors, Lightning and NumPy make of the module: its name, and the thing to read."""
    from safetensors.torch import save_file

    held = module.state_dict()
    torch.save(held, folder / "a.pt")
    torch.save(held, folder / "pytorch_model.bin")
    torch.save({"state_dict": {"model." + k: v for k, v in held.items()}, "epoch": 3}, folder / "last.ckpt")
    np.savez(folder / "a.npz", **{k: v.numpy() for k, v in held.items()})
    save_file(held, folder / "a.safetensors")
    pieces = folder / "pieces"
    pieces.mkdir()
    files = {k: f"model-0000{1 + k.startswith('fc')}-of-00002.safetensors" for k in held}
    for file in set(files.values()):
        save_file({k: held[k] for k in held if files[k] == file}, pieces / file)
    (pieces / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": files}))
    names = ("a.pt", "pytorch_model.bin", "last.ckpt", "a.npz", "a.safetensors", "pieces")
    return {"module": module, "state_dict": held} | {name: folder / name for name in names}


def test_torch(torch, module, tmp_path):
    from safetensors.torch import load_file, save_file

    x = given()
    want = module(torch.from_numpy(x)).detach().numpy()
    there = {k: v.numpy() for k, v in module.state_dict().items()}
    for name, thing in torchs_kinds(torch, module, tmp_path).items():
        model = quietly(thing)
        assert np.abs(model.predict(x)[0] - want).max() < SINGLE, name
        again = to_torch(model).eval()
        held = again.state_dict()
        torch.save(held, tmp_path / "back.pt")
        save_file(held, tmp_path / "back.safetensors")
        for back in (torch.load(tmp_path / "back.pt", weights_only=True), load_file(tmp_path / "back.safetensors")):
            again.load_state_dict(back, strict=True)
            assert np.abs(again(torch.from_numpy(x)).detach().numpy() - want).max() < SINGLE, name
            by_end = {k.split(".")[-1]: v.numpy() for k, v in back.items()}
            for key in ("weight_ih_l0", "weight_hh_l0"):
                assert np.array_equal(by_end[key], there[f"lstm.{key}"]), (name, key)
            assert np.array_equal(by_end["weight"], there["fc.weight"]), name
            assert np.array_equal(by_end["bias"], there["fc.bias"]), name
            same_sum(there["lstm.bias_ih_l0"] + there["lstm.bias_hh_l0"], by_end["bias_ih_l0"] + by_end["bias_hh_l0"])


def test_keras(keras, tmp_path):
    layers = keras.layers
    made = keras.Sequential([keras.Input((None, I)), layers.LSTM(H, return_sequences=True), layers.Dense(2)])
    rng = np.random.default_rng(0)
    for variable in made.weights:
        variable.assign(rng.uniform(-1, 1, variable.shape))
    made.save(tmp_path / "a.keras")
    made.save_weights(tmp_path / "a.weights.h5")
    x = given()
    batch_first = np.ascontiguousarray(x.swapaxes(0, 1))
    want = made(batch_first).detach().numpy()
    for model in (
        quietly(made),
        quietly(tmp_path / "a.keras"),
        quietly(tmp_path / "a.weights.h5", config=made.to_json()),
    ):
        assert np.abs(model.predict(x)[0].swapaxes(0, 1) - want).max() < SINGLE
        to_keras(model).save(tmp_path / "back.keras")
        back = keras.saving.load_model(tmp_path / "back.keras")
        assert np.abs(back(batch_first).detach().numpy() - want).max() < SINGLE
        for a, b in zip(made.get_weights(), back.get_weights(), strict=True):  # Keras has one bias: nothing is summed
            assert np.array_equal(a, b)


def graph(onnx, rng):
    """An LSTM and a dense head over every step, from onnx's own helpers, with both halves of the bias filled."""
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    arrays = {"W": (1, 4 * H, I), "R": (1, 4 * H, H), "B": (1, 8 * H), "D": (H, 2), "d": (2,)}
    held = {name: rng.uniform(-1, 1, shape).astype("float32") for name, shape in arrays.items()}
    kept = [numpy_helper.from_array(a, name) for name, a in held.items()]
    kept.append(numpy_helper.from_array(np.array([1]), "axes"))
    nodes = [
        helper.make_node("LSTM", ["x", "W", "R", "B"], ["Y"], hidden_size=H),
        helper.make_node("Squeeze", ["Y", "axes"], ["h"]),
        helper.make_node("MatMul", ["h", "D"], ["m"]),
        helper.make_node("Add", ["m", "d"], ["y"]),
    ]
    single = onnx.TensorProto.FLOAT
    ends = [helper.make_tensor_value_info(*end) for end in (("x", single, ["T", "B", I]), ("y", single, ["T", "B", 2]))]
    made = helper.make_model(
        helper.make_graph(nodes, "g", ends[:1], ends[1:], kept), opset_imports=[helper.make_opsetid("", 17)]
    )
    made.ir_version = 8
    onnx.checker.check_model(made)
    return made, held


def test_onnx(onnx, onnxruntime, tmp_path):
    made, there = graph(onnx, np.random.default_rng(0))
    onnx.save(made, tmp_path / "a.onnx")
    beside = {"save_as_external_data": True, "location": "b.data", "size_threshold": 100}
    onnx.save(made, tmp_path / "b.onnx", **beside)
    assert (tmp_path / "b.data").exists()
    x = given()
    for name in ("a.onnx", "b.onnx"):
        want = onnxruntime.InferenceSession(str(tmp_path / name)).run(None, {"x": x})[0]
        model = quietly(tmp_path / name)
        assert np.abs(model.predict(x)[0] - want).max() < SINGLE
        onnx.save(to_onnx(model), tmp_path / "back.onnx")
        got = onnxruntime.InferenceSession(str(tmp_path / "back.onnx")).run(None, {"x": x})[0]
        assert np.abs(got - want).max() < SINGLE
        back = [onnx.numpy_helper.to_array(t) for t in onnx.load(tmp_path / "back.onnx").graph.initializer]
        for key in ("W", "R", "D"):
            assert any(np.array_equal(there[key], a) for a in back), key
        (bias,) = (a for a in back if a.shape == (1, 8 * H))
        same_sum(there["B"].reshape(2, -1).sum(axis=0), bias.reshape(2, -1).sum(axis=0))


def test_a_chain(torch, onnxruntime, module):
    """Packed sequences of torch beside onnxruntime's sequence_lens, at the steps that are there."""
    pack, pad = torch.nn.utils.rnn.pack_padded_sequence, torch.nn.utils.rnn.pad_packed_sequence
    x = given()
    packed = pack(torch.from_numpy(x), torch.from_numpy(LENGTHS), enforce_sorted=False)
    for run, thing in (
        (lambda y: y, torch.nn.LSTM(I, H, num_layers=2, bidirectional=True)),
        (module.fc, module),
    ):
        recurrent = getattr(thing, "lstm", thing)
        want = run(pad(recurrent(packed)[0], total_length=T)[0]).detach().numpy()
        graph = to_onnx(quietly(thing), lengths=True)
        (got,) = onnxruntime.InferenceSession(graph.SerializeToString()).run(
            None, {"x": x, "lengths": LENGTHS.astype("int32")}
        )
        real = np.arange(T)[:, None] < LENGTHS  # (T, B)
        assert np.abs(got - want)[real].max() < SINGLE
