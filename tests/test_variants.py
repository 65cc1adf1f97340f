"""Every variant of a cell through everything that the plain cells go through, and against the systems that have it."""

import json
from itertools import product

import numpy as np
import pytest

import lstmcore as lc
from lstmcore.debug.step import step_back
from lstmcore.layers.tree import engine
from lstmcore.ops.activation import array_maths
from lstmcore.ops.cells import CELLS, options_of, variant
from lstmcore.ops.cells.activations import NUMBERS, activation, checked

T, B, I, H = 5, 4, 3, 2
MASK = np.array([[1, 1, 0, 0], [1, 0, 1, 0], [0, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0]], bool)  # gaps; a row of none
ALPHA = {"hard_sigmoid": 0.2, "thresholded_relu": 0.1}
SPECS = (*((name, ALPHA[name]) if name in ALPHA else name for name in NUMBERS), ("hard_sigmoid", 1 / 6))
SQUARE = {"bias": False, "peepholes": True, "coupled": "f", "clip_c": 0.3, "clip_a": 0.4}

VARIANTS = [
    *((lc.RNN, {"activation": spec}) for spec in SPECS[2:]),
    (lc.RNN, {"activation": "relu", "bias": False, "clip_a": 0.5}),
    *((lc.GRU, {"reset": "before", "bias": bias}) for bias in (True, False)),
    (lc.GRU, {"reset": "before", "activation": "softsign", "gate_activation": ("hard_sigmoid", 0.2), "clip_a": 0.7}),
    (lc.GRU, {"bias": False, "activation": "relu", "clip_a": 0.7}),
    *((lc.LSTM, {name: value}) for name, value in SQUARE.items()),
    (lc.LSTM, {"coupled": "i", "peepholes": True, "gate_activation": ("hard_sigmoid", 1 / 6)}),
    (lc.LSTM, {"activation": "relu", "cell_activation": ("scaled_tanh", 1.7, 0.6), "clip_c": 0.3}),
    (lc.LSTM, SQUARE),
    (lc.LSTM, {"layer_norm": True}),
]


def made(kind, options, engine="reference", dtype="float64"):
    """A layer whose weights are so large that relus, clips and hard sigmoids meet both of their sides."""
    layer = kind(I, H, dtype=dtype, seed=1, engine=engine, **options)
    for k, name in enumerate(layer.params):
        layer.params[name] += 0.5 * np.random.default_rng(k).standard_normal(layer.params[name].shape)
    return layer


def given():
    return np.random.default_rng(7).standard_normal((T, B, I))


@pytest.mark.parametrize(("kind", "options"), VARIANTS, ids=lambda v: getattr(v, "__name__", None) or json.dumps(v))
def test_every_tool_takes_it(kind, options, tmp_path, monkeypatch):
    monkeypatch.setattr(step_back, "has_compiler", lambda: False)  # compiled for each of them it would take minutes
    x, layer = given(), made(kind, options)
    check = lc.debug.gradcheck(layer, x, mask=MASK, seed=0)
    assert check.worst < 1e-12, check
    assert {row.name for row in check.table} >= set(layer.params)

    y, state, cache = layer.forward(x, mask=MASK)
    dy = np.random.default_rng(3).standard_normal(y.shape)
    _, _, grads = layer.backward(dy, cache)
    noise = np.where(MASK[..., None], 0, np.nan)
    y_poisoned, _, poisoned = layer.forward(x + noise, mask=MASK)
    assert y_poisoned.tobytes() == y.tobytes()
    for name, g in layer.backward(dy + noise, poisoned)[2].items():
        assert g.tobytes() == grads[name].tobytes(), name
        assert g.any(), name

    book = lc.debug.ledger(layer, x, dy, mask=MASK)
    assert book.ok, book
    assert book.not_split == layer.cell.weights
    assert all(len(part.gain) == T for part in lc.debug.flow(layer, x, dy, mask=MASK).layers)
    assert lc.debug.tripwire(layer, x, dy, mask=MASK).ok
    assert lc.debug.padding(layer, x, mask=MASK).ok
    J = lc.debug.jacobian(layer, cache)  # against the loop back: v^T J is the gradient of v^T s_T by s_0
    v = [np.random.default_rng(k).standard_normal(s.shape) for k, s in enumerate(state)]
    want = np.concatenate(layer.backward(None, cache, tuple(v))[1], axis=1)
    np.testing.assert_allclose(np.einsum("bn,bnm->bm", np.concatenate(v, axis=1), J), want, rtol=0, atol=1e-13)

    lc.save(tmp_path / "model.safetensors", layer)
    twin = lc.load(tmp_path / "model.safetensors", engine="reference")
    assert repr(twin) == repr(layer)
    assert twin.cell is layer.cell
    assert list(twin.params) == list(layer.params)
    assert twin.predict(x, mask=MASK)[0].tobytes() == layer.predict(x, mask=MASK)[0].tobytes() == y.tobytes()


@pytest.mark.parametrize(("kind", "options"), [(lc.LSTM, SQUARE | {"gate_activation": ("hard_sigmoid", 0.2)})])
def test_the_compiled_engine_runs_it(kind, options):
    """One text compiled, with all that a variant can have: 64 roundings of numbers below 4 through five steps."""
    x = given()
    answers = []
    for name in ("reference", "fused-cpu"):
        layer = made(kind, options, name)
        y, state, cache = layer.forward(x, mask=MASK)
        assert engine(cache) == name
        dx, dstate0, grads = layer.backward(np.ones_like(y), cache)
        assert lc.debug.ledger(layer, x, mask=MASK).ok
        answers.append([y, *state, dx, *dstate0, *grads.values()])
    for ours, theirs in zip(*answers, strict=True):
        assert np.abs(ours - theirs).max() <= 64 * np.finfo(float).eps * max(4, np.abs(ours).max())


def test_what_is_pointwise_compiles_and_nothing_else():
    for cell, options in ((kind.cell, options) for kind, options in VARIANTS):
        assert variant(cell, **options).compiles == (options.get("reset") != "before" and "layer_norm" not in options)
    with pytest.raises(ValueError, match="engine 'fused-cpu' cannot run the cell 'gru' with reset='before'"):
        lc.GRU(I, H, reset="before", engine="fused-cpu")
    layer = lc.GRU(I, H, reset="before", dtype="float64", seed=0)
    assert engine(layer.forward(given())[2]) == "reference"
    with pytest.raises(TypeError, match=r"multiplies with W_hn inside its step \(backward and lc.debug.hvp go through"):
        lc.debug.rtrl(layer, given(), np.ones((T, B, H)))


def test_random_combinations():
    """What can be combined is: fifty draws among all options of all three."""
    rng = np.random.default_rng(11)
    choices = {
        "bias": (True, False), "peepholes": (True, False), "coupled": (None, "f", "i"), "clip_c": (None, 0.4),
        "clip_a": (None, 0.6), "reset": ("after", "before"), "activation": SPECS, "gate_activation": SPECS[2:],
        "cell_activation": SPECS, "proj_size": (None, 1), "layer_norm": (False, False, False, True),
    }  # fmt: skip
    for _ in range(50):
        kind = (lc.LSTM, lc.GRU, lc.RNN)[rng.integers(3)]
        options = {name: choices[name][rng.integers(len(choices[name]))] for name in options_of(kind.cell)}
        if options.get("layer_norm"):  # the one that combines with none
            with pytest.raises(ValueError, match=r"`layer_norm` (goes with no other option|adds the bias behind)"):
                kind(I, H, **options)
            continue
        check = lc.debug.gradcheck(made(kind, options), given(), mask=MASK, seed=0, directions=2)
        assert check.worst < 1e-12, (kind, options, str(check))


def test_random_combinations_of_what_stands_around():
    """Variants inside learned states, noise, residuals and both directions, in ways drawn at random."""
    rng = np.random.default_rng(12)

    def noisy(layer):
        return lc.RecurrentDropout(layer, h=0.3, W_hh=0.3, zoneout_h=0.2)

    def residual(layer):
        width = layer.forward(given())[0].shape[-1]
        return lc.Residual(lc.Stack([layer, lc.Dropout(0.3), lc.Linear(width, I, dtype="float64", seed=0)]))

    for _ in range(12):
        kind, options = VARIANTS[rng.integers(len(VARIANTS))]
        model = (lc.LearnedState, noisy, lambda layer: layer)[rng.integers(3)](made(kind, options))
        model = (residual, lc.Reversed, lc.BatchFirst)[rng.integers(3)](model)
        turned = isinstance(model, lc.BatchFirst)
        x, mask = (given().swapaxes(0, 1), MASK.T) if turned else (given(), MASK)
        check = lc.debug.gradcheck(model, x, mask=mask, seed=0, directions=2, dropout_seed=1)
        assert check.worst < 1e-12, (model, str(check))


# ---- activations by themselves -----------------------------------------------------------------------------


def test_activations_are_what_they_are_called():
    """Against formulas written for exactness, not for speed: float128 where exp and log are meant."""
    a = np.linspace(-30, 30, 1201).astype(np.longdouble)
    wanted = {
        "softplus": np.logaddexp(0, a), "elu": np.where(a < 0, np.expm1(np.minimum(a, 0)), a),
        "softsign": a / (1 + abs(a)), "leaky_relu": np.where(a < 0, 0.01 * a, a), "affine": a,
        "thresholded_relu": np.where(a > 1, a, 0), "relu": np.maximum(a, 0), "identity": a,
    }  # fmt: skip
    for name, want in wanted.items():
        got = activation(array_maths(np), checked("activation", name))[0](a.astype(float))
        # elu near zero loses nothing; softplus adds a logarithm's few roundings: 8 in all
        assert np.all(abs(got - want) <= 8 * np.finfo(float).eps * np.maximum(abs(want), 1e-13)), name
    for alpha in (0.2, 1 / 6):
        got = activation(array_maths(np), checked("activation", ("hard_sigmoid", alpha)))[0](a.astype(float))
        assert np.all(abs(got - np.clip(alpha * a + 0.5, 0, 1)) <= 4 * np.finfo(float).eps)


def test_nan_goes_through_every_activation():
    for spec, limit in product(SPECS, (None, 2.0)):
        f, _ = activation(array_maths(np), checked("activation", spec), limit)
        y = f(np.array([np.nan, 0.5], "float32"))
        assert (np.isnan(y).tolist(), y.dtype) == ([True, False], "float32"), spec


# ---- refusals ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "options", "complaint"),
    [
        (lc.GRU, {"peepholes": True}, r"GRU has no `peepholes`: there are .*, bias, reset, activation, gate"),
        (lc.GRU, {"reset": "never"}, r'`reset` should be "after" or "before" \(the product\); got \'never\''),
        (lc.LSTM, {"coupled": "g"}, r'`coupled` should be "f" \(f = 1 - i\), "i" \(i = 1 - f\) or None; got \'g\''),
        (lc.LSTM, {"clip_c": -1.0}, r"`clip_c` should be a number above 0, or None; got -1.0"),
        (lc.RNN, {"clip_a": True}, r"`clip_a` should be a number above 0, or None; got True"),
        (lc.LSTM, {"peepholes": 1}, r"`peepholes` should be True or False; got 1"),
        (lc.LSTM, {"bias": None}, r"`bias` should be True or False; got None"),
        (lc.RNN, {"activation": "gelu"}, r"`activation` should be one of sigmoid, tanh, .* got 'gelu'"),
        (lc.RNN, {"activation": "hard_sigmoid"}, r"hard_sigmoid comes in two conventions: \('hard_sigmoid', 1 / 6\)"),
        (lc.RNN, {"activation": ("relu", 1.0)}, r"`activation`: relu takes no numbers; got \('relu', 1.0\)"),
        (lc.RNN, {"activation": ("elu", np.nan)}, r"`activation` should have finite numbers behind the name; got"),
        (lc.RNN, {"activation": ("elu", -1)}, r"`activation`: elu should have alpha > 0; got \('elu', -1\)"),
        (lc.RNN, {"activation": ("thresholded_relu", -1)}, r"thresholded_relu should have alpha >= 0"),
    ],
)
def test_a_wrong_option_is_refused(kind, options, complaint):
    with pytest.raises((TypeError, ValueError), match=complaint):
        kind(I, H, **options)


def test_what_is_off_is_left_out():
    plain = lc.LSTM(I, H, bias=True, peepholes=False, activation="tanh")
    assert plain.cell is CELLS["lstm"]
    assert plain.options == {}
    assert plain.config().keys() == {"kind", "input_size", "hidden_size", "dtype", "return_sequences"}
    assert repr(lc.GRU(I, H, reset="before", return_sequences=False)) == (
        "GRU(3, 2, reset='before', return_sequences=False)"
    )


# ---- other systems -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "options"), [("RNN", {"nonlinearity": "relu"}), ("LSTM", {}), ("GRU", {})])
def test_torch_without_bias_and_with_relu(torch, kind, options):
    theirs = getattr(torch.nn, kind)(I, H, bias=False, dtype=torch.float64, **options)
    ours = getattr(lc, kind)(
        I, H, dtype="float64", bias=False, engine="reference", **({"activation": "relu"} if options else {})
    )
    for name, weight in (("W_ih", theirs.weight_ih_l0), ("W_hh", theirs.weight_hh_l0)):
        ours.params[name] = weight.detach().numpy().T.copy()
    x = torch.tensor(given(), requires_grad=True)
    y, _ = theirs(x)
    dy = torch.tensor(np.random.default_rng(0).standard_normal(y.shape))
    y.backward(dy)
    got, _, cache = ours.forward(given())
    dx, _, grads = ours.backward(dy.numpy(), cache)
    pairs = [
        (got, y),
        (dx, x.grad),
        (grads["W_ih"], theirs.weight_ih_l0.grad.T),
        (grads["W_hh"], theirs.weight_hh_l0.grad.T),
    ]
    for a, b in pairs:  # fmt: skip
        np.testing.assert_allclose(a, b.detach().numpy(), rtol=0, atol=1e-12)


def onnxruntime_gives(onnx, onnxruntime, kind, layer, attributes):
    """What onnxruntime makes of the layer's weights, float32: Y (T, B, H), without lengths or initial state."""
    name = type(layer).__name__
    order = {"LSTM": "iofg", "GRU": "zrn", "RNN": "n"}[name]
    p = {key: np.asarray(value, "float32") for key, value in layer.params.items()}
    theirs = layer.cell.fed_by

    def rows(weight, gate, shape=()):
        """The block of a gate in their orientation; zeros where the layer has none."""
        blocks = theirs.get(weight, ())
        k = layer.cell.gates.index(gate) if gate in layer.cell.gates else None
        if k not in blocks:
            return np.zeros((H, *shape), "float32")
        return p[weight][..., blocks.index(k) * H :][..., :H].T

    W = np.concatenate([rows("W_ih", gate, (I,)) for gate in order])[None]
    R = np.concatenate([p["W_hn"].T if gate == "n" and "W_hn" in p else rows("W_hh", gate, (H,)) for gate in order])[
        None
    ]
    b = np.concatenate([rows("b", gate) for gate in order])
    inputs = {"W": W, "R": R, "B": np.concatenate([b, np.zeros_like(b)])[None]}
    if "p" in p:
        inputs["P"] = np.concatenate([rows("p", f"p_{gate}") for gate in "iof"])[None]
    slots = ["X", "W", "R", "B"] + (["", "", "", "P"] if "P" in inputs else [])
    node = onnx.helper.make_node(name, slots, ["Y"], hidden_size=H, **attributes)
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [node], "one", [value("X", 1, (T, B, I))], [value("Y", 1, None)],
        [onnx.numpy_helper.from_array(np.ascontiguousarray(a), slot) for slot, a in inputs.items()],
    )  # fmt: skip
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 14)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"X": given().astype("float32")})[0][:, 0]


ALPHA_OF, BETA_OF = "activation_alpha", "activation_beta"
ONNX = [
    (lc.RNN, {"activation": "relu"}, {"activations": ["Relu"]}),
    (lc.RNN, {"activation": "softsign", "clip_a": 0.5}, {"activations": ["Softsign"], "clip": 0.5}),
    (lc.RNN, {"activation": "softplus"}, {"activations": ["Softplus"]}),
    (lc.RNN, {"activation": ("affine", 0.5, 0.1)}, {"activations": ["Affine"], ALPHA_OF: [0.5], BETA_OF: [0.1]}),
    (lc.RNN, {"activation": ("leaky_relu", 0.2)}, {"activations": ["LeakyRelu"], ALPHA_OF: [0.2]}),
    (lc.RNN, {"activation": ("thresholded_relu", 0.2)}, {"activations": ["ThresholdedRelu"], ALPHA_OF: [0.2]}),
    (lc.RNN, {"activation": ("elu", 1.5)}, {"activations": ["Elu"], ALPHA_OF: [1.5]}),
    (lc.RNN, {"activation": ("hard_sigmoid", 0.2, 0.6)},
     {"activations": ["HardSigmoid"], ALPHA_OF: [0.2], BETA_OF: [0.6]}),
    (lc.RNN, {"activation": ("scaled_tanh", 1.7, 0.6)},
     {"activations": ["ScaledTanh"], ALPHA_OF: [1.7], BETA_OF: [0.6]}),
    (lc.GRU, {"reset": "before"}, {"linear_before_reset": 0}),
    (lc.GRU, {"reset": "before", "clip_a": 0.5}, {"clip": 0.5}),
    (lc.LSTM, {"peepholes": True}, {}),
    (lc.LSTM, {"coupled": "f"}, {"input_forget": 1}),
    (lc.LSTM, {"peepholes": True, "coupled": "f", "clip_a": 0.5}, {"input_forget": 1, "clip": 0.5}),
    (
        lc.LSTM, {"gate_activation": ("hard_sigmoid", 0.2), "activation": "softsign", "cell_activation": "relu"},
        {"activations": ["HardSigmoid", "Softsign", "Relu"], ALPHA_OF: [0.2], BETA_OF: [0.5]},
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "options", "attributes"), ONNX, ids=lambda v: getattr(v, "__name__", None) or json.dumps(v)
)
def test_onnxruntime_gives_the_same(onnx, onnxruntime, kind, options, attributes):
    """float32 on their side: a thousand roundings of numbers of about 1 would still be below 1e-4."""
    layer = made(kind, options)
    got = layer.predict(given())[0]
    assert np.abs(got - onnxruntime_gives(onnx, onnxruntime, kind, layer, attributes)).max() < 2e-5


@pytest.mark.parametrize(
    ("kind", "options", "theirs"),
    [
        (lc.GRU, {"reset": "before"}, {"reset_after": False}),
        (lc.LSTM, {"bias": False, "activation": "relu", "cell_activation": "relu"},
         {"use_bias": False, "activation": "relu"}),
        (lc.LSTM, {"gate_activation": ("hard_sigmoid", 1 / 6)}, {"recurrent_activation": "hard_sigmoid"}),
        (lc.RNN, {"activation": "elu"}, {"activation": "elu"}),
    ],
    ids=str,
)  # fmt: skip
def test_keras_gives_the_same(torch, keras, kind, options, theirs):
    """In float64, biases zero where they begin; backwards too, whose outputs they leave in flipped order."""
    layer = made(kind, options)
    for name in layer.params:
        layer.params[name] *= name.startswith("W")
    p, name = layer.params, {"RNN": "SimpleRNN"}.get(kind.__name__, kind.__name__)
    their_kind = getattr(keras.layers, name)
    recurrent = np.concatenate([p["W_hh"], p["W_hn"]], axis=1) if "W_hn" in p else p["W_hh"]
    order = {"GRU": (1, 0, 2)}.get(name, tuple(range(recurrent.shape[1] // H)))  # z r n
    for backwards in (False, True):
        other = their_kind(H, return_sequences=True, go_backwards=backwards, dtype="float64", **theirs)
        other.build((B, T, I))
        weights = [np.concatenate([w[:, k * H :][:, :H] for k in order], axis=1) for w in (p["W_ih"], recurrent)]
        other.set_weights([*weights, *(np.zeros(v.shape) for v in other.weights[2:])])
        want = other(given().swapaxes(0, 1)).detach().cpu().numpy()
        model = lc.BatchFirst(lc.Reversed(layer) if backwards else layer)
        got = model.predict(given().swapaxes(0, 1))[0]
        eps = np.finfo("float64" if kind is lc.LSTM else "float32").eps  # Keras 3.15 rounds the others' states
        assert np.abs(got[:, ::-1] - want if backwards else got - want).max() < 32 * eps


# ---- projection: h has a width of its own ------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"peepholes": True, "coupled": "i", "clip_c": 0.5, "bias": False}], ids=str)
@pytest.mark.parametrize("P", [1, 4])
def test_a_projected_h(P, options, tmp_path):
    """Gradients, padding, Jacobian, files and streams; what goes back step by step says that it cannot."""
    x, layer = given(), made(lc.LSTM, {"proj_size": P} | options, engine=None)
    y, state, cache = layer.forward(x, mask=MASK)
    assert engine(cache) == "reference"
    assert [s.shape for s in state] == [(B, P), (B, H)]
    assert y.shape == (T, B, P)
    check = lc.debug.gradcheck(layer, x, mask=MASK, seed=0)
    assert check.worst < 1e-12, check
    assert {row.name for row in check.table} >= {"W_hr", "h0", "c0"}
    assert lc.debug.padding(layer, x, mask=MASK).ok
    poison = np.where(MASK[..., None], 0, np.nan)
    assert layer.forward(x + poison, mask=MASK)[0].tobytes() == y.tobytes()
    J = lc.debug.jacobian(layer, cache)
    v = [np.random.default_rng(k).standard_normal(s.shape) for k, s in enumerate(state)]
    want = np.concatenate(layer.backward(None, cache, tuple(v))[1], axis=1)
    np.testing.assert_allclose(np.einsum("bn,bnm->bm", np.concatenate(v, axis=1), J), want, rtol=0, atol=1e-13)
    assert lc.debug.tripwire(layer, x, mask=MASK).ok
    for tool in (lc.debug.ledger, lc.debug.flow):
        with pytest.raises(TypeError, match="its h and c have different widths, and what goes back step by step"):
            tool(layer, x, mask=MASK)
    streamed = None
    for t in range(T):
        y_t, streamed = layer.step(x[t], streamed)
    np.testing.assert_allclose(y_t, layer.predict(x)[0][-1], rtol=0, atol=1e-14)
    lc.save(tmp_path / "model.safetensors", layer)
    assert lc.load(tmp_path / "model.safetensors").predict(x, mask=MASK)[0].tobytes() == y.tobytes()
    with pytest.raises(ValueError, match=r"`state.h` should be \(B, H\) = "):
        layer.forward(x, (np.zeros((B, P + 1)), np.zeros((B, H))))
    with pytest.raises(ValueError, match="`proj_size` should be a whole number above 0, or None; got 0"):
        lc.LSTM(I, H, proj_size=0)


@pytest.mark.parametrize("bias", [True, False])
def test_torch_projects_the_same(torch, bias):
    theirs = torch.nn.LSTM(I, 4, proj_size=2, bias=bias, dtype=torch.float64)
    ours = lc.LSTM(I, 4, proj_size=2, bias=bias, dtype="float64")
    names = {"W_ih": "weight_ih_l0", "W_hh": "weight_hh_l0", "W_hr": "weight_hr_l0"}
    for name, their_name in names.items():
        ours.params[name] = getattr(theirs, their_name).detach().numpy().T.copy()
    if bias:
        ours.params["b"] = (theirs.bias_ih_l0 + theirs.bias_hh_l0).detach().numpy()
    rng = np.random.default_rng(5)
    h0, c0 = rng.standard_normal((B, 2)), rng.standard_normal((B, 4))
    x, h, c = (torch.tensor(v, requires_grad=True) for v in (given(), h0[None], c0[None]))
    y, _ = theirs(x, (h, c))
    dy = rng.standard_normal(tuple(y.shape))
    y.backward(torch.tensor(dy))
    got, _, cache = ours.forward(given(), (h0, c0))
    dx, (dh0, dc0), grads = ours.backward(dy, cache)
    pairs = [(got, y), (dx, x.grad), (dh0, h.grad[0]), (dc0, c.grad[0])]
    pairs += [(grads[name], getattr(theirs, their_name).grad.T) for name, their_name in names.items()]
    for a, b in pairs:
        np.testing.assert_allclose(a, b.detach().numpy(), rtol=0, atol=1e-12)
