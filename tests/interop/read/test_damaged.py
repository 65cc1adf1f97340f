"""Damaged files of every format: a clear error, or what a change that no checksum covers leaves readable."""

import numpy as np
import pytest

from lstmcore.interop import read

TRIALS = 30

# what Keras deprecates in itself is not ours to mend
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def damaged(data, rng):
    """A file cut short, with bytes changed, a piece zeroed, doubled or taken out."""
    data = bytearray(data)
    kind, a, b = rng.integers(5), *np.sort(rng.integers(0, len(data), 2))
    b = min(b, a + 200)
    if kind == 0:
        return bytes(data[:a])
    if kind == 1:
        for place in rng.integers(0, len(data), 1 + rng.integers(8)):
            data[place] ^= 1 << rng.integers(8)
    elif kind == 2:
        data[a:b] = bytes(b - a)
    elif kind == 3:
        data[a:a] = data[a:b]
    else:
        del data[a:b]
    return bytes(data)


@pytest.fixture
def files(torch, onnx, keras, tmp_path):
    """One small good file of each format: (path, options of read)."""
    from safetensors.numpy import save_file

    module = torch.nn.Sequential(torch.nn.LSTM(3, 4), torch.nn.Linear(4, 2))
    torch.save(module.state_dict(), tmp_path / "a.pt")
    np.savez(tmp_path / "a.npz", **{name: value.numpy() for name, value in module.state_dict().items()})
    save_file({name: value.numpy() for name, value in module.state_dict().items()}, tmp_path / "a.safetensors")
    theirs = keras.Sequential([keras.Input((None, 3)), keras.layers.LSTM(4), keras.layers.Dense(2)])
    theirs.save(tmp_path / "a.keras")
    theirs.save_weights(tmp_path / "a.weights.h5")
    rng = np.random.default_rng(0)
    weights = {"W": (1, 16, 3), "R": (1, 16, 4), "B": (1, 32)}
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("LSTM", ["x", *weights], ["y"], hidden_size=4)],
        "a",
        [onnx.helper.make_tensor_value_info("x", 1, ("T", "B", 3))],
        [onnx.helper.make_tensor_value_info("y", 1, ("T", 1, "B", 4))],
        [onnx.numpy_helper.from_array(rng.normal(size=s).astype("float32"), k) for k, s in weights.items()],
    )
    made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 14)], ir_version=8)
    onnx.save(made, tmp_path / "a.onnx")
    options = {"a.weights.h5": {"config": theirs.to_json()}}
    return [(path, options.get(path.name, {})) for path in sorted(tmp_path.glob("a.*"))]


def test_damaged_files(files, nightly, tmp_path):
    rng = np.random.default_rng(0)
    refused = {}
    for path, options in files:
        good = path.read_bytes()
        read(path, tell=lambda _: None, **options)
        bad = tmp_path / f"bad{''.join(path.suffixes)}"
        for _ in range(1000 if nightly else TRIALS):
            bad.write_bytes(damaged(good, rng))
            try:
                model = read(bad, tell=lambda _: None, **options)
            except (ValueError, TypeError) as error:  # TypeError: what says it is whole numbers or half precision
                refused.setdefault(path.name, []).append(str(error))
            else:
                assert all(np.issubdtype(w.dtype, np.floating) for w in model.params.values())
    assert len(refused) == len(files) == 6
    assert all(text for texts in refused.values() for text in texts)


@pytest.mark.parametrize(
    ("ending", "words"),
    [
        ("pt", "nothing that torch.save has written: it begins with "), ("npz", "it is no archive of arrays"),
        ("h5", "is damaged, or no HDF5 file"), ("keras", "is damaged, or no file of Keras 3"),
        ("onnx", "is damaged, or no ONNX model"), ("safetensors", "is damaged, truncated or no safetensors file"),
        ("index.json", "is damaged, or no index of .safetensors files"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("content", [b"", b"this is some text\n", b"[" * 10**5, bytes(300)])
def test_files_of_another_kind_than_their_names_say(torch, onnx, tmp_path, ending, words, content):
    """One line, and none of them advises to run what is in the file."""
    pytest.importorskip("h5py")
    (tmp_path / f"a.{ending}").write_bytes(content)
    with pytest.raises(ValueError, match=words) as told:
        read(tmp_path / f"a.{ending}")
    assert "\n" not in str(told.value)
    assert "pickle" not in str(told.value)


def test_what_torch_says_of_a_pickle_is_not_how_to_run_it(torch, tmp_path):
    (tmp_path / "a.pt").write_bytes(b"\x80\x02cos\nsystem\n.")
    with pytest.raises(ValueError, match=r"a\.pt is damaged, or holds more than tensors: \w") as told:
        read(tmp_path / "a.pt")
    assert "weights_only" not in str(told.value)


def test_a_name_that_no_layer_has(torch, tmp_path):
    held = torch.nn.LSTM(3, 4).state_dict()
    held["bias^ih_l0"] = held.pop("bias_ih_l0")
    torch.save(held, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=r"a.pt: the weights should hold .*; got .*bias\^ih_l0"):
        read(tmp_path / "a.pt")


def test_a_pickle_is_not_opened(torch, tmp_path):
    torch.save(torch.nn.LSTM(3, 4), tmp_path / "whole.pt")
    with pytest.raises(ValueError, match=r"holds more than tensors: save module.state_dict\(\), not the module"):
        read(tmp_path / "whole.pt")
