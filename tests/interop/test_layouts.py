"""Every layout against outputs and gradients that its own system computed.

Tolerances: the two sides take the same sums in another order, in float64. At these sizes (at most 20 terms, 5 steps, 2
layers, weights below 1) first-order bounds stay below 2000 units of roundoff of numbers below 10: 2000 x 10 x 1.1e-16
is 2e-12. onnxruntime computes in float32: the same count gives 2000 x 6e-8 = 1e-4.
"""

from pathlib import Path

import numpy as np
import pytest

from lstmcore.interop import LAYOUTS, from_lstmcore, to_lstmcore
from lstmcore.layers import from_config

TOLERANCE, SINGLE = 2e-12, 1e-4
T, B, I, H = 5, 3, 4, 2


def random(shapes, seed=0):
    rng = np.random.default_rng(seed)
    return {key: rng.uniform(-1, 1, shape) for key, shape in shapes.items()}


def output(weights, layout, cell, x, **options):
    config, params = to_lstmcore(weights, layout, cell, **options)
    model = from_config(config, engine="reference")
    for name in model.params:
        model.params[name] = params[name]
    assert set(model.params) == set(params)
    return model.predict(x)[0]


SYSTEMS = {path.stem: path for path in Path(__file__).with_name("systems").glob("*.npz")}


def cases(system):
    """Of each case of a system's file: its name, and its arrays by name; weights and gradients by key."""
    with np.load(SYSTEMS[system]) as file:
        names = dict.fromkeys(name.split("/")[0] for name in file.files if name != "version")
        for case in names:
            arrays = {name.removeprefix(f"{case}/"): file[name] for name in file.files if name.startswith(f"{case}/")}
            for part in ("weights", "gradients"):
                arrays[part] = {k.removeprefix(f"{part}/"): a for k, a in arrays.items() if k.startswith(f"{part}/")}
            yield case, arrays


def test_every_layout_is_held_to_its_own_system():
    """Those that can be installed beside lstmcore run in the tests below; the others have left their numbers."""
    assert SYSTEMS.keys() | {"lstmcore", "torch", "keras", "onnx"} == LAYOUTS.keys()
    for system in SYSTEMS:
        tried = {case.split()[0] for case, _ in cases(system)}
        assert tried == LAYOUTS[system].cells.keys(), f"{system}: cells without numbers of its own, or without a row"


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_systems_own_numbers(system):
    """Outputs, and the gradients of x and of every weight, as that system computed them (systems/make.py)."""
    tolerance = SINGLE if system == "mlx" else TOLERANCE  # mlx 0.32.4 computes the sigmoid of float64 in float32
    for case, theirs in cases(system):
        cell = case.split()[0]
        options = {"bidirectional": "2 directions" in case} if system == "chainer" else {}
        config, params = to_lstmcore(theirs["weights"], system, cell, **options)
        model = from_config(config, engine="reference")
        for name in model.params:
            model.params[name] = params[name]
        y, _, cache = model.forward(theirs["x"])
        np.testing.assert_allclose(y, theirs["y"], rtol=0, atol=tolerance, err_msg=case)
        dx, _, grads = model.backward(theirs["dy"], cache)
        np.testing.assert_allclose(dx, theirs["dx"], rtol=0, atol=10 * tolerance, err_msg=case)
        ours = from_lstmcore(grads, system, cell, gradients=True)
        assert ours.keys() == theirs["gradients"].keys()
        for key, gradient in theirs["gradients"].items():
            np.testing.assert_allclose(ours[key], gradient, rtol=0, atol=10 * tolerance, err_msg=f"{case} {key}")


def layer(rows, path=""):
    """The arrays of one LSTM, by their shapes."""
    return {f"{path}W_ih": (rows, 4 * H), f"{path}W_hh": (H, 4 * H), f"{path}b": (4 * H,)}


STRUCTURES = {
    "one layer": layer(I),
    "two directions": layer(I, "fw.") | layer(I, "bw."),
    "two layers": layer(I, "0.") | layer(H, "1."),
    "two layers of two directions": layer(I, "0.fw.")
    | layer(I, "0.bw.")
    | layer(2 * H, "1.fw.")
    | layer(2 * H, "1.bw."),
    "two towers": layer(I, "fw.0.") | layer(H, "fw.1.") | layer(I, "bw.0.") | layer(H, "bw.1."),
}


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_there_and_back(layout, structure):
    params = random(STRUCTURES[structure])
    if structure == "two towers" and not LAYOUTS[layout].has_towers:
        with pytest.raises(ValueError, match="no two independent towers"):
            from_lstmcore(params, layout)
        return
    _, back = to_lstmcore(from_lstmcore(params, layout), layout)
    assert set(back) == set(params)
    for name in params:
        # the forget bias of TensorFlow 1 is taken off and added again: two roundings of numbers up to 2
        np.testing.assert_allclose(back[name], params[name], rtol=0, atol=0 if layout != "tf1" else 2 * 2.0**-52)


@pytest.mark.parametrize("cell", ["gru", "rnn"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_there_and_back_with_other_cells(layout, cell):
    if cell not in LAYOUTS[layout].cells:
        with pytest.raises(KeyError, match="in this layout"):
            from_lstmcore({}, layout, cell)
        return
    K = {"gru": 3, "rnn": 1}[cell]
    params = random({"W_ih": (I, K * H), "W_hh": (H, K * H), "b": (K * H,)} | ({"b_hn": (H,)} if cell == "gru" else {}))
    _, back = to_lstmcore(from_lstmcore(params, layout, cell), layout, cell)
    for name in params:
        np.testing.assert_array_equal(back[name], params[name])


@pytest.mark.parametrize(("layout", "cell"), [(name, cell) for name, row in LAYOUTS.items() for cell in row.cells])
def test_gradients_go_by_the_transpose_of_what_weights_go_by(layout, cell):
    """sum(from(gradient) weights) = sum(gradient to(weights)): so each of two summed biases gets the whole."""
    K = {"lstm": 4, "gru": 3, "rnn": 1}[cell]
    ours = {"W_ih": (I, K * H), "W_hh": (H, K * H), "b": (K * H,)} | ({"b_hn": (H,)} if cell == "gru" else {})
    shapes = {key: value.shape for key, value in from_lstmcore(random(ours), layout, cell).items()}
    weights, zeros = random(shapes), {key: np.zeros(shape) for key, shape in shapes.items()}
    params, origin = to_lstmcore(weights, layout, cell)[1], to_lstmcore(zeros, layout, cell)[1]
    gradients = random({name: value.shape for name, value in params.items()}, seed=2)
    theirs = from_lstmcore(gradients, layout, cell, gradients=True)
    assert {key: value.shape for key, value in theirs.items()} == shapes
    one = sum(np.sum(theirs[key] * weights[key]) for key in shapes)
    other = sum(np.sum(gradients[name] * (params[name] - origin[name])) for name in params)
    # fewer than 200 products of numbers up to 1 in float64: 200 x 200 x 1.1e-16
    assert abs(one - other) < 5e-12
    back = to_lstmcore(theirs, layout, cell, gradients=True)[1]
    for name in params:
        np.testing.assert_array_equal(back[name], gradients[name])


def test_a_second_bias_with_another_gradient_stays_visible():
    gradients = from_lstmcore(random(STRUCTURES["one layer"]), "torch", gradients=True)
    gradients["bias_hh_l0"] = np.zeros(4 * H)
    _, ours = to_lstmcore(gradients, "torch", gradients=True)
    np.testing.assert_array_equal(ours["b"], gradients["bias_ih_l0"])
    np.testing.assert_array_equal(ours["b (bias_hh_l0)"], 0)


def test_a_layer_without_biases():
    weights = random({"weight_ih_l0": (4 * H, I), "weight_hh_l0": (4 * H, H)})
    _, params = to_lstmcore(weights, "torch")
    np.testing.assert_array_equal(params["b"], 0)


@pytest.mark.parametrize("cell", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize(("layers", "both"), [(1, False), (1, True), (3, False), (2, True)])
def test_pytorch_itself(torch, cell, layers, both):
    module = getattr(torch.nn, cell)(I, H, layers, bidirectional=both, dtype=torch.float64)
    weights = {name: value.detach().numpy() for name, value in module.named_parameters()}
    x = np.random.default_rng(1).standard_normal((T, B, I))
    want, _ = module(torch.from_numpy(x))
    np.testing.assert_allclose(output(weights, "torch", cell.lower(), x), want.detach().numpy(), rtol=0, atol=TOLERANCE)

    dy = np.random.default_rng(2).standard_normal(want.shape)
    want.backward(torch.from_numpy(dy))
    config, params = to_lstmcore(weights, "torch", cell.lower())
    model = from_config(config, engine="reference")
    for name in model.params:
        model.params[name] = params[name]
    gradients = model.backward(dy, model.forward(x)[2])[2]
    for name, value in from_lstmcore(gradients, "torch", cell.lower(), gradients=True).items():
        np.testing.assert_allclose(
            value, dict(module.named_parameters())[name].grad.numpy(), rtol=0, atol=10 * TOLERANCE
        )


@pytest.mark.parametrize("cell", ["LSTM", "GRU", "SimpleRNN"])
@pytest.mark.parametrize("both", [False, True])
def test_keras_itself(keras, cell, both):
    theirs = getattr(keras.layers, cell)(H, return_sequences=True, dtype="float64")
    if both:
        theirs = keras.layers.Bidirectional(theirs, dtype="float64")
    x = np.random.default_rng(1).standard_normal((T, B, I))
    theirs.build((B, T, I))
    rng = np.random.default_rng(3)
    weights = {}
    for variable in theirs.weights:
        variable.assign(rng.uniform(-1, 1, variable.shape))
        *_, direction, _, name = ("", "", *variable.path.split("/"))
        prefix = "" if not both else "backward/" if "backward" in direction else "forward/"
        weights[prefix + name] = variable.value.detach().numpy()
    want = theirs(x.transpose(1, 0, 2)).detach().numpy().transpose(1, 0, 2)
    ours = {"LSTM": "lstm", "GRU": "gru", "SimpleRNN": "rnn"}[cell]
    tolerance = SINGLE if cell == "SimpleRNN" else TOLERANCE  # Keras 3.15 rounds this cell's states to float32
    np.testing.assert_allclose(output(weights, "keras", ours, x), want, rtol=0, atol=tolerance)


@pytest.mark.parametrize("cell", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("both", [False, True])
def test_onnxruntime_itself(onnx, onnxruntime, cell, both):
    D, K = 1 + both, {"LSTM": 4, "GRU": 3, "RNN": 1}[cell]
    shapes = {"W": (D, K * H, I), "R": (D, K * H, H), "B": (D, 2 * K * H)}
    weights = {key: value.astype("float32") for key, value in random(shapes).items()}
    options = {"linear_before_reset": 1} if cell == "GRU" else {}
    direction = "bidirectional" if both else "forward"
    node = onnx.helper.make_node(cell, ["x", *shapes], ["y"], hidden_size=H, direction=direction, **options)
    tensor, single = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        [node],
        "layer",
        [tensor("x", single, (T, B, I)), *(tensor(key, single, shape) for key, shape in shapes.items())],
        [tensor("y", single, (T, D, B, H))],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 14)], ir_version=8)
    x = np.random.default_rng(1).standard_normal((T, B, I)).astype("float32")
    (y,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x, **weights})
    want = y.transpose(0, 2, 1, 3).reshape(T, B, D * H)  # (T, D, B, H) -> (T, B, D H), forward's half first
    np.testing.assert_allclose(output(weights, "onnx", cell.lower(), x), want, rtol=0, atol=SINGLE)


def test_chainer_with_as_many_inputs_as_units_is_asked_back():
    params = random(layer(H, "fw.") | layer(H, "bw."))
    weights = from_lstmcore(params, "chainer")
    with pytest.raises(ValueError, match="pass bidirectional="):
        to_lstmcore(weights, "chainer")
    assert set(to_lstmcore(weights, "chainer", bidirectional=True)[1]) == set(params)


def test_what_does_not_fit_is_refused():
    with pytest.raises(KeyError, match=r"`layout` should be one of lstmcore, torch, keras.*; got 'theano'"):
        to_lstmcore({}, "theano")
    with pytest.raises(KeyError, match=r"should hold weight_ih_l0, weight_hh_l0.*got weight_ih_l0 \(8, 4\)"):
        to_lstmcore({"weight_ih_l0": np.zeros((8, 4))}, "torch")
    wrong = {"W_ih": np.zeros((I, 4 * H)), "W_hh": np.zeros((4 * H, H)), "b": np.zeros(4 * H)}
    with pytest.raises(KeyError, match=r"W_hh \(8, 2\)"):
        to_lstmcore(wrong, "lstmcore")


def test_every_row_names_its_source():
    for name, layout in LAYOUTS.items():
        assert layout.source.startswith("https://") or name == "lstmcore"
