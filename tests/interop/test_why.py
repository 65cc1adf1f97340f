"""What does not fit is called by its name; what fits but for its names is read."""

import numpy as np
import pytest

import lstmcore as lc
from lstmcore.interop import from_lstmcore, to_lstmcore
from lstmcore.interop.host import in_dtype

I, H = 5, 3
rng = np.random.default_rng(0)


def drawn(**shapes):
    return {key: rng.standard_normal(shape).astype("float32") for key, shape in shapes.items()}


TORCH = drawn(weight_ih_l0=(4 * H, I), weight_hh_l0=(4 * H, H), bias_ih_l0=(4 * H,), bias_hh_l0=(4 * H,))
KERAS_GRU = drawn(kernel=(I, 3 * H), recurrent_kernel=(H, 3 * H), bias=(3 * H,))
ONNX = drawn(W=(1, 4 * H, I), R=(1, 4 * H, H), B=(1, 8 * H))
TF1 = drawn(kernel=(I + H, 4 * H), bias=(4 * H,))

REFUSED = [
    (TORCH | drawn(weight_hr_l0=(2, H)), "torch", "lstm", r"to a projection .*: say so, options=dict\(proj_size=P\)"),
    (ONNX | drawn(P=(1, 3 * H)), "onnx", "lstm", r"`P` \(1, 9\) belongs to peepholes .*: say so, options=dict\(peep"),
    (TF1 | drawn(w_i_diag=(H,)), "tf1", "lstm", r"`w_i_diag` \(3,\) belongs to peepholes"),
    (TF1 | {"projection/kernel": np.zeros((H, 2))}, "tf1", "lstm", r"belongs to a projection"),
    (TORCH | drawn(gamma=(2, 4 * H)), "haste", "lstm", r"`gamma` \(2, 12\) belongs to layer normalisation"),
    (KERAS_GRU, "keras", "gru", r"`bias` \(9,\) is one bias and not two: a GRU with reset_after=False"),
    ({key: value.T for key, value in TORCH.items()}, "torch", "lstm", r"each matrix is transposed: hand over value.T"),
    (drawn(weight_ih_l0=(3 * H, I), weight_hh_l0=(3 * H, H)), "torch", "lstm", r"these are the weights of cell 'gru'"),
    (TORCH, "keras", "lstm", r"these are the names and shapes of layout 'torch'"),
    (
        {f"{name}.{key}": value for name in ("encoder", "decoder") for key, value in TORCH.items()},
        "torch",
        "lstm",
        r"more than one layer \(decoder, encoder\): lc.interop.read reads whole models",
    ),
    (drawn(kernel=(3, 3, I, 4 * H), recurrent_kernel=(3, 3, H, 4 * H)), "keras", "lstm", r"a convolutional LSTM\?"),
    (
        {f"parametrizations.{key}.original0": value for key, value in TORCH.items()},
        "torch",
        "lstm",
        r"belongs to weight_norm or another parametrization \(hand over the module itself\)",
    ),
]


@pytest.mark.parametrize(("weights", "layout", "cell", "text"), REFUSED)
def test_the_feature_is_named(weights, layout, cell, text):
    with pytest.raises(KeyError, match=text):
        to_lstmcore(weights, layout, cell)


NAMES = [
    ("torch", "lstm", lambda key: f"encoder.rnn.{key}"),
    ("torch", "lstm", lambda key: key.removesuffix("_l0")),
    ("torch", "lstm", lambda key: f"cell.{key.removesuffix('_l0')}"),
    ("tf1", "lstm", lambda key: f"rnn/basic_lstm_cell/{key}:0"),
    ("keras", "gru", lambda key: f"model/gru/gru_cell/{key}:0"),
]


@pytest.mark.parametrize(("layout", "cell", "spelt"), NAMES)
def test_paths_before_the_names_are_left_out(layout, cell, spelt):
    K = {"lstm": 4, "gru": 3}[cell]
    ours = drawn(W_ih=(I, K * H), W_hh=(H, K * H), b=(K * H,)) | (drawn(b_hn=(H,)) if cell == "gru" else {})
    plain = from_lstmcore(ours, layout, cell)
    config, params = to_lstmcore({spelt(key): value for key, value in plain.items()}, layout, cell)
    want, expected = to_lstmcore(plain, layout, cell)
    assert config == want
    assert all(np.array_equal(params[name], expected[name]) for name in expected | params)


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_halves_are_read_where_that_is_said(torch, name):
    module = torch.nn.LSTM(I, H, dtype=getattr(torch, name))
    weights = dict(module.named_parameters())  # tensors that want gradients are detached
    with pytest.raises(TypeError, match=rf"`weight_ih_l0` is {name}, in which lstmcore does not compute: pass dtype="):
        to_lstmcore(weights, "torch")
    config, params = to_lstmcore(weights, "torch", dtype="float32")
    assert config["dtype"] == "float32"
    back = from_lstmcore(params, "torch")["weight_hh_l0"]
    assert np.array_equal(back, module.weight_hh_l0.detach().float().numpy())
    assert np.array_equal(in_dtype(back, name).astype("float32"), back)  # and rounds to what it was


def test_what_is_no_weight_is_refused():
    with pytest.raises(TypeError, match="`weight_ih_l0` should hold floating-point numbers; got int64"):
        to_lstmcore(TORCH | {"weight_ih_l0": np.zeros((4 * H, I), "int64")}, "torch")
    with pytest.raises(ValueError, match='`dtype` should be "float32" or "float64"; got \'float16\''):
        to_lstmcore(TORCH, "torch", dtype="float16")


def test_no_bias_goes_back_as_no_bias():
    """A strict load_state_dict takes neither more nor less."""
    ours = drawn(W_ih=(I, 4 * H), W_hh=(H, 4 * H))
    assert set(from_lstmcore(ours, "torch")) == {"weight_ih_l0", "weight_hh_l0"}


def test_an_untrained_bias_proves_the_order_of_the_gates():
    """haste and Keras call their arrays alike. Their forget gates begin at 1: haste's third block, Keras's second."""
    matrices = drawn(kernel=(I, 4 * H), recurrent_kernel=(H, 4 * H))
    for one, layout, other in ((2, "keras", "haste"), (1, "haste", "keras")):
        bias = np.repeat(np.arange(4) == one, H).astype("float32")
        with pytest.raises(ValueError, match=rf"`bias` is 1 in block {one + 1} of 4.*Layout '{other}'"):
            to_lstmcore(matrices | {"bias": bias}, layout)
        to_lstmcore(matrices | {"bias": bias}, other)


@pytest.mark.parametrize(("layout", "cell", "options"), [
    ("onnx", "lstm", {"peepholes": True}),
    ("onnx", "lstm", {"peepholes": True, "coupled": "f"}),
    ("tf1", "lstm", {"peepholes": True}),
    ("onnx", "gru", {"reset": "before"}),
    ("keras", "gru", {"reset": "before"}),
    ("torch", "gru", {"bias": False}),
    ("torch", "lstm", {"proj_size": 2}),
    ("torch", "lstm", {"proj_size": 1, "bias": False}),
])  # fmt: skip
def test_variants_there_and_back(layout, cell, options):
    model = {"lstm": lc.LSTM, "gru": lc.GRU}[cell](I, H, seed=0, **options)
    ours = {name: rng.standard_normal(a.shape).astype("float32") for name, a in model.params.items()}
    theirs = from_lstmcore(ours, layout, cell, options=options)
    config, back = to_lstmcore(theirs, layout, cell, options=options)
    assert config | options == config
    assert back.keys() == ours.keys()
    for name in ours:  # the forget bias of TensorFlow 1 is taken off and added again: two roundings of numbers below 4
        np.testing.assert_allclose(back[name], ours[name], rtol=0, atol=2.0**-21 if layout == "tf1" else 0)
