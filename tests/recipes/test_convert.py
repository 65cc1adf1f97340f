"""`lstmcore convert`: what a training leaves, in the files of others, and the way back."""

import runpy

import numpy as np
import pytest
from typer.testing import CliRunner

import lstmcore as lc
from lstmcore.cli import app
from lstmcore.recipes import loops, text
from lstmcore.recipes.convert import convert

# what Keras deprecates in itself is not ours to mend
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture
def trained(tmp_path):
    """What `train text` makes, with other weights, in a file."""
    options = text.Options(hidden=6, layers=2, embedding=4)
    model = text.model(options, 11, np.random.default_rng(0))
    lc.save(tmp_path / "model.safetensors", model)
    return model, tmp_path


def quiet(_):
    pass


def test_a_trained_model_leaves_as_torch(torch, trained):
    model, folder = trained
    said = []
    convert(folder / "model.safetensors", folder / "out.pt", tell=said.append)
    assert "a state_dict of torch, for the class Model in out.py; proved: both run on random input" in said[-1]
    module = runpy.run_path(str(folder / "out.py"))["Model"]()  # as somebody without lstmcore would
    module.load_state_dict(torch.load(folder / "out.pt", weights_only=True), strict=True)
    x = np.random.default_rng(1).integers(0, 11, (5, 3))
    with torch.no_grad():
        y = module.eval()(torch.from_numpy(x)).numpy()
    assert np.abs(y - model.predict(x)[0]).max() < 1e-5  # float32: sums of fewer than 30 terms below 3
    back = convert(folder / "out.pt", folder / "again.safetensors", tell=said.append)
    again = lc.load(folder / "again.safetensors")
    assert repr(back) == repr(again)
    ours = [a for a in model.params.values() if a.ndim == 2]
    assert all(
        np.array_equal(a, b) for a, b in zip(ours, (b for b in again.params.values() if b.ndim == 2), strict=True)
    )


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_halves(torch, trained, dtype):
    model, folder = trained
    convert(folder / "model.safetensors", folder / "out.safetensors", dtype=dtype, tell=quiet)
    with pytest.raises(TypeError, match=f"is {dtype}, in which lstmcore does not compute"):
        convert(folder / "out.safetensors", folder / "back.safetensors", tell=quiet)
    back = convert(folder / "out.safetensors", folder / "back.safetensors", tell=quiet, options={"dtype": "float32"})
    want = torch.from_numpy(model.params["0.W"]).to(getattr(torch, dtype)).float().numpy()
    assert np.array_equal(back.params["0.W"], want)


def test_loops_leave_as_onnx(onnx, onnxruntime, tmp_path):
    """Two directions, a read-out and tanh: what `train loops` makes."""
    both = lc.Bidirectional(lc.LSTM(4, 5, seed=0), lc.LSTM(4, 5, seed=1))
    model = lc.Stack([both, lc.Dropout(0.2), lc.Linear(10, 8, seed=2), lc.Tanh()])
    assert loops  # whose models are of these parts
    lc.save(tmp_path / "m.safetensors", model)
    said = []
    convert(tmp_path / "m.safetensors", tmp_path / "m.onnx", lengths=True, tell=said.append)
    assert "a graph of ONNX; proved: both run on random input" in said[-1]
    x, lengths = np.random.default_rng(2).standard_normal((6, 3, 4)).astype("float32"), np.array([4, 6, 1])
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    (y,) = session.run(None, {"x": x, "lengths": lengths.astype("int32")})
    assert np.abs(y - model.predict(x, mask=lc.mask_from_lengths(lengths, 6))[0]).max() < 1e-5


def test_keras_and_back(torch, keras, trained):
    model, folder = trained
    convert(folder / "model.safetensors", folder / "m.keras", tell=quiet)
    back = convert(folder / "m.keras", folder / "b.safetensors", tell=quiet)
    assert all(np.array_equal(a, b) for a, b in zip(model.params.values(), back.params.values(), strict=True))
    convert(folder / "m.keras", folder / "m.weights.h5", tell=quiet)
    assert (folder / "m.weights.h5").stat().st_size > 1000


def test_the_verb(torch, trained):
    _, folder = trained
    run = CliRunner().invoke(app, ["convert", str(folder / "model.safetensors"), str(folder / "out.pt")])
    assert run.exit_code == 0, run.output
    assert "proved: both run on random input" in run.output
    rnn = torch.nn.RNN(3, 4)
    torch.save(rnn.state_dict(), folder / "rnn.pt")
    words = ["convert", str(folder / "rnn.pt"), str(folder / "rnn.safetensors")]
    run = CliRunner().invoke(app, words)
    assert run.exit_code == 2
    assert 'pass nonlinearity="tanh" or "relu"' in " ".join(run.output.split())
    run = CliRunner().invoke(app, [*words, "--option", "nonlinearity=tanh"])
    assert run.exit_code == 0, run.output
    assert isinstance(lc.load(folder / "rnn.safetensors"), lc.RNN)


def test_nothing_is_lost(torch, trained):
    """Neither OUT nor the .py file beside it; --overwrite says that they may be."""
    _, folder = trained
    (folder / "out.py").write_text("mine")
    (folder / "out.onnx").write_text("mine too")
    for out, lost in (("out.pt", "out.py"), ("out.onnx", "out.onnx")):
        words = ["convert", str(folder / "model.safetensors"), str(folder / out)]
        run = CliRunner().invoke(app, words)
        assert run.exit_code == 2, run.output
        assert f"{lost} is there and would be lost" in run.output.replace("\n", "")
        assert (folder / lost).read_text().startswith("mine")
    assert not (folder / "out.pt").exists()
    run = CliRunner().invoke(app, [*words[:2], str(folder / "out.pt"), "--overwrite"])
    assert run.exit_code == 0, run.output
    assert "class Model" in (folder / "out.py").read_text()


@pytest.mark.parametrize("ending", [".keras", ".weights.h5", ".onnx", ".pt", ".safetensors"])
def test_where_nothing_can_be_written(torch, keras, onnx, trained, ending):
    """The file is named that was asked for, and nothing else is left there."""
    _, folder = trained
    before = sorted(folder.rglob("*"))
    with pytest.raises(FileNotFoundError, match=rf"could not be saved \(there is no such folder\).*nowhere/a\{ending}"):
        convert(folder / "model.safetensors", folder / "nowhere" / f"a{ending}", tell=quiet)
    assert sorted(folder.rglob("*")) == before


def test_what_it_refuses(trained):
    _, folder = trained
    for out, options, words in [
        ("a.gguf", {}, "should end in .safetensors, .pt"),
        ("a.keras", {"dtype": "float16"}, "`dtype` is for files of torch and ONNX"),
        ("a.safetensors", {"to": "keras"}, '`to` should be "torch" or "lstmcore"'),
    ]:
        with pytest.raises(ValueError, match=words):
            convert(folder / "model.safetensors", folder / out, tell=quiet, **options)
        assert not (folder / out).exists()
