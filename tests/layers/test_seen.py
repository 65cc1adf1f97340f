"""Between forward and backward nothing that the gradient depends on may change in silence; on every engine, with a mask
and without."""

import numpy as np
import pytest

import lstmcore as lc

T, B, I, H = 6, 4, 3, 5
SIZES = {"small": (6, 4, 3, 5), "large": (40, 16, 24, 48)}  # looked at as a whole or in few places; in many places
CELLS = {"LSTM": lc.LSTM, "GRU": lc.GRU, "RNN": lc.RNN}


@pytest.fixture(params=["reference", "fused-cpu"])
def engine(request):
    return request.param


@pytest.fixture(params=[False, True], ids=["whole rows", "mask"])
def masked(request):
    return request.param


def problem(engine, masked, sizes=(T, B, I, H), cell=lc.LSTM, dtype="float64"):
    steps, rows, I, H = sizes
    layer = cell(I, H, dtype=dtype, seed=1, engine=engine)
    x = np.random.default_rng(2).standard_normal((steps, rows, I)).astype(dtype)
    mask = lc.mask_from_lengths(np.arange(rows) % steps + 1, steps) if masked else None
    y, _, cache = layer.forward(x, mask=mask)
    return layer, x, mask, y, cache


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_a_changed_parameter_is_named(engine, masked, sizes, cell):
    for name in cell(1, 1).params:
        layer, _, _, y, cache = problem(engine, masked, sizes, cell)
        layer.backward(np.ones_like(y), cache)  # nothing has changed so far
        layer.params[name] += 1  # biases start at zero
        with pytest.raises(ValueError, match=rf"parameter '{name}' has changed since `forward`.*first `backward`"):
            layer.backward(np.ones_like(y), cache)


@pytest.mark.parametrize("optimizer", [lc.SGD, lc.Momentum, lc.Adam, lc.AdamW, lc.RMSProp, lc.Adagrad])
def test_a_step_of_an_optimizer_before_backward(engine, masked, optimizer):
    layer, x, mask, y, cache = problem(engine, masked)
    grads = layer.backward(np.ones_like(y), cache)[2]
    y, _, late = layer.forward(x, mask=mask)
    optimizer(lr=1e-3).step(layer.params, grads)
    with pytest.raises(ValueError, match="has changed since `forward`: this would be the gradient of something else"):
        layer.backward(np.ones_like(y), late)


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_a_buffer_that_was_filled_again(engine, masked, sizes):
    layer, x, _, y, cache = problem(engine, masked, sizes)
    x[...] = 0
    with pytest.raises(ValueError, match=r"`x` has changed since `forward`.*hand a copy to `forward`"):
        layer.backward(np.ones_like(y), cache)


def test_one_hot_letters_that_were_filled_again(engine):
    """Mostly zeros before and after: the sample must still see a one."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        letters = np.eye(21)[rng.integers(0, 21, (31, 50))]
        layer = lc.LSTM(21, 4, dtype="float64", seed=1, engine=engine)
        y, _, cache = layer.forward(letters)
        letters[...] = np.eye(21)[rng.integers(0, 21, (31, 50))]
        with pytest.raises(ValueError, match="`x` has changed"):
            layer.backward(np.ones_like(y), cache)


def test_inside_containers(engine, masked):
    """Bidirectional hands flipped views on, and a Stack outputs that are inputs of the next layer."""
    both = lc.Bidirectional(lc.LSTM(I, H, seed=1, engine=engine), lc.GRU(I, H, seed=2, engine=engine))
    model = lc.Stack([both, lc.Linear(2 * H, 2, seed=3), lc.Tanh()])
    x = np.random.default_rng(2).standard_normal((T, B, I)).astype("float32")
    mask = lc.mask_from_lengths([6, 5, 2, 1], T) if masked else None
    y, _, cache = model.forward(x, mask=mask)
    model.backward(np.ones_like(y), cache)
    for name in model.params:
        y, _, cache = model.forward(x, mask=mask)
        before = model.params[name].copy()
        model.params[name] += 1
        if name != "1.b":
            leaf = name.split(".")[-1]
            with pytest.raises(ValueError, match=f"parameter '{leaf}' has changed"):
                model.backward(np.ones_like(y), cache)
        model.params[name] = before
    y, _, cache = model.forward(x, mask=mask)
    x[::2] *= 2
    with pytest.raises(ValueError, match="`x` has changed"):
        model.backward(np.ones_like(y), cache)


def test_outputs_cannot_be_written_to(engine, masked):
    layer, _, _, y, cache = problem(engine, masked)
    want = layer.backward(np.ones_like(y), cache)[2]["W_hh"]
    with pytest.raises(ValueError, match="read-only"):
        np.maximum(y, 0, out=y)
    with pytest.raises(ValueError, match="read-only"):
        y[0] = 7
    np.testing.assert_array_equal(layer.backward(np.ones_like(y), cache)[2]["W_hh"], want)
    t = lc.Tanh()
    y, _, _ = t.forward(np.ones((2, 3, 4)))
    with pytest.raises(ValueError, match="read-only"):
        y *= 2


def test_a_final_state_is_the_callers_own(engine, masked):
    """It may be written to, and that changes no gradient."""
    layer, x, mask, _, _ = problem(engine, masked)
    y, state, cache = layer.forward(x, mask=mask)
    want = layer.backward(np.ones_like(y), cache)[2]
    for part in state:
        part[...] = 9
    got = layer.backward(np.ones_like(y), cache)[2]
    assert all(np.array_equal(got[name], want[name]) for name in want)


def test_a_cache_that_was_handed_on(engine, masked):
    layer, x, mask, y, old = problem(engine, masked)
    _, _, new = layer.forward(2 * x, mask=mask, reuse=old)
    with pytest.raises(ValueError, match=r"`cache` was overwritten: it was handed to a later forward\(\.\.\., reuse="):
        layer.backward(np.ones_like(y), old)
    with pytest.raises(ValueError, match="`cache` was overwritten"):
        layer.forward(x, mask=mask, reuse=old)  # it would write over the new one
    layer.backward(np.ones_like(y), new)
    _, _, newest = layer.forward(x, mask=mask, reuse=new)
    layer.backward(np.ones_like(y), newest)


def test_nan_in_the_padding_is_no_change(engine):
    layer, x, mask, _, _ = problem(engine, True)
    x[~mask] = np.nan
    y, _, cache = layer.forward(x, mask=mask)
    assert np.isfinite(layer.backward(np.ones_like(y), cache)[0]).all()


@pytest.mark.parametrize("name", ["x", "W_ih", "W_hh", "b"])
def test_strict_sees_a_single_number(engine, masked, name):
    sizes = SIZES["large"]
    with lc.debug.strict():
        layer, x, mask, y, cache = problem(engine, masked, sizes)
        layer.backward(np.ones_like(y), cache)
        array = x if name == "x" else layer.params[name]
        array.flat[array.size // 2 + 1] += 1e-9
        with pytest.raises(ValueError, match=r"`x` has changed" if name == "x" else f"parameter '{name}' has changed"):
            layer.backward(np.ones_like(y), cache)
    y, _, cache = layer.forward(x, mask=mask)
    layer.backward(np.ones_like(y), cache)  # outside it all is as before


def test_strict_ends_with_its_block():
    with pytest.raises(KeyError), lc.debug.strict():
        raise KeyError
    assert problem("reference", False)[-1].seen.taken.__name__ == "samples"


def test_sizes_cannot_change(engine):
    layer = lc.LSTM(I, H, engine=engine)
    for name, value in (("hidden_size", 2000), ("input_size", 1)):
        with pytest.raises(AttributeError, match=rf"`{name}` of LSTM\(3, 5\) cannot be changed: its parameters have"):
            setattr(layer, name, value)
    with pytest.raises(AttributeError, match="`output_size` of Linear"):
        lc.Linear(2, 3).output_size = 4
    assert layer.hidden_size == H
    assert layer.to(dtype="float64").hidden_size == H


@pytest.mark.parametrize("name", ["W_ih", "W_hh", "b"])
def test_a_parameter_of_another_shape_is_refused(engine, name):
    layer = lc.LSTM(I, H, engine=engine)
    x = np.zeros((T, B, I), "float32")
    y, _, cache = layer.forward(x)
    shape = layer.params[name].shape
    layer.params[name].resize((1, 2), refcheck=False)
    for call in (lambda: layer.forward(x), lambda: layer.predict(x), lambda: layer.backward(y, cache)):
        with pytest.raises(ValueError, match=rf"parameter '{name}' should be \({shape[0]}.*it is \(1, 2\)"):
            call()


def test_shapes_of_other_layers():
    linear, table = lc.Linear(3, 2), lc.Embedding(5, 2)
    linear.params["W"].resize((300, 2), refcheck=False)
    with pytest.raises(ValueError, match=r"parameter 'W' should be \(3, 2\), as the layer was built; it is \(300, 2\)"):
        linear.forward(np.zeros((1, 3), "float32"))
    table.params["W"].resize((1, 1), refcheck=False)
    with pytest.raises(ValueError, match="parameter 'W' should be"):
        table.forward(np.zeros((1, 3), int))


def test_masked_arrays_of_numpy_are_refused(engine):
    layer = lc.LSTM(I, H, dtype="float64", engine=engine)
    x = np.ma.masked_array(np.zeros((T, B, I)), np.ones((T, B, I), bool))
    layer.forward(np.zeros((T, B, I)))  # after any ordinary call
    y, _, cache = layer.forward(np.zeros((T, B, I)))
    masked_y = np.ma.masked_array(np.zeros(y.shape))
    calls = {
        "x": lambda: layer.forward(x),
        "dy": lambda: layer.backward(masked_y, cache),
        "y": lambda: lc.squared_error(masked_y, np.zeros(y.shape)),
        "targets": lambda: lc.squared_error(np.zeros(y.shape), masked_y),
        "mask": lambda: layer.forward(np.zeros((T, B, I)), mask=np.ma.masked_array(np.ones((T, B), bool))),
    }
    for name, call in calls.items():
        with pytest.raises(
            TypeError, match=f"`{name}` should be a plain array; got a masked array of NumPy, whose mask"
        ):
            call()


def test_fit_says_so_too():
    """A callback that moves weights between forward and backward would train on gradients of other weights."""
    model = lc.Stack([lc.LSTM(I, H, seed=0), lc.Linear(H, 1, seed=1)])
    x = np.random.default_rng(0).standard_normal((T, B, I)).astype("float32")

    def loss(y, targets, mask):
        model.params["0.W_hh"] *= 2
        return lc.squared_error(y, targets, mask)

    with pytest.raises(ValueError, match="parameter 'W_hh' has changed since `forward`"):
        lc.fit(model, loss, [(x, np.zeros((T, B, 1), "float32"))], lc.Adam(), epochs=1, progress=False)


SMALL = {
    "lstm": lambda: lc.LSTM(I, H, seed=1),
    "gru, reference": lambda: lc.GRU(I, H, seed=1, engine="reference"),
    "rnn": lambda: lc.RNN(I, H, seed=1),
    "reversed": lambda: lc.Reversed(lc.LSTM(I, H, seed=1)),
    "both": lambda: lc.Bidirectional(lc.LSTM(I, H, seed=1), lc.LSTM(I, H, seed=2), merge="mul"),
    "batch first": lambda: lc.BatchFirst(lc.LSTM(I, H, seed=1)),
    "stack": lambda: lc.Stack([lc.Embedding(5, I, seed=1), lc.LSTM(I, H, seed=1), lc.Dropout(0.5), lc.Last()]),
    "linear": lambda: lc.Linear(I, 2, seed=1),
    "tanh": lc.Tanh,
    "softmax": lc.Softmax,
    "dropout": lambda: lc.Dropout(0.5),
    "last": lc.Last,
    "embedding": lambda: lc.Embedding(5, I, seed=1),
}


@pytest.mark.parametrize("make", SMALL.values(), ids=SMALL)
def test_a_mask_or_indices_that_were_filled_again(make):
    """They are small, so the cache has its own: the gradient is that of the batch of the way there."""
    rng = np.random.default_rng(2)
    model = make()
    indices = make in (SMALL["stack"], SMALL["embedding"])
    shape = (B, T) if isinstance(model, lc.BatchFirst) else (T, B)
    for masked in (True, False):
        x = rng.integers(0, 5, shape) if indices else rng.standard_normal((*shape, I)).astype("float32")
        mask = rng.random(shape) < 0.7 if masked else None
        y, _, cache = model.forward(x, mask=mask, rng=np.random.default_rng(3))
        dy = rng.standard_normal(y.shape).astype("float32")
        dx, _, grads = model.backward(dy, cache)
        if masked:
            mask[...] = ~mask
        if indices:
            x[...] = (x + 1) % 5
        dx_late, _, late = model.backward(dy, cache)
        np.testing.assert_equal((dx_late, late), (dx, grads))
