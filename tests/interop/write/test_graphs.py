"""Models as graphs of ONNX, run by onnxruntime, and as models of Keras.

All compute in float32: outputs below 3, sums of fewer than 30 terms in each of at most 6 steps.
"""

import numpy as np
import pytest
from interop_models import LENGTHS, B, T, given, models

import lstmcore as lc
from lstmcore.interop import read
from lstmcore.interop.write.keras_model import to_keras
from lstmcore.interop.write.onnx_graph import to_onnx

SINGLE = 1e-5


@pytest.mark.parametrize("name", models())
def test_onnxruntime_gives_what_lstmcore_gives(onnx, onnxruntime, name):
    model = models()[name]
    x = given(model)
    graph = to_onnx(model)
    onnx.checker.check_model(graph)
    run = onnxruntime.InferenceSession(graph.SerializeToString()).run
    assert np.abs(run(None, {"x": x})[0] - model.predict(x)[0]).max() < SINGLE
    run = onnxruntime.InferenceSession(to_onnx(model, lengths=True).SerializeToString()).run
    (y,) = run(None, {"x": x, "lengths": LENGTHS.astype("int32")})
    assert np.abs(y - model.predict(x, mask=lc.mask_from_lengths(LENGTHS, T))[0]).max() < SINGLE
    if name not in ("sum", "towers"):
        said = []
        back = read(graph, tell=said.append)
        assert "; proved: the graph run beside onnxruntime" in said[0]
        own = {key: a for key, a in model.params.items() if "W" in key}
        assert all(any(np.array_equal(a, b) for b in back.params.values()) for a in own.values())


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("name", models())
def test_keras_gives_what_lstmcore_gives(keras, name, tmp_path):
    model = models()[name]
    if name == "towers":
        with pytest.raises(ValueError, match=r"is a layer that a keras.Sequential lacks"):
            to_keras(model)
        return
    theirs, x = to_keras(model), given(model)
    y = theirs(np.ascontiguousarray(x.swapaxes(0, 1)), training=False).detach().numpy()
    assert np.abs((y.swapaxes(0, 1) if y.ndim == 3 else y) - model.predict(x)[0]).max() < SINGLE
    theirs.save(tmp_path / "model.keras")
    back = read(tmp_path / "model.keras", tell=lambda _: None)
    assert all(np.array_equal(a, b) for a, b in zip(model.params.values(), back.params.values(), strict=True))


def test_torch_to_lstmcore_to_onnx(torch, onnx, onnxruntime):
    torch.manual_seed(0)
    module = torch.nn.LSTM(3, 5, num_layers=2, bidirectional=True)
    model = read(module, tell=lambda _: None)
    x = np.random.default_rng(0).standard_normal((T, B, 3)).astype("float32")
    (y,) = onnxruntime.InferenceSession(to_onnx(model).SerializeToString()).run(None, {"x": x})
    want = module(torch.from_numpy(x))[0].detach().numpy()
    assert np.abs(y - want).max() < SINGLE


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_graph_keeps_its_weights_in_half_precision(torch, onnx, onnxruntime, tmp_path, dtype):
    model = models()["text"]
    graph = to_onnx(model, dtype=dtype)
    kept = {onnx.TensorProto.DataType.Name(t.data_type) for t in graph.graph.initializer if "kept" in t.name}
    assert kept == {dtype.upper()}
    said = []
    back = read(graph, tell=said.append)
    assert "; proved: the graph run beside onnxruntime" in said[0]
    for name in ("0.W", "1.W_hh", "5.W"):
        want = torch.from_numpy(model.params[name]).to(getattr(torch, dtype)).float().numpy()
        assert any(np.array_equal(want, value) for value in back.params.values())


def test_weights_in_half_precision_are_read_where_that_is_said(onnx, tmp_path):
    """float16 all through, which onnxruntime does not run on a CPU."""
    rng = np.random.default_rng(0)
    arrays = {"W": (1, 16, 3), "R": (1, 16, 4)}
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("LSTM", ["x", "W", "R"], ["y"], hidden_size=4)], "halves",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT16, ("T", "B", 3))],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT16, ("T", 1, "B", 4))],
        [onnx.numpy_helper.from_array(rng.normal(size=s).astype("float16"), k) for k, s in arrays.items()],
    )  # fmt: skip
    made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 14)], ir_version=8)
    onnx.save(made, tmp_path / "a.onnx")
    with pytest.raises(TypeError, match='`W` is float16, in which lstmcore does not compute: pass dtype="float32"'):
        read(tmp_path / "a.onnx")
    back = read(tmp_path / "a.onnx", dtype="float32", tell=lambda _: None)
    assert np.array_equal(back.params["W_hh"][:, :4], onnx.numpy_helper.to_array(graph.initializer[1])[0, :4].T)


def test_what_onnx_has_not(onnx):
    class Own(lc.Tanh):
        pass

    with pytest.raises(ValueError, match=r"Own\(\) is a layer that ONNX lacks"):
        to_onnx(lc.Stack([lc.RNN(2, 2, seed=0), Own()]))
