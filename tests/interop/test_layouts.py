"""Every layout against the system's own outputs, or against its documented formula, written here once more.

Tolerances: the two sides take the same sums in another order, in float64. At these sizes (at most 20 terms, 5 steps, 2
layers, weights below 1) first-order bounds stay below 2000 units of roundoff of numbers below 10: 2000 x 10 x 1.1e-16
is 2e-12. onnxruntime computes in float32: the same count gives 2000 x 6e-8 = 1e-4.
"""

import os

import numpy as np
import pytest

from lstmcore.interop import LAYOUTS, from_lstmcore, to_lstmcore
from lstmcore.layers import from_config

TOLERANCE, SINGLE = 2e-12, 1e-4
T, B, I, H = 5, 3, 4, 2


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def lstm(steps, gates):
    """Outputs of an LSTM whose `gates(x, h)` gives the pre-activations of input, forget, candidate and output gate."""
    h = c = np.zeros((steps.shape[1], H))
    ys = []
    for x in steps:
        i, f, g, o = gates(x, h)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        ys.append(h)
    return np.stack(ys)


def gru(steps, gates):
    """Outputs of a GRU; `gates(x, h)` gives reset, update, the candidate's x part and its h part (reset after)."""
    h = np.zeros((steps.shape[1], H))
    ys = []
    for x in steps:
        r, z, n, m = gates(x, h)
        z = sigmoid(z)
        h = (1 - z) * np.tanh(n + sigmoid(r) * m) + z * h
        ys.append(h)
    return np.stack(ys)


def rnn(steps, gates):
    h = np.zeros((steps.shape[1], H))
    ys = []
    for x in steps:
        h = np.tanh(gates(x, h))
        ys.append(h)
    return np.stack(ys)


def haste(w):
    def gates(x, h):
        i, g, f, o = np.split(x @ w["kernel"] + h @ w["recurrent_kernel"] + w["bias"], 4, axis=1)
        return i, f, g, o

    return gates


def tf1(w):
    def gates(x, h):
        i, j, f, o = np.split(np.concatenate([x, h], 1) @ w["kernel"] + w["bias"], 4, axis=1)
        return i, f + 1.0, j, o

    return gates


def keras_lstm(w):
    def gates(x, h):
        return np.split(x @ w["kernel"] + h @ w["recurrent_kernel"] + w["bias"], 4, axis=1)

    return gates


def keras_gru(w):
    def gates(x, h):
        input_bias, recurrent_bias = w["bias"]
        xz, xr, xh = np.split(x @ w["kernel"] + input_bias, 3, axis=1)
        hz, hr, hh = np.split(h @ w["recurrent_kernel"] + recurrent_bias, 3, axis=1)
        return xr + hr, xz + hz, xh, hh

    return gates


def onnx_lstm(w):
    def gates(x, h):
        a = x @ w["W"][0].T + h @ w["R"][0].T + w["B"][0][: 4 * H] + w["B"][0][4 * H :]
        i, o, f, c = np.split(a, 4, axis=1)
        return i, f, c, o

    return gates


def onnx_gru(w):
    def gates(x, h):
        xz, xr, xh = np.split(x @ w["W"][0].T + w["B"][0][: 3 * H], 3, axis=1)
        hz, hr, hh = np.split(h @ w["R"][0].T + w["B"][0][3 * H :], 3, axis=1)
        return xr + hr, xz + hz, xh, hh

    return gates


def torch_lstm(w):
    def gates(x, h):
        a = x @ w["weight_ih_l0"].T + w["bias_ih_l0"] + h @ w["weight_hh_l0"].T + w["bias_hh_l0"]
        return np.split(a, 4, axis=1)

    return gates


def chainer_lstm(w):
    def gates(x, h):
        i, f, o, a = (x @ w[f"0/w{j}"].T + w[f"0/b{j}"] + h @ w[f"0/w{j + 4}"].T + w[f"0/b{j + 4}"] for j in range(4))
        return i, f, a, o

    return gates


def chainer_gru(w):
    def gates(x, h):
        r, z, n = (x @ w[f"0/w{j}"].T + w[f"0/b{j}"] for j in range(3))
        hr, hz, m = (h @ w[f"0/w{j}"].T + w[f"0/b{j}"] for j in range(3, 6))
        return r + hr, z + hz, n, m

    return gates


def chainer_rnn(w):
    return lambda x, h: x @ w["0/w0"].T + w["0/b0"] + h @ w["0/w1"].T + w["0/b1"]


def chainer_link(w):
    def gates(x, h):
        a = (x @ w["upward/W"].T + w["upward/b"] + h @ w["lateral/W"].T).reshape(len(x), H, 4)
        return a[..., 1], a[..., 2], a[..., 0], a[..., 3]

    return gates


def flax_lstm(w):
    def gates(x, h):
        return tuple(x @ w[f"i{g}/kernel"] + h @ w[f"h{g}/kernel"] + w[f"h{g}/bias"] for g in "ifgo")

    return gates


def flax_gru(w):
    def gates(x, h):
        r, z, n = (x @ w[f"i{g}/kernel"] + w[f"i{g}/bias"] for g in "rzn")
        return r + h @ w["hr/kernel"], z + h @ w["hz/kernel"], n, h @ w["hn/kernel"] + w["hn/bias"]

    return gates


def flax_rnn(w):
    return lambda x, h: x @ w["i/kernel"] + w["i/bias"] + h @ w["h/kernel"]


def mlx_lstm(w):
    return lambda x, h: np.split(x @ w["Wx"].T + w["bias"] + h @ w["Wh"].T, 4, axis=1)


def mlx_gru(w):
    def gates(x, h):
        r, z, n = np.split(x @ w["Wx"].T + w["b"], 3, axis=1)
        hr, hz, m = np.split(h @ w["Wh"].T, 3, axis=1)
        return r + hr, z + hz, n, m + w["bhn"]

    return gates


def mlx_rnn(w):
    return lambda x, h: x @ w["Wxh"].T + h @ w["Whh"].T + w["bias"]


FORMULAS = {  # the arrays of one layer, by their shapes, and the formula of their system
    ("haste", "lstm"): ({"kernel": (I, 4 * H), "recurrent_kernel": (H, 4 * H), "bias": (4 * H,)}, haste),
    ("tf1", "lstm"): ({"kernel": (I + H, 4 * H), "bias": (4 * H,)}, tf1),
    ("keras", "lstm"): ({"kernel": (I, 4 * H), "recurrent_kernel": (H, 4 * H), "bias": (4 * H,)}, keras_lstm),
    ("keras", "gru"): ({"kernel": (I, 3 * H), "recurrent_kernel": (H, 3 * H), "bias": (2, 3 * H)}, keras_gru),
    ("onnx", "lstm"): ({"W": (1, 4 * H, I), "R": (1, 4 * H, H), "B": (1, 8 * H)}, onnx_lstm),
    ("onnx", "gru"): ({"W": (1, 3 * H, I), "R": (1, 3 * H, H), "B": (1, 6 * H)}, onnx_gru),
    ("torch", "lstm"): (
        {
            "weight_ih_l0": (4 * H, I),
            "weight_hh_l0": (4 * H, H),
            "bias_ih_l0": (4 * H,),
            "bias_hh_l0": (4 * H,),
        },
        torch_lstm,
    ),
    ("chainer", "lstm"): (
        {f"0/w{j}": (H, I if j < 4 else H) for j in range(8)} | {f"0/b{j}": (H,) for j in range(8)},
        chainer_lstm,
    ),
    ("chainer", "gru"): (
        {f"0/w{j}": (H, I if j < 3 else H) for j in range(6)} | {f"0/b{j}": (H,) for j in range(6)},
        chainer_gru,
    ),
    ("chainer", "rnn"): ({"0/w0": (H, I), "0/w1": (H, H), "0/b0": (H,), "0/b1": (H,)}, chainer_rnn),
    ("chainer-link", "lstm"): (
        {"upward/W": (4 * H, I), "upward/b": (4 * H,), "lateral/W": (4 * H, H)},
        chainer_link,
    ),
    ("flax", "lstm"): (
        {f"i{g}/kernel": (I, H) for g in "ifgo"}
        | {f"h{g}/kernel": (H, H) for g in "ifgo"}
        | {f"h{g}/bias": (H,) for g in "ifgo"},
        flax_lstm,
    ),
    ("flax", "gru"): (
        {f"i{g}/kernel": (I, H) for g in "rzn"}
        | {f"h{g}/kernel": (H, H) for g in "rzn"}
        | {f"{name}/bias": (H,) for name in ("ir", "iz", "in", "hn")},
        flax_gru,
    ),
    ("flax", "rnn"): ({"i/kernel": (I, H), "i/bias": (H,), "h/kernel": (H, H)}, flax_rnn),
    ("mlx", "lstm"): ({"Wx": (4 * H, I), "Wh": (4 * H, H), "bias": (4 * H,)}, mlx_lstm),
    ("mlx", "gru"): ({"Wx": (3 * H, I), "Wh": (3 * H, H), "b": (3 * H,), "bhn": (H,)}, mlx_gru),
    ("mlx", "rnn"): ({"Wxh": (H, I), "Whh": (H, H), "bias": (H,)}, mlx_rnn),
}
STEPS = {"lstm": lstm, "gru": gru, "rnn": rnn}


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


@pytest.mark.parametrize(("layout", "cell"), FORMULAS)
def test_the_documented_formula_gives_the_same_outputs(layout, cell):
    shapes, gates = FORMULAS[layout, cell]
    weights = random(shapes)
    x = np.random.default_rng(1).standard_normal((T, B, I))
    np.testing.assert_allclose(output(weights, layout, cell, x), STEPS[cell](x, gates(weights)), rtol=0, atol=TOLERANCE)


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


@pytest.mark.parametrize(("layout", "cell"), FORMULAS)
def test_gradients_go_by_the_transpose_of_what_weights_go_by(layout, cell):
    """sum(from(gradient) weights) = sum(gradient to(weights)): so each of two summed biases gets the whole."""
    shapes, _ = FORMULAS[layout, cell]
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


@pytest.fixture
def keras(torch):
    os.environ["KERAS_BACKEND"] = "torch"  # read once, at Keras's first import
    return pytest.importorskip("keras", reason="the peer keras is not installed")


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
