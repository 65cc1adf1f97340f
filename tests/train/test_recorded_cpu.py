"""A step that is laid out once gives the bits of the lines by hand, in every step; and refuses what they refuse."""

import functools

import numpy as np
import pytest

import lstmcore as lc

T, V, STEPS = 6, 5, 12


def model_of(cells, I, H, dtype="float32", sequences=False, dropout=0.0, **options):
    layers, width = [], I
    for k, cell in enumerate(cells):
        last = k == len(cells) - 1
        layers.append(cell(width, H, dtype=dtype, seed=k, return_sequences=sequences or not last, **options))
        layers += [lc.Dropout(dropout)] if dropout else []
        width = H
    return lc.Stack([*layers, lc.Linear(H, V, dtype=dtype, seed=9)])


MODELS = {
    "LSTM": functools.partial(model_of, [lc.LSTM], 1, 24),
    "float64": functools.partial(model_of, [lc.LSTM], 3, 7, dtype="float64"),
    "GRU": functools.partial(model_of, [lc.GRU], 4, 9),
    "RNN": functools.partial(model_of, [lc.RNN], 4, 9, sequences=True),
    "two layers, a head per step, dropout": functools.partial(
        model_of, [lc.LSTM, lc.LSTM], 20, 24, sequences=True, dropout=0.4
    ),
    "no bias": lambda: lc.Stack([lc.LSTM(2, 8, seed=0, bias=False), lc.Linear(8, V, bias=False, seed=1)]),
    "products in bfloat16": functools.partial(model_of, [lc.LSTM], 3, 24, engine="fused-cpu-bf16"),
    "one layer": lambda: lc.LSTM(2, V, seed=0),
}


def batches(model, B, steps=STEPS):
    rng = np.random.default_rng(3)
    first = model.layers[0] if isinstance(model, lc.Stack) else model
    dtype = first.params["W_ih"].dtype
    shape = (B,) if model.predict(np.zeros((T, B, first.input_size), dtype))[0].ndim == 2 else (T, B)
    for _ in range(steps):
        yield rng.standard_normal((T, B, first.input_size)).astype(dtype), rng.integers(0, V, shape)


def by_hand(model, opt, data, clip, rng):
    for x, targets in data:
        y, _, cache = model.forward(x, None, None, rng)
        value, dy = lc.softmax_cross_entropy(y, targets)
        _, _, grads = model.backward(dy, cache)
        if clip is not None:
            lc.clip_by_global_norm(grads, clip)
        opt.step(model.params, grads)
        yield float(value)


def assert_same(one, two):
    for name, w in one.params.items():
        np.testing.assert_array_equal(w, two.params[name], err_msg=name)


@pytest.mark.parametrize("B", [3, 900])  # 900 rows are several tiles
@pytest.mark.parametrize("name", MODELS)
def test_the_bits_of_the_lines(name, B):
    one, two = MODELS[name](), MODELS[name]()
    steps = STEPS if B < 10 else 3
    want = list(by_hand(one, lc.AdamW(0.01), batches(one, B, steps), 0.5, np.random.default_rng(7)))
    step = lc.RecordedStep(two, lc.softmax_cross_entropy, lc.AdamW(0.01), clip=0.5, rng=7)
    assert [float(step(x, targets)) for x, targets in batches(two, B, steps)] == want
    assert_same(one, two)


def test_nothing_of_a_step_is_left_in_the_next():
    """The same batch twice from the same weights: the second step would show what the first had left behind."""
    model = MODELS["GRU"]()
    step = lc.RecordedStep(model, lc.softmax_cross_entropy, lc.SGD(0.0))
    (x, targets), (other, others) = batches(model, 3, 2)
    first = float(step(x, targets))
    grads = {name: g.copy() for name, g in step._passes.grads.items()}
    step(other, others)
    assert float(step(x, targets)) == first
    for name, g in grads.items():
        np.testing.assert_array_equal(step._passes.grads[name], g)


def test_a_loss_gets_an_output_of_its_own():
    kept = []

    def loss(y, targets, mask):
        kept.append(y)
        return lc.softmax_cross_entropy(y, targets, mask)

    model = MODELS["LSTM"]()
    step = lc.RecordedStep(model, loss, lc.Adam())
    for x, targets in batches(model, 3, 3):
        step(x, targets)
    assert not np.array_equal(kept[0], kept[2])


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (lambda: lc.LSTM(2, V, engine="reference"), "LSTM.* does not run on fused-cpu step by step"),
        (lambda: lc.LSTM(2, V, recompute=2), "does not run on fused-cpu step by step"),
        (
            lambda: lc.Stack([lc.LSTM(2, V), lc.ReLU()]),
            r"ReLU\(\) is not one of Stack, LSTM, GRU, RNN, Linear, Dropout",
        ),
    ],
)
def test_what_is_not_recorded_is_told(model, words):
    model = model()
    before = {name: w.copy() for name, w in model.params.items()}
    with pytest.raises(RuntimeError, match=f"this step cannot be recorded, and nothing was changed: .*{words}"):
        lc.RecordedStep(model, lc.softmax_cross_entropy, lc.Adam())(
            np.ones((T, 3, 2), "float32"), np.zeros((T, 3), int)
        )
    assert all(np.array_equal(before[name], w) for name, w in model.params.items())


def test_what_the_lines_refuse():
    model = MODELS["LSTM"]()
    step, opt = None, lc.Adam()
    step = lc.RecordedStep(model, lc.softmax_cross_entropy, opt)
    (x, targets), *_ = batches(model, 3, 1)
    with pytest.raises(RuntimeError, match="nothing was changed: the batch has a mask"):
        step(x, targets, np.ones((T, 3), bool))
    with pytest.raises(TypeError, match="float64"):
        step(x.astype("float64"), targets)
    step(x, targets)
    before = {name: w.copy() for name, w in model.params.items()}
    with pytest.raises(ValueError, match=r"`targets` should lie in 0 .. 4; got 5"):
        step(x, targets + 5 - targets)
    with pytest.raises(ValueError, match="make another RecordedStep"):
        step(x[:, :2], targets[:2])
    assert all(np.array_equal(before[name], w) for name, w in model.params.items())
    assert opt.state["0.W_hh"]["t"] == 1


class Own(lc.Callback):
    """With a callback of one's own `fit` goes the way of the layers: it may keep what it sees."""


@pytest.mark.parametrize("name", ["LSTM", "two layers, a head per step, dropout"])
def test_fit_records_to_the_same_bits(name, monkeypatch):
    from lstmcore.train import recorded_cpu

    laid_out = []
    passes = recorded_cpu.Passes
    monkeypatch.setattr(recorded_cpu, "Passes", lambda *given: laid_out.append(given) or passes(*given))
    results = []
    for callbacks in ([Own()], []):
        model = MODELS[name]()
        data = [*batches(model, 3, 8), *batches(model, 2, 1)]  # the last is smaller, and never comes often enough
        history = lc.fit(
            model, lc.softmax_cross_entropy, data, lc.Adam(), epochs=2, clip=1.0, rng=4, callbacks=callbacks
        )
        results.append(
            ({name: w.copy() for name, w in model.params.items()}, [row["loss"] for row in history["epochs"]])
        )
        assert len(laid_out) == (0 if callbacks else 1)
    assert results[0][1] == results[1][1]
    for name, w in results[0][0].items():
        np.testing.assert_array_equal(results[1][0][name], w)


def _put_in():
    callback = lc.Callback()
    callback.on_batch = lambda run: None
    return callback


@pytest.mark.parametrize("kind", ["a loss inside Counted", "a hook on an instance", "a method on an instance", "plain"])
def test_what_somebody_has_put_in_is_asked(kind, monkeypatch):
    """A function of one's own inside a class of the library is one's own: it may keep what it sees."""
    from lstmcore.train import Counted, recorded_cpu

    laid_out, passes, asked = [], recorded_cpu.Passes, []
    monkeypatch.setattr(recorded_cpu, "Passes", lambda *given: laid_out.append(passes(*given)) or laid_out[-1])
    model, loss, callbacks = MODELS["LSTM"](), lc.softmax_cross_entropy, []
    if kind == "a loss inside Counted":
        loss = Counted(lambda y, t, mask: lc.softmax_cross_entropy(y, t, mask), lambda y, t, mask: len(t))
    elif kind == "a hook on an instance":
        callbacks = [_put_in()]
    elif kind == "a method on an instance":
        lstm, backward = model.layers[0], model.layers[0].backward
        lstm.backward = lambda *given: asked.append(backward(*given)) or asked[-1]
    data = list(batches(model, 3, 6))
    lc.fit(model, loss, data, lc.Adam(), epochs=1, callbacks=callbacks)
    assert len(laid_out) == (kind == "plain")
    assert [dx.shape for dx, _, _ in asked] == [(T, 3, 1)] * (6 if kind == "a method on an instance" else 0)


def test_fit_trains_what_cannot_be_recorded():
    model = lc.Stack([lc.LSTM(2, 4, seed=0), lc.ReLU(), lc.Linear(4, V, seed=1)])
    data = [(np.ones((T, 3, 2), "float32"), np.ones((T, 3), int))] * 8
    assert lc.fit(model, lc.softmax_cross_entropy, data, lc.Adam(), epochs=1)["step"] == 8
