"""Names that people try: real files and modules of each system, read, or refused in words that say what to do."""

import json

import numpy as np
import pytest

import lstmcore as lc
from lstmcore.interop import read, to_onnx

# what torch and Keras deprecate in themselves is not ours to mend
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


@pytest.fixture
def module(torch):
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.LSTM(3, 4))


def same(path, module):
    """The matrices of a file, bit for bit."""
    model = read(path, tell=lambda _: None)
    assert np.array_equal(model.params["W_hh"], module[0].weight_hh_l0.detach().numpy().T)


def test_state_dicts_by_other_endings(torch, module, tmp_path):
    held = module.state_dict()
    torch.save(held, tmp_path / "pytorch_model.bin")
    inside = {"model." + name: value for name, value in held.items()}  # as Lightning has it
    torch.save({"state_dict": inside, "hyper_parameters": {"lr": 0.1}, "epoch": 3}, tmp_path / "last.ckpt")
    np.savez(tmp_path / "a.npz", **{name: value.numpy() for name, value in held.items()})
    for name in ("pytorch_model.bin", "last.ckpt", "a.npz"):
        same(tmp_path / name, module)


def test_safetensors_in_pieces(torch, module, tmp_path, monkeypatch):
    from safetensors.numpy import save_file

    held = {name: value.numpy() for name, value in module.state_dict().items()}
    files = {name: f"model-0000{1 + k // 2}-of-00002.safetensors" for k, name in enumerate(held)}
    for file in set(files.values()):
        save_file({name: held[name] for name in held if files[name] == file}, tmp_path / file)
    index = tmp_path / "model.safetensors.index.json"
    with pytest.raises(ValueError, match=r"is a folder without one \*.index.json"):
        read(tmp_path)
    index.write_text(json.dumps({"metadata": {}, "weight_map": files}))
    same(tmp_path, module)
    same(index, module)
    said = []
    read(tmp_path, tell=said.append)
    assert said[0].startswith(f"{index} read as ")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"`thing` should be the name of a file or folder; got an empty one"):
        read("")
    index.write_text(json.dumps({"weight_map": {name: "../" + file for name, file in files.items()}}))
    with pytest.raises(ValueError, match=r"is damaged, or no index of .safetensors files: it names"):
        read(index)
    index.write_text(json.dumps({"weight_map": files | {"more": file}}))
    with pytest.raises(ValueError, match=r"and the files beside it name other tensors: \['more'\]"):
        read(index)
    (tmp_path / file).unlink()
    with pytest.raises(ValueError, match=f"wants {file} beside it, which is not there"):
        read(index)


def test_programs_and_quantised_models_of_torch(torch, module, tmp_path):
    torch.jit.save(torch.jit.script(torch.nn.LSTM(3, 4)), tmp_path / "script.pt")
    with pytest.raises(ValueError, match=r"a program of TorchScript: save torch.jit.load\(path\).state_dict\(\)"):
        read(tmp_path / "script.pt")
    with pytest.raises(ValueError, match="a program of TorchScript: hand over the module that it was made of"):
        read(torch.jit.script(torch.nn.LSTM(3, 4)))
    small = torch.ao.quantization.quantize_dynamic(module, {torch.nn.LSTM}, dtype=torch.qint8)
    with pytest.raises(ValueError, match="`0` is a quantised LSTM, whose weights are whole numbers: hand over"):
        read(small)
    torch.save(small.state_dict(), tmp_path / "small.pt")
    with pytest.raises(
        ValueError, match=r"more than tensors: a quantised model: save module.state_dict\(\) before it is quantised"
    ):
        read(tmp_path / "small.pt")


def test_graphs_with_weights_beside_them(onnx, tmp_path):
    model = lc.LSTM(3, 40, seed=0)
    onnx.save(to_onnx(model), tmp_path / "a.onnx", save_as_external_data=True, location="a.data", size_threshold=16)
    back = read(tmp_path / "a.onnx", tell=lambda _: None)
    assert np.array_equal(back.params["W_hh"], model.params["W_hh"])
    (tmp_path / "a.data").unlink()
    with pytest.raises(ValueError, match=r"keeps its weights in a.data beside it, which is not there"):
        read(tmp_path / "a.onnx")


def test_a_quantised_graph(onnx, onnxruntime, tmp_path):
    from onnxruntime.quantization import quantize_dynamic

    onnx.save(to_onnx(lc.LSTM(3, 4, seed=0)), tmp_path / "a.onnx")
    quantize_dynamic(str(tmp_path / "a.onnx"), str(tmp_path / "small.onnx"))
    with pytest.raises(ValueError, match="DynamicQuantizeLSTM"):
        read(tmp_path / "small.onnx")


def test_whole_models_of_keras_2(keras, tmp_path):
    made = keras.Sequential([keras.Input((None, 3)), keras.layers.LSTM(4)])
    for ending in (".h5", ".hdf5"):
        made.save(tmp_path / f"a{ending}")
        with pytest.raises(ValueError, match=r"format of Keras 2: save it once more, .*save\(\"model.keras\"\)"):
            read(tmp_path / f"a{ending}")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("a.pt2", "torch.export"), ("saved_model.pb", "TensorFlow"), ("a.tflite", "TensorFlow Lite"),
        ("model.ckpt.index", "tf.train.load_checkpoint"), ("a.pkl", "a pickle, a program that is never run"),
        ("a.joblib", "a pickle"), ("a.msgpack", "flax.serialization.msgpack_restore"), ("a.eqx", "Equinox"),
        ("a.npy", "one array without a name"), ("a.mat", "scipy.io.loadmat"),
    ],
)  # fmt: skip
def test_what_is_handed_over_by_hand(name, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        read(tmp_path / name)


def weights(module):
    return {name: value.numpy() for name, value in module.state_dict().items()}


def odd_arrays(torch):
    """Arrays that people hand over, and what is said of them."""
    from torch.nn.utils import parametrizations, prune

    nn, held = torch.nn, weights(torch.nn.LSTM(3, 4))
    two, both = weights(nn.LSTM(3, 4, 3)), weights(nn.LSTM(3, 4, 2, bidirectional=True))
    pruned = nn.LSTM(3, 4)
    prune.l1_unstructured(pruned, "weight_hh_l0", 0.5)
    normed = parametrizations.spectral_norm(nn.LSTM(3, 4), "weight_hh_l0")
    tf1 = {"cell/kernel": np.zeros((7, 16), "float32"), "cell/bias": np.zeros(16, "float32")}
    return [
        ({k: v.tolist() for k, v in held.items()}, "`weight_ih_l0` should be an array; got list"),
        (held | {"epoch": 3}, "`epoch` should be an array; got int"),
        (held | {"step": np.float32(3)}, "step is no part of it"),
        ({k: v.astype("complex64") for k, v in held.items()}, "the weights are complex64"),
        ({k: v.astype("f8" if "ih" in k else "f4") for k, v in held.items()}, 'and float64: pass dtype="float32"'),
        ({k: v.T for k, v in held.items()}, r"got \{'weight_hh_l0': \(4, 16\)\}: each matrix is transposed, hand over"),
        ({k: v for k, v in held.items() if k != "bias_hh_l0"}, "bias_hh_l0 missing, beside biases that are there"),
        ({k: v for k, v in two.items() if "l1" not in k}, "weight_ih_l1, weight_hh_l1 missing"),
        ({k: v for k, v in both.items() if "l1_reverse" not in k}, "weight_ih_l1_reverse, weight_hh_l1_rev.* missing"),
        (pruned.state_dict(), "`weight_hh_l0_orig` .* belongs to weight_norm or another parametrization"),
        (normed.state_dict(), "`parametrizations.weight_hh_l0.original` .* belongs to weight_norm"),
        (nn.LSTM(3, 4, device="meta").state_dict(), "`weight_ih_l0` cannot be read as an array: .*meta"),
        ({k: torch.from_numpy(v).to_sparse() for k, v in held.items()}, "`weight_ih_l0` cannot be read as an array"),
        (tf1 | {"cell/kernel/Adam": tf1["cell/kernel"]}, "`kernel/Adam` .* belongs to an optimizer .leave it out"),
        ({"gates/kernel": np.zeros((7, 8)), "candidate/kernel": np.zeros((7, 4))}, "belongs to a GRUCell of Tensor"),
        ({"rnn/opaque_kernel": np.zeros(500)}, "belongs to an RNN of cuDNN"),
        (nn.LSTM(3, 4).named_parameters(), "got generator .of pairs. hand over dict"),
        (list(held.values()), "got list .of Keras. hand over dict"),
    ]  # fmt: skip


def test_odd_arrays_are_called_by_their_names(torch):
    for thing, words in odd_arrays(torch):
        with pytest.raises((ValueError, TypeError, KeyError), match=words):
            read(thing, tell=lambda _: None)


def test_what_can_be_read_is_read(torch, module, tmp_path):
    """Another order of bytes or of axes in memory, arrays in mapped files, checkpoints of any names, Paddle's twins."""
    held = weights(module[0])
    for name, value in held.items():
        np.save(tmp_path / f"{name}.npy", value)
    torch.save({"net": module.state_dict(), "optimizer": {"state": {}, "lr": 0.1}}, tmp_path / "net.pt")
    for thing in (
        {k: v.astype(">f4") for k, v in held.items()},
        {k: np.asfortranarray(v) for k, v in held.items()},
        {k: np.load(tmp_path / f"{k}.npy", mmap_mode="r") for k in held},
        {f"module.{k}": v for k, v in held.items()},
        {f"_orig_mod.model.{k}": v for k, v in held.items()},
        {f"encoder/{k}": v for k, v in held.items()},
        {f"0.cell.{k.removesuffix('_l0')}": v for k, v in held.items()} | held,
    ):
        model = read(thing, tell=lambda _: None)
        assert model.params["W_hh"].dtype == "float32"
        assert np.array_equal(model.params["W_hh"], held["weight_hh_l0"].T)
    same(tmp_path / "net.pt", module)
    torch.save({"generator": module.state_dict(), "discriminator": module.state_dict()}, tmp_path / "two.pt")
    with pytest.raises(ValueError, match=r"got generator: \w+, discriminator: \w+; hand over one of them"):
        read(tmp_path / "two.pt")


def test_pieces_of_torch(torch, module, tmp_path):
    held = module.state_dict()
    files = {name: f"pytorch_model-0000{1 + k // 2}-of-00002.bin" for k, name in enumerate(held)}
    for file in set(files.values()):
        torch.save({name: held[name] for name in held if files[name] == file}, tmp_path / file)
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": files}))
    same(tmp_path, module)


def test_what_files_do_not_tell_is_asked_for(torch, tmp_path):
    """Two state_dicts, an order that names have lost, a square matrix, one piece of several."""
    from safetensors.torch import save_file

    nn = torch.nn
    held = nn.LSTM(3, 4).state_dict()
    torch.save({"model": held, "ema": held, "optimizer": {"state": {}}}, tmp_path / "two.pt")
    with pytest.raises(ValueError, match=r"two.pt holds model and ema, each a state_dict: hand over one of them"):
        read(tmp_path / "two.pt")
    pair = nn.ModuleDict({"encoder": nn.LSTM(4, 4), "decoder": nn.LSTM(4, 4)})
    save_file(pair.state_dict(), tmp_path / "pair.safetensors")
    with pytest.raises(
        ValueError, match="the parts stand in the order of their names, and several orders would fit: decoder"
    ):
        read(tmp_path / "pair.safetensors")
    first = read(pair.state_dict(), tell=lambda _: None).params["0.W_hh"]
    assert np.array_equal(first, pair["encoder"].weight_hh_l0.detach().numpy().T)
    deep = nn.ModuleDict({f"rnn{k}": nn.LSTM(4, 4) for k in range(2, 12, 3)})  # rnn11 before rnn2, by name
    save_file(deep.state_dict(), tmp_path / "deep.safetensors")
    last = read(tmp_path / "deep.safetensors", tell=lambda _: None).params["3.W_hh"]
    assert np.array_equal(last, deep["rnn11"].weight_hh_l0.detach().numpy().T)
    for name, kind in (("0", None), ("embed", lc.Embedding)):
        square = nn.Sequential(nn.Linear(4, 4, bias=False), nn.LSTM(4, 4)).state_dict()
        square = {
            key.replace("0.weight", f"{name}.weight", 1) if key == "0.weight" else key: v for key, v in square.items()
        }
        if kind is None:
            with pytest.raises(ValueError, match=r"0.weight \(4, 4\) is an Embedding of 4 classes or a Linear layer"):
                read(square)
        else:
            assert isinstance(read(square, tell=lambda _: None).layers[0], kind)
    save_file(held, tmp_path / "model-00001-of-00002.safetensors")
    with pytest.raises(ValueError, match="is one of several pieces: hand over the folder"):
        read(tmp_path / "model-00001-of-00002.safetensors")
    bare = {"kernel": np.zeros((3, 12)), "recurrent_kernel": np.zeros((4, 12))}
    with pytest.raises(ValueError, match=r"a GRU of Keras without a bias .* pass reset_after="):
        read(bare, layout="keras")
    assert "before" in repr(read(bare, layout="keras", reset_after=False, tell=lambda _: None))
    mlx = {"Wxh": np.zeros((4, 3)), "Whh": np.zeros((4, 4)), "bias": np.zeros(4)}
    with pytest.raises(
        ValueError, match="a plain RNN has tanh or relu, and its arrays do not tell: pass nonlinearity="
    ):
        read(mlx)


def test_a_file_that_is_of_another_kind_than_its_name_says(torch, module, tmp_path):
    from safetensors.numpy import save_file

    save_file(weights(module), tmp_path / "a.pt")
    torch.save(module.state_dict(), tmp_path / "a.safetensors")
    np.savez(tmp_path / "a.npz", **weights(module))
    (tmp_path / "a.npz").rename(tmp_path / "a.keras")
    for name, kind in (("a.pt", ".safetensors"), ("a.safetensors", ".pt"), ("a.keras", ".npz")):
        with pytest.raises(ValueError, match=f"and holds what a {kind} file holds: give it that ending"):
            read(tmp_path / name)
    (tmp_path / "model.ckpt.index").write_bytes(b"")
    with pytest.raises(ValueError, match=r"model\.ckpt is a checkpoint of TensorFlow: hand over"):
        read(tmp_path / "model.ckpt")


def test_configurations_of_other_models(keras, tmp_path):
    layers = keras.layers
    made = keras.Sequential([keras.Input((None, 3)), layers.LSTM(4)])
    made.save_weights(tmp_path / "a.weights.h5")
    for other, words in (
        (layers.LSTM(5), r"is a LSTM of 5 units, which has 3 arrays; got \(3, 16\), \(4, 16\), \(16,\)"),
        (layers.LSTM(8), r"is a LSTM of 8 units; its arrays are for 4"),
        (layers.GRU(4), "is a GRU of 4 units, which has 3 arrays; got none"),
    ):
        config = keras.Sequential([keras.Input((None, 3)), other]).to_json()
        with pytest.raises(ValueError, match=words):
            read(tmp_path / "a.weights.h5", config=config)
    x = keras.Input((None, 3))
    _, *state = layers.LSTM(4, return_state=True, return_sequences=True)(x)
    with pytest.raises(ValueError, match="its layers do not read each other in their order"):
        read(keras.Model(x, layers.LSTM(4)(x, initial_state=state)))
    made.layers[0].trainable = False  # frozen: its arrays are there all the same
    drop = keras.Sequential([keras.Input((None, 3)), layers.Dropout(0.3, noise_shape=(None, 1, 3)), made.layers[0]])
    for one in (drop, keras.Sequential([keras.Input((None, 3)), layers.SpatialDropout1D(0.3), made.layers[0]])):
        assert "Dropout(0.3, per_sequence=True)" in repr(read(one, tell=lambda _: None))
    with pytest.raises(ValueError, match=r"draws masks of the shape \(None, None, 1\)"):
        read(
            keras.Sequential([keras.Input((None, 3)), layers.Dropout(0.3, noise_shape=(None, None, 1)), layers.LSTM(4)])
        )
