"""Layers, models and files of Keras 3, read with all that their configurations say."""

import re

import numpy as np
import pytest

import lstmcore as lc
from lstmcore.interop import read

I, H, T, B = 3, 4, 7, 3

# what Keras deprecates in itself is not ours to mend
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def filled(layer, seed=0):
    """The layer, built for (B, T, I), with random weights."""
    layer.build((B, T, I))
    rng = np.random.default_rng(seed)
    for variable in layer.weights:
        variable.assign(rng.uniform(-1, 1, variable.shape))
    return layer


def test_layers(keras):
    L = keras.layers
    for layer in (
        L.LSTM(H, return_sequences=True),
        L.LSTM(H, use_bias=False),
        L.GRU(H, return_sequences=True),
        L.SimpleRNN(H),
        L.RNN(L.LSTMCell(H), return_sequences=True),
        L.Bidirectional(L.LSTM(H, return_sequences=True)),
        L.Bidirectional(L.GRU(H), merge_mode="sum"),
        L.Bidirectional(L.LSTM(H), merge_mode="ave"),
        L.LSTM(H, go_backwards=True),
        L.GRU(H, reset_after=False),
        L.LSTM(H, recurrent_activation="hard_sigmoid"),
    ):
        said = []
        model = read(filled(layer), tell=said.append)
        assert "; proved: run beside Keras on random input of unequal lengths" in said[0]
        x = np.random.default_rng(1).standard_normal((T, B, I)).astype("float32")
        want = layer(x.swapaxes(0, 1)).detach().numpy()
        got = model.predict(x)[0]
        assert np.abs((got.swapaxes(0, 1) if got.ndim == 3 else got) - want).max() < 1e-5  # float32, 50 terms below 3


SPECIAL = [
    (lambda L: L.GRU(H, reset_after=False), "a GRU whose reset gate comes before the product"),
    (lambda L: L.LSTM(H, go_backwards=True, return_sequences=True), "never refused"),
    (lambda L: L.LSTM(H, activation="relu"), r"the activations \('sigmoid', 'relu'\)"),
    (lambda L: L.LSTM(H, recurrent_activation="hard_sigmoid"), r"the activations \('hard_sigmoid', 'tanh'\)"),
    (lambda L: L.SimpleRNN(H, activation="relu"), "an RNN with relu"),
    (lambda L: L.Bidirectional(L.LSTM(H), merge_mode=None), r"gives two final states \(merge_mode=None"),
    (lambda L: L.Bidirectional(L.LSTM(H, return_sequences=True), merge_mode=None), "never refused"),
    (
        lambda L: L.Bidirectional(
            L.GRU(H, reset_after=False, use_bias=False),
            backward_layer=L.GRU(2, activation="relu", go_backwards=True),
        ),
        "never refused",
    ),
    (lambda L: L.Dense(H, activation="selu"), "has the activation 'selu'"),
    (lambda L: L.LayerNormalization(), "is a LayerNormalization, which lstmcore lacks"),
]


@pytest.mark.parametrize(("make", "text"), SPECIAL)
def test_options_are_read_or_called_by_their_names(keras, make, text):
    said = []
    try:
        read(filled(make(keras.layers)), tell=said.append)
    except ValueError as reason:
        said.append(str(reason))
    assert re.search(f"; proved: |{text}", said[0])


@pytest.fixture
def model(keras):
    L = keras.layers
    made = keras.Sequential([
        keras.Input((None,)), L.Embedding(9, I, mask_zero=True), L.Bidirectional(L.LSTM(H, return_sequences=True)),
        L.Dropout(0.1), L.GRU(H, name="mine"), L.Dense(2, activation="softmax"),
    ])  # fmt: skip
    rng = np.random.default_rng(0)
    for variable in made.weights:
        variable.assign(rng.uniform(-1, 1, variable.shape))
    return made


def test_files(keras, model, tmp_path):
    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")
    said = []
    living = read(model, tell=said.append)
    whole = read(tmp_path / "model.keras", tell=said.append)
    apart = read(tmp_path / "model.weights.h5", config=model.to_json(), tell=said.append)
    assert [("proved" in text.split("; ")[1], "mask_zero there" in text) for text in said] == [(True, True)] * 3
    assert "; unproved: arrays and a configuration of two sources" in said[2]
    assert repr(whole) == repr(living) == repr(apart)
    for name, value in living.params.items():
        assert np.array_equal(value, whole.params[name])
        assert np.array_equal(value, apart.params[name])
    assert isinstance(whole.layers[-1], lc.Softmax)
    with pytest.raises(ValueError, match=r"holds arrays and no options: pass config=model.to_json\(\)"):
        read(tmp_path / "model.weights.h5")
    with pytest.raises(TypeError, match="a file of Keras says its own options; got nonlinearity"):
        read(tmp_path / "model.keras", nonlinearity="relu")


def test_a_layer_that_is_not_built(keras):
    with pytest.raises(ValueError, match="should be built: call it once before"):
        read(keras.layers.LSTM(H))
