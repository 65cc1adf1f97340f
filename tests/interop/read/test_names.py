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


def test_safetensors_in_pieces(torch, module, tmp_path):
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
    with pytest.raises(ValueError, match=r"\(a quantised model: save module.state_dict\(\) before it is quantised\)"):
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
