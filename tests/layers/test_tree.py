"""The walks over a model, with containers and layers from outside the package in it."""

from typing import NamedTuple

import numpy as np
import pytest

import lstmcore as lc
from lstmcore.layers import Layer, Params, from_config, tree
from lstmcore.layers.params import joined


class Scaled(Layer):
    """y = x s + inner(x), s (1,) its own: a container with a parameter beside those of its part."""

    def __init__(self, inner, dtype="float32"):
        self.inner = inner
        self.parts = {"inner": inner}
        self.params = joined(self.parts, {"s": np.full(1, 2, dtype)})

    class Cache(NamedTuple):
        x: np.ndarray
        parts: tuple
        owner: Layer

    def forward(self, x, state=None, mask=None, rng=None, reuse=None):
        y, state, cache = self.inner.forward(x, state and state[0], mask, rng, reuse and reuse.parts[0])
        return self.params["s"] * x + y, (state,), self.Cache(x, (cache,), self)

    def backward(self, dy, cache, dstate=None):
        dx, dstate, grads = self.inner.backward(dy, cache.parts[0], dstate and dstate[0])
        own = {"s": np.sum(dy * cache.x).reshape(1)}
        return self.params["s"] * dy + dx, (dstate,), own | {f"inner.{name}": g for name, g in grads.items()}


@pytest.fixture
def model():
    towers = lc.Bidirectional(
        lc.Stack([lc.LSTM(3, 2, seed=0), lc.RNN(2, 2, seed=1)]), lc.Bidirectional(lc.GRU(3, 1, seed=2), lc.RNN(3, 1))
    )
    return lc.Stack([Scaled(lc.LSTM(3, 3, seed=4)), towers, lc.Tanh()])


NAMES = ["0.inner", "1.fw.0", "1.fw.1", "1.bw.fw", "1.bw.bw", "2"]


def test_leaves_have_the_names_of_their_parameters(model):
    found = dict(tree.leaves(model))
    assert list(found) == NAMES
    layers = "LSTM(3, 3) LSTM(3, 2) RNN(2, 2) GRU(3, 1) RNN(3, 1) Tanh()"
    assert " ".join(map(repr, found.values())) == layers
    for name, leaf in found.items():
        assert tree.at(model, name) is leaf
        assert all(model.params[f"{name}.{key}"] is a for key, a in leaf.params.items())
    assert [name for name, _ in tree.leaves(lc.Tanh())] == [""]


def test_which_leaves_read_time_from_its_end(model):
    assert {name for name in NAMES if tree.is_flipped(model, name)} == {"1.bw.fw"}  # turned twice is as it was


def test_caches_and_states_stand_in_the_order_of_the_leaves(model):
    x = np.ones((2, 1, 3), "float32")
    _, state, cache = model.forward(x)
    assert [c.owner for c in tree.caches(cache)] == [leaf for _, leaf in tree.leaves(model)]
    widths = [s and tuple(a.shape[-1] for a in s) for s in tree.by_leaf(model, state)]
    assert widths == [(3, 3), (2, 2), (2,), (1,), (1,), None]
    assert list(tree.by_leaf(model, None)) == [None] * 6
    assert tree.state_names(model) == (
        (("0.inner.h0", "0.inner.c0"),),
        ((("1.fw.0.h0", "1.fw.0.c0"), ("1.fw.1.h0",)), (("1.bw.fw.h0",), ("1.bw.bw.h0",))),
        None,
    )
    assert tree.state_names(lc.GRU(1, 1)) == ("h0",)


def test_which_engine_ran():
    x = np.ones((2, 1, 3), "float32")
    one = lc.Stack([lc.LSTM(3, 3, engine="reference"), lc.Tanh(), lc.RNN(3, 3, engine="reference")])
    assert tree.engine(one.forward(x)[2]) == "reference"
    assert tree.engine(lc.Stack([one, lc.LSTM(3, 2, engine="fused-cpu")]).forward(x)[2]) == "reference, fused-cpu"
    assert tree.engine(lc.Tanh().forward(x)[2]) == ""


def test_a_twin_of_a_container_shares_nothing_and_computes_the_same(model):
    x = np.random.default_rng(0).standard_normal((4, 2, 3)).astype("float32")
    y = model.predict(x)[0]
    twin = model.to(dtype="float64", engine="reference")
    assert {a.dtype.name for a in twin.params.values()} == {"float64"}
    for name, a in twin.params.items():
        np.testing.assert_array_equal(a, model.params[name])
        a[...] = 0
    np.testing.assert_array_equal(model.predict(x)[0], y)
    assert twin.parts["0"].inner is twin.parts["0"].parts["inner"] is not model.parts["0"].inner
    assert twin.layers == tuple(twin.parts.values())
    assert not twin.predict(x.astype("float64"))[0].any()


def test_the_same_model_over_other_arrays(model):
    other = {name: np.zeros_like(a) for name, a in model.params.items()}
    twin = tree.with_params(model, other)
    assert list(twin.params) == list(model.params)
    assert all(twin.params[name] is a for name, a in other.items())
    assert tree.at(twin, "1.bw.fw").params["W_hh"] is other["1.bw.fw.W_hh"]
    assert not twin.predict(np.ones((2, 1, 3), "float32"))[0].any()
    assert model.predict(np.ones((2, 1, 3), "float32"))[0].any()


def test_leaves_are_replaced_and_containers_stay(model):
    seen = []

    def change(name, leaf):
        seen.append(name)
        return lc.Dropout(0.5) if isinstance(leaf, lc.Tanh) else leaf

    other = tree.replaced(model, change)
    assert seen == NAMES
    assert repr(other).endswith(", Dropout(0.5)])")
    assert other.params["0.s"] is model.params["0.s"]
    assert repr(model).endswith(", Tanh()])")


def test_an_argument_that_is_not_kept_is_named():
    class Wide(Layer):
        def __init__(self, width):
            self.params = Params({})

    with pytest.raises(AttributeError, match="width"):
        Wide(3).config()


def test_a_configuration_is_what_the_constructor_was_given():
    both = lc.Bidirectional(lc.LSTM(3, 4, dtype="float64"), lc.GRU(3, 4, dtype="float64"), merge="sum")
    want = {"input_size": 3, "hidden_size": 4, "dtype": "float64", "return_sequences": True}
    assert lc.Stack([both, lc.Dropout(0.5)]).config() == {
        "kind": "Stack",
        "layers": [
            {"kind": "Bidirectional", "fw": {"kind": "LSTM", **want}, "bw": {"kind": "GRU", **want}, "merge": "sum"},
            {"kind": "Dropout", "p": 0.5, "per_sequence": False},
        ],
    }
    assert from_config(both.config()).config() == both.config()
