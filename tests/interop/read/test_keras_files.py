"""Layers, models and files of Keras 3, read with all that their configurations say."""

import re
import sys

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


def test_models_within_models_and_graphs(keras, tmp_path):
    """A graph of layers that follow one another is read from its file, whatever stands in what."""
    L, x, words = keras.layers, keras.Input((None, I)), keras.Input((None,))
    inner = keras.Sequential([L.LSTM(H, return_sequences=True), L.GRU(H)], name="inner")
    keras.Model(x, L.Dense(2)(L.Dense(5)(inner(x)))).save(tmp_path / "a.keras")
    masked = L.LSTM(H)(L.Embedding(9, I, mask_zero=True)(words))
    keras.Model(words, L.Dense(2)(masked)).save(tmp_path / "b.keras")
    for name, kinds in (("a", "LSTM GRU Linear Linear"), ("b", "Embedding LSTM Linear")):
        said = []
        model = read(tmp_path / f"{name}.keras", tell=said.append)
        assert "; proved: run beside Keras" in said[0]
        assert " ".join(type(layer).__name__ for layer in model.layers) == kinds
    assert "of unequal lengths" in said[0]


def test_what_does_not_follow_one_another_is_not_read(keras, tmp_path):
    """Files whose arrays and layers are all there, and whose computation is another than their order says."""
    L, x = keras.layers, keras.Input((None, I))

    class Twice(L.LSTM):
        def call(self, sequences, initial_state=None, mask=None, training=False):
            return super().call(2 * sequences, initial_state=initial_state, mask=mask, training=training)

    class Mine(keras.Model):
        def __init__(self):
            super().__init__()
            self.a, self.b = L.LSTM(H), L.Dense(2)

        def call(self, x):
            return self.b(self.a(x))

    twice, mine = L.LSTM(I, return_sequences=True), Mine()
    c = L.LSTM(H, return_state=True)(x)[2]
    for model, words in (
        (keras.Model(x, twice(twice(x))), r"`lstm\w*` is called 2 times: the layers should follow one another"),
        (keras.Model(x, L.Dense(2)(c)), r"`dense\w*` reads lstm\w*: the layers should follow one another"),
        (keras.Model(x, L.LSTM(H)(2 * x)), r"`multiply\w*` is a Multiply, which lstmcore lacks"),
        (keras.Sequential([x, Twice(H)]), r"`twice\w*` is a Twice of somebody's own, of which a file holds no text"),
        (mine, "a Mine is a class of somebody's own, which alone knows its layers: hand over the model"),
    ):
        model(np.zeros((1, 2, I), "float32"))
        model.save(tmp_path / "a.keras")
        with pytest.raises(ValueError, match=words):
            read(tmp_path / "a.keras")
    mine.save_weights(tmp_path / "a.weights.h5")
    with pytest.raises(ValueError, match=r"it holds the arrays of a, b, vars, as a model of somebody's own class"):
        read(tmp_path / "a.weights.h5", config=keras.Sequential([x, L.LSTM(H), L.Dense(2)]).to_json())
    with pytest.raises(ValueError, match=r"`functional\w*` gives something else than its layers in order, LSTM"):
        read(keras.Model(x, L.LSTM(H)(2 * x)))


@pytest.mark.parametrize("here", [True, False])
def test_what_a_graph_gives_is_the_output_of_its_last_layer(keras, tmp_path, monkeypatch, here):
    """Where Keras is not there nothing is run, and the file alone tells that it gives something else."""
    L, x = keras.layers, keras.Input((None, I))
    y, h, c = L.LSTM(H, return_sequences=True, return_state=True, name="lstm")(x)
    inner = keras.Model(x, L.LSTM(H, return_state=True, name="inner")(x)[2])
    if not here:
        monkeypatch.setitem(sys.modules, "keras", None)
    for outputs, words in (
        (c, "lstm, output 2"), (h, "lstm, output 1"), ([y, c], "lstm, output 0, lstm, output 2"),
        ({"a": c, "b": y}, "lstm, output 2, lstm, output 0"), (L.Dense(2)(inner(x)), "inner, output 2"),
        ([y, L.Dense(2)(y)], r"lstm, output 0, dense\w*, output 0"),
    ):  # fmt: skip
        keras.Model(x, outputs).save(tmp_path / "a.keras")
        with pytest.raises(ValueError, match=f"gives, and nothing else; got {words}$"):
            read(tmp_path / "a.keras")
    for outputs in (y, [y], {"y": y}):
        keras.Model(x, outputs).save(tmp_path / "a.keras")
        assert repr(read(tmp_path / "a.keras", tell=lambda _: None)) == "LSTM(3, 4)"
    both = L.Bidirectional(L.LSTM(H, return_sequences=True), merge_mode=None)(x)
    keras.Model(x, both).save(tmp_path / "a.keras")
    assert "'none'" in repr(read(tmp_path / "a.keras", tell=lambda _: None))
    if here:
        with pytest.raises(ValueError, match="it gives 2 outputs; a model that is read gives one"):
            read(keras.Model(x, [L.Dense(2)(y), y]))


def test_options_of_functions_that_random_input_may_not_show(keras):
    L = keras.layers
    for layer, words in (
        (L.ReLU(threshold=0.01), "ReLU with threshold=0.01, which"), (L.ReLU(max_value=99), "ReLU with max_value=99"),
        (L.ReLU(negative_slope=1e-9), "ReLU with negative_slope=1e-09"), (L.Softmax(axis=1), "Softmax with axis=1"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=f"is a {words}"):
            read(keras.Sequential([keras.Input((None, I)), L.LSTM(H, return_sequences=True), layer]))
