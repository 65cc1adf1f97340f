"""lc.freeze: the same bits, sooner, from weights that can no longer change."""

import copy
import pickle
import re
import threading
import time

import numpy as np
import pytest

import lstmcore as lc
from lstmcore.ops.cpu import threads as threads_cpu
from lstmcore.ops.cpu.sharing import Sharing

RNG = np.random.default_rng(0)


def layer(kind=lc.LSTM, I=5, H=24, dtype="float32", **options):
    return kind(I, H, dtype=dtype, seed=1, **options)


def numbers(*shape, dtype="float32"):
    return RNG.normal(size=shape).astype(dtype)


def same(got, expected) -> None:
    (y, state), (y_expected, expected_state) = got, expected
    for a, b in zip((y, *state), (y_expected, *expected_state)):
        assert a.dtype == b.dtype
        assert np.array_equal(a, b)


@pytest.mark.parametrize(
    ("kind", "dtype", "shapes"),
    [
        (lc.LSTM, "float32", [(1, 1), (7, 1), (1, 4), (20, 33), (1, 1), (7, 1)]),
        (lc.LSTM, "float64", [(1, 1), (6, 3), (1, 1)]),
        (lc.GRU, "float32", [(1, 1), (6, 3), (1, 1)]),
    ],
)
def test_the_bits_are_those_of_the_model(kind, dtype, shapes):
    """Twice for each shape: what the first call lays out, the second takes."""
    model = layer(kind, dtype=dtype)
    frozen = lc.freeze(model)
    for T, B in shapes * 2:
        x = numbers(T, B, 5, dtype=dtype)
        state = tuple(numbers(B, 24, dtype=dtype) for _ in model.states)
        same(frozen.predict(x), model.predict(x))
        same(frozen.predict(x, state), model.predict(x, state))
        same(frozen.step(x[0], state), model.step(x[0], state))
        same(frozen.step(x[0]), model.step(x[0]))
        mask = RNG.random((T, B)) < 0.6
        same(frozen.predict(x, state, mask), model.predict(x, state, mask))
    y, _, cache = frozen.forward(x)
    expected, _, there = model.forward(x)
    assert np.array_equal(y, expected)
    for a, b in zip(frozen.backward(y, cache)[2].values(), model.backward(expected, there)[2].values()):
        assert np.array_equal(a, b)


@pytest.mark.parametrize("H", [250, 650])  # one thread, and parts of the units on several
def test_wide_layers(H):
    model = layer(H=H)
    frozen, x = lc.freeze(model), numbers(12, 1, 5)
    for _ in range(3):
        same(frozen.predict(x), model.predict(x))


@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (12, 64)])
def test_the_weights_are_packed_once_and_the_second_call_is_laid_out(shape, monkeypatch):
    """Nothing but the time would show it: after the first call no other leads to the engine's `predict`."""
    frozen, x = lc.freeze(layer(engine="fused-cpu")), numbers(*shape, 5)
    expected, engine = frozen.predict(x), frozen.own_engine()
    packed = [value for value in frozen.params.prepared.values() if isinstance(value, np.ndarray)]
    assert len(packed) == 1
    monkeypatch.setattr(engine, "predict", None)
    same(frozen.predict(x), expected)
    same(frozen.predict(x, tuple(np.zeros((shape[1], 24), "float32") for _ in range(2))), expected)
    if shape[0] == 1:
        assert np.array_equal(frozen.step(x[0])[0], expected[0][0])


def test_results_are_memory_of_their_own():
    frozen, x = lc.freeze(layer()), numbers(3, 2, 5)
    first = [frozen.predict(x) for _ in range(2)][1]
    kept = copy.deepcopy(first)
    frozen.predict(numbers(3, 2, 5))
    first[0][...] += 0  # can be written to
    same(first, kept)


def test_arrays_that_lie_otherwise_are_taken_as_by_the_model():
    model = layer()
    frozen, x, state = lc.freeze(model), numbers(4, 6, 5), (numbers(24, 6).T, numbers(24, 6).T)
    for _ in range(2):
        same(frozen.predict(x[:, ::2]), model.predict(x[:, ::2]))
        same(frozen.predict(x[::-1], state), model.predict(x[::-1], state))
        same(frozen.predict(x, list(state)), model.predict(x, list(state)))


@pytest.mark.parametrize(
    "given",
    [
        (np.zeros((3, 2, 4), "float32"),),
        (np.zeros((3, 2, 5), "float64"),),
        ([[[1.0] * 5]],),
        (np.zeros((3, 2, 5), "float32"), (np.zeros((2, 24), "float32"),)),
        (np.zeros((3, 2, 5), "float32"), (np.zeros((2, 24), "float32"), np.zeros((1, 24), "float32"))),
    ],
)
def test_complaints_are_those_of_the_model(given):
    model = layer()
    frozen = lc.freeze(model)
    frozen.predict(numbers(3, 2, 5))
    for call in (lambda m: m.predict(*given), lambda m: m.step(given[0][0], *given[1:])):
        with pytest.raises((TypeError, ValueError)) as expected:
            call(model)
        with pytest.raises(type(expected.value)) as got:
            call(frozen)
        assert str(got.value) == str(expected.value)


def test_nothing_changes_it():
    model = layer()
    frozen, x = lc.freeze(model), numbers(1, 1, 5)
    before = [frozen.predict(x) for _ in range(2)][1]
    model.params["W_hh"] *= 2
    with pytest.raises(TypeError, match=r"'W_hh' is frozen: change it in the model that lc\.freeze was given"):
        frozen.params["W_hh"] = model.params["W_hh"]
    with pytest.raises(ValueError, match="read-only"):
        frozen.params["W_hh"] += 1
    with pytest.raises(ValueError, match="cannot set WRITEABLE flag"):
        frozen.params["W_hh"].setflags(write=True)
    same(frozen.predict(x), before)
    same(lc.freeze(model).predict(x), model.predict(x))


def test_training_is_refused():
    frozen = lc.freeze(layer())
    y, _, cache = frozen.forward(numbers(2, 3, 5))
    grads = frozen.backward(y, cache)[2]
    with pytest.raises(
        ValueError, match=r"'W_ih' cannot be written to \(a model of lc.freeze\? train the model that it"
    ):
        lc.Adam().step(frozen.params, grads)


@pytest.mark.parametrize("again", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["copy", "pickle"])
def test_copies_are_frozen_and_twins_are_not(again):
    model, x = layer(), numbers(1, 1, 5)
    frozen = lc.freeze(model)
    for twin in (again(frozen), again(frozen)):
        for _ in range(2):
            same(twin.predict(x), model.predict(x))
        assert not twin.params["b"].flags.writeable
    twin = frozen.to()
    twin.params["b"] += 1
    model.params["b"] += 1
    for _ in range(2):
        same(twin.predict(x), model.predict(x))


def test_another_engine_is_taken_at_once():
    model = layer()
    frozen, x = lc.freeze(model), numbers(4, 2, 5)
    for engine in ("fused-cpu", "reference", "fused-cpu"):
        frozen.engine = model.engine = engine
        for _ in range(2):
            same(frozen.predict(x), model.predict(x))


def test_containers():
    model = lc.Stack(
        [lc.Embedding(9, 5, seed=0), lc.Bidirectional(layer(), layer()), layer(I=48), lc.Linear(24, 3, seed=0)]
    )
    frozen, x = lc.freeze(model), RNG.integers(0, 9, (6, 2))
    for _ in range(2):
        assert np.array_equal(frozen.predict(x)[0], model.predict(x)[0])
    with pytest.raises(TypeError, match=r"'1.fw.b' is frozen"):
        frozen.params["1.fw.b"] = model.params["1.fw.b"]
    assert frozen.params["2.W_hh"] is frozen.layers[2].params["W_hh"]


def test_many_lengths_and_several_threads():
    model = layer(H=8)
    frozen, wrong = lc.freeze(model), []
    given = [numbers(1 + k % 300, 1, 5) for k in range(400)]
    expected = [model.predict(x)[0] for x in given]

    def work():
        wrong.extend(k for k, x in enumerate(given) if not np.array_equal(frozen.predict(x)[0], expected[k]))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(frozen.params.prepared) < 300


def test_one_thread_is_tried_no_longer_than_it_should(monkeypatch):
    """A call that stalled is followed by calls of one thread, which are laid out too: they have to say what they take,
    or threads would never share a call again."""
    monkeypatch.setattr(threads_cpu._crew, "sharing", sharing := Sharing())
    frozen, x = lc.freeze(layer(I=64, H=256, engine="fused-cpu")), numbers(20, 1, 64)
    sharing.tell(2, 0.03, 0.001)  # seconds: took, and worked
    assert sharing.trying
    end = time.monotonic() + 20
    while sharing.trying and time.monotonic() < end:
        frozen.predict(x)
    assert not sharing.trying


def test_arrays_of_other_libraries_are_refused():
    class Elsewhere:
        shape, size = (1,), 1

    model = layer()
    model.params._arrays["b"] = Elsewhere()
    with pytest.raises(TypeError, match=r"lc\.freeze takes models with NumPy arrays; got one of"):
        lc.freeze(model)


class ByItsMethods:
    """A layer by its methods, that inherits nothing."""

    params = lc.LSTM(1, 1).params

    def forward(self, x):
        return x, None, None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"a": 1}, "`model` should be a layer; got {'a': 1} (lc.freeze(model))"),
        (
            lc.LSTM,
            "`model` should be a layer, not a class; got <class 'lstmcore.layers.recurrent.LSTM'> (lc.freeze(model))",
        ),
        (
            ByItsMethods(),
            "`model` should be a layer with `rebuilt`, as a class has that inherits lstmcore.layers.Layer; got",
        ),
        (
            lc.Stack([ByItsMethods()]),
            "`model` should be a layer with `rebuilt`, as a class has that inherits lstmcore.layers",
        ),
    ],
)
def test_what_is_no_layer_is_refused(given, said):
    with pytest.raises(TypeError, match=re.escape(said)):
        lc.freeze(given)
