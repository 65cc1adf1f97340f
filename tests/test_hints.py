"""What people type who know other libraries: an error of one line that says how it is said here."""

import copy
import inspect
import pickle
import re

import numpy as np
import pytest

import lstmcore as lc
from lstmcore import hints
from lstmcore.layers import Layer, Params
from lstmcore.train.update.optimizer import Optimizer

X = np.zeros((5, 2, 3), "float32")
MODEL = lc.Stack([lc.LSTM(3, 4, seed=0), lc.Linear(4, 2, seed=0)])
DATA = [(X, np.zeros((5, 2, 2), "float32"))]

ARGUMENTS = [
    (lambda: lc.LSTM(3, 4, num_layers=2), "LSTM has no `num_layers`: several layers are lc.Stack([lc.LSTM(I, H), lc.L"),
    (lambda: lc.LSTM(3, 4, 2), "`dtype` should be \"float32\" or \"float64\"; got 2 (a number of layers? several laye"),
    (lambda: lc.GRU(3, 4, batch_first=True), "GRU has no `batch_first`: arrays are time-major, (T, B, I): x.transpose"),
    (lambda: lc.RNN(3, 4, bidirectional=True), "RNN has no `bidirectional`: two directions are lc.Bidirectional(lc.LS"),
    (lambda: lc.LSTM(3, 4, dropout=0.5), "LSTM has no `dropout`: it is a layer: lc.Stack([lc.LSTM(I, H), lc.Dropout(p"),
    (lambda: lc.LSTM(3, units=4), "LSTM has no `units`: it is called hidden_size"),
    (lambda: lc.LSTM(units=4, return_sequences=True), "LSTM has no `units`: it is called hidden_size"),
    (lambda: lc.LSTM(input_dim=3, hidden_dim=4), "LSTM has no `input_dim`: it is called input_size"),
    (lambda: lc.LSTM(3, 4, return_state=True), "LSTM has no `return_state`: forward and predict return the state, and"),
    (lambda: lc.LSTM(3, 4, wide=True), "LSTM has no `wide`: there are input_size, hidden_size, dtype, seed, engine, r"),
    (lambda: lc.LSTM(64), "LSTM needs `hidden_size`: lc.LSTM(I, H), the width of the input first"),
    (lambda: lc.Bidirectional(lc.LSTM(3, 4)), "Bidirectional needs `bw`: two directions are lc.Bidirectional(lc.LSTM("),
    (lambda: lc.Linear(3, units=2), "Linear has no `units`: it is called output_size"),
    (lambda: lc.Linear(in_features=3, out_features=2), "Linear has no `in_features`: it is called input_size"),
    (lambda: lc.Embedding(num_embeddings=9, embedding_dim=2), "Embedding has no `num_embeddings`: it is called classe"),
    (lambda: lc.Embedding(input_dim=9, output_dim=2), "Embedding has no `input_dim`: it is called classes"),
    (lambda: lc.Dropout(rate=0.5), "Dropout has no `rate`: it is called p"),
    (lambda: lc.Tanh(inplace=True), "Tanh has no `inplace`: there are no arguments"),
    (lambda: lc.Adam(learning_rate=0.1), "Adam has no `learning_rate`: it is called lr"),
    (lambda: lc.AdamW(betas=(0.9, 0.99)), "AdamW has no `betas`: one by one: beta1=0.9, beta2=0.999"),
    (lambda: lc.Adam(beta_1=0.9), "Adam has no `beta_1`: it is called beta1"),
    (lambda: lc.Adam(MODEL.params), "`lr` should be a number; got Params(0.W_ih (3, 16), 0.W_hh (4, 16), 0.b (16,), 1"),
    (lambda: lc.SGD(momentum=0.9), "SGD has no `momentum`: it is an optimizer: lc.Momentum(lr=0.01, momentum=0.9)"),
    (lambda: lc.RMSProp(alpha=0.9), "RMSProp has no `alpha`: it is called rho"),
    (lambda: lc.Batches(*DATA[0], batchsize=3), "Batches has no `batchsize`: there are x, targets, mask, batch_size,"),
    (lambda: lc.Batches(*DATA[0]), "Batches needs `batch_size`: lc.Batches(x, targets, batch_size=32)"),
    (lambda: lc.EarlyStopping(monitor="loss"), "EarlyStopping has no `monitor`: there are patience, restore"),
    (lambda: MODEL.to(device="cuda"), "to has no `device`: lc.to_gpu(model) and lc.to_cpu(model) give a twin there"),
    (lambda: MODEL.to("cuda"), "got 'cuda' (lc.to_gpu(model) and lc.to_cpu(model) give a twin there)"),
    (lambda: MODEL(X), "Stack is no function: y, state, cache = layer.forward(x); to use it alone, y, state = layer.p"),
]  # fmt: skip

PLACES = [
    (lambda: lc.save(MODEL, "model"), "`path` should be the name of a file; got Stack([LSTM(3, 4), Linear(4, 2)]) (lc"),
    (lambda: lc.save("model", MODEL.params), "`model` should be a layer; got Params(0.W_ih (3, 16), 0.W_hh (4, 16)"),
    (lambda: lc.save("model", obj=MODEL), "save has no `obj`: it is called model"),
    (lambda: lc.save("model", lc.LSTM), "`model` should be a layer, not a class; got <class 'lstm"),
    (lambda: lc.Stack([lc.LSTM]), "`layers[0]` should be a layer, not a class; got <class 'lstm"),
    (lambda: lc.Residual(lc.LSTM), "`layer` should be a layer, not a class; got <class 'lstm"),
    (lambda: lc.fit(lc.LSTM, lc.squared_error, DATA, lc.Adam(), epochs=1), "`model` should be a layer, not a class"),
    (lambda: lc.debug.gradcheck(lc.LSTM, X), "`layer` should be a layer, not a class; got <class 'lstm"),
    (lambda: lc.load(MODEL), "`path` should be the name of a file; got Stack([LSTM(3, 4), Linear(4, 2)]) (lc.load(pat"),
    (lambda: lc.load("m", map_location="cpu"), "load has no `map_location`: lc.to_gpu(model) and lc.to_cpu(model)"),
    (lambda: lc.fit(lc.squared_error, MODEL, DATA, lc.Adam(), epochs=1), "`model` should be a layer; got <function sq"),
    (lambda: lc.fit(MODEL, DATA, lc.squared_error, lc.Adam(), epochs=1), "`loss` should be a function (y, targets, ma"),
    (lambda: lc.fit(MODEL, MODEL, DATA, lc.Adam(), epochs=1), "`loss` should be a function (y, targets, mask) -> loss"),
    (lambda: lc.fit(MODEL, lc.squared_error, lc.Adam(), DATA, epochs=1), "`opt` should be an optimizer, such as lc.Ad"),
    (lambda: lc.fit(MODEL, lc.squared_error, DATA, lc.Adam, epochs=1), "got <class 'lstmcore.train.update.optimizers."),
    (lambda: lc.fit(MODEL, *DATA[0], lc.Adam(), epochs=1), "`loss` should be a function (y, targets, mask) -> loss, d"),
    (lambda: lc.fit(MODEL, lc.squared_error, DATA[0], lc.Adam(), epochs=1), "`batches` should be lc.Batches(x, target"),
    (lambda: lc.fit(MODEL, lc.squared_error, X, lc.Adam(), epochs=1), "got float32 (5, 2, 3) of numpy (fit(model, lo"),
    (lambda: lc.fit(MODEL, lc.squared_error, DATA, lc.Adam(), epochs=1, validation=DATA[0]), "`validation` should be "),
    (lambda: lc.fit(MODEL, lc.squared_error, DATA, optimizer=lc.Adam()), "fit has no `optimizer`: it is called opt"),
    (lambda: lc.fit(MODEL, lc.squared_error, DATA, lc.Adam(), batch_size=3), "batches have it: lc.Batches(x, targets"),
    (lambda: lc.fit(MODEL, *DATA[0], epochs=3), "fit needs `opt`: lc.fit(model, loss, batches, opt, epochs=10)"),
    (lambda: lc.fit(MODEL, lc.squared_error, DATA, lc.Adam()), "fit needs `epochs`: lc.fit(model, loss, batches, opt"),
]  # fmt: skip

NAMES = [
    (lambda: MODEL.eval(), "Stack has no `eval`: dropout is drawn where forward or fit gets rng=, and nowhere else"),
    (lambda: MODEL.parameters(), 'Stack has no `parameters`: they are in layer.params, a live mapping: layer.params["'),
    (lambda: MODEL.state_dict(), "Stack has no `state_dict`: they are in layer.params"),
    (lambda: MODEL.layers[0].W_hh, "LSTM has no `W_hh`: they are in layer.params"),
    (lambda: MODEL.fit(X), "Stack has no `fit`: lc.fit(model, loss, batches, opt, epochs=10)"),
    (lambda: MODEL.wide, "Stack has no attribute 'wide'"),
    (lambda: lc.Adam().zero_grad(), "Adam has no `zero_grad`: gradients are returned by backward, and nothing adds up"),
    (lambda: lc.nn, "lstmcore has no `nn`: layers are in lstmcore itself: lc.LSTM, lc.Linear, ..."),
    (lambda: lc.Dense, "lstmcore has no `Dense`: lc.Linear(I, O), the same at every step"),
    (lambda: lc.CrossEntropyLoss(), "lstmcore has no `CrossEntropyLoss`: lc.softmax_cross_entropy(logits, targets)"),
    (lambda: lc.wide, "lstmcore has no attribute 'wide'"),
]  # fmt: skip


@pytest.mark.parametrize(("typed", "message"), [*ARGUMENTS, *PLACES])
def test_arguments_of_other_libraries(typed, message):
    with pytest.raises(TypeError, match=re.escape(message)) as raised:
        typed()
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(("around", "part"), [(lc.BatchFirst, "model"), (lc.Reversed, "bw"), (lc.Residual, "layer")])
def test_what_a_layer_is_put_around(around, part):
    with pytest.raises(TypeError, match=f"^`{part}` should be a layer; got 3$"):
        around(3)


@pytest.mark.parametrize(("typed", "message"), NAMES)
def test_names_of_other_libraries(typed, message):
    with pytest.raises(AttributeError, match=re.escape(message)):
        typed()


def test_the_model_of_a_run_is_asked_for_by_its_folder(tmp_path):
    with pytest.raises(IsADirectoryError, match=r" is a folder$"):
        lc.load(tmp_path)
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(IsADirectoryError, match=r"is a folder; the model of a run is the file .*model\.safetensors"):
        lc.load(tmp_path)


def test_every_hint_can_be_followed():
    """Each name in it exists, and takes the arguments that it shows; and what it is about does not exist."""
    tables = (hints.ARGUMENTS, hints.LAYERS, hints.OPTIMIZERS, hints.PACKAGE, hints.NEEDED)
    told = [hint for table in tables for hint in table.values()] + [hints.CALL]
    followed = {name for hint in told for name in re.findall(r"\blc\.(\w+)", hint)}
    assert followed > {"Stack", "LSTM", "Adam", "fit", "save"}
    for name in followed:
        assert hasattr(lc, name), name
    for call, arguments in {found for hint in told for found in re.findall(r"\blc\.(\w+)\(([^()]*)\)", hint)}:
        named = set(re.findall(r"(\w+)=", arguments))
        assert named <= set(inspect.signature(getattr(lc, call)).parameters), call
    lstm, opt = lc.LSTM(3, 4), lc.Adam()
    for owner, word in ((lstm, "layer"), (opt, "opt")):
        for name in {name for hint in told for name in re.findall(rf"\b{word}\.(\w+)", hint)}:
            assert hasattr(owner, name), name
    assert not [word for words in hints.LAYERS for word in words.split() if hasattr(lstm, word)]
    assert not [word for words in hints.OPTIMIZERS for word in words.split() if hasattr(opt, word)]
    assert not [word for words in hints.PACKAGE for word in words.split() if hasattr(lc, word)]
    for name in {name for hint in told for name in re.findall(r"\blstmcore\.train\.(\w+)", hint)}:
        assert hasattr(lc.train, name), name


def test_layers_and_optimizers_of_ones_own_have_hints_too():
    class Own(Layer):
        def __init__(self, width, scale=1.0):
            self.width, self.scale, self.params = width, scale, Params({})

    class Free(Layer):
        def __init__(self, **options):
            self.options, self.params = options, Params({})

    class Plain(Optimizer):
        def __init__(self, lr=0.1):
            super().__init__(lr, 0.0, 0.0)

    assert Own(3, scale=2.0).scale == 2.0
    assert Free(num_layers=2).options == {"num_layers": 2}
    with pytest.raises(TypeError, match="Own has no `num_layers`: several layers"):
        Own(3, num_layers=2)
    with pytest.raises(TypeError, match="Plain has no `learning_rate`: it is called lr"):
        Plain(learning_rate=0.1)
    assert list(inspect.signature(Own).parameters) == ["width", "scale"]


def test_copies_and_pickles_are_as_before():
    for value in (MODEL, lc.Adam(0.1)):
        for twin in (copy.copy(value), copy.deepcopy(value), pickle.loads(pickle.dumps(value))):
            assert repr(twin) == repr(value)
    assert not hasattr(MODEL, "__array__")
