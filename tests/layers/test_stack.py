"""Layers one after the other: the same as by hand, the mask's way, streaming, configuration."""

import numpy as np
import pytest

import lstmcore as lc
from lstmcore.layers import from_config


def parts(last: bool = False):
    return [
        lc.LSTM(3, 4, dtype="float64", seed=0),
        lc.Dropout(0.5),
        lc.GRU(4, 2, dtype="float64", seed=1, return_sequences=not last),
        lc.Linear(2, 5, dtype="float64", seed=2),
        lc.Tanh(),
    ]


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("last", [False, True])
def test_it_is_what_one_would_do_by_hand(last, train):
    rng = np.random.default_rng(0)
    x, mask = rng.normal(size=(4, 2, 3)), rng.random((4, 2)) < 0.6
    model = lc.Stack(parts(last))
    draws = np.random.default_rng(1) if train else None
    y, states, cache = model.forward(x, mask=mask, rng=draws)

    draws = np.random.default_rng(1) if train else None
    value, where, caches, wanted = x, mask, [], []
    for part in model.layers:
        value, state, part_cache = part.forward(value, mask=where, rng=draws)
        where = where if value.ndim == 3 else None  # after a final state there is no time left
        caches.append(part_cache)
        wanted.append(state)
    assert np.array_equal(y, value)
    assert [state is None for state in states] == [state is None for state in wanted] == [0, 1, 0, 1, 1]

    dy = rng.normal(size=y.shape)
    dx, dstates, grads = model.backward(dy, cache)
    for k in reversed(range(5)):
        dy, dstate, g = model.layers[k].backward(dy, caches[k])
        assert (dstates[k] is None) == (dstate is None)
        for name, gradient in g.items():
            assert np.array_equal(grads[f"{k}.{name}"], gradient)
    assert np.array_equal(dx, dy)
    assert list(grads) == list(model.params)


def test_the_mask_goes_along_with_outputs_of_four_axes():
    """Two directions left apart, (T, B, 2, H), have a time axis too."""

    class Look(lc.layers.Layer):
        def __init__(self):
            self.params = lc.layers.Params({})

        def forward(self, x, state=None, mask=None, rng=None, reuse=None):
            self.seen = mask
            return x, None, None

    look, mask = Look(), np.ones((4, 2), bool)
    both = lc.Bidirectional(lc.LSTM(3, 4, seed=0), lc.LSTM(3, 4, seed=1), merge="none")
    assert lc.Stack([both, look]).predict(np.zeros((4, 2, 3), "float32"), mask=mask)[0].shape == (4, 2, 2, 4)
    assert look.seen is mask


def test_streaming_through_a_stack():
    """step after step, Dropout at rest, as one forward pass. Sums of 4 terms below 2, over 4 steps: 100 eps."""
    model = lc.Stack(parts())
    x = np.random.default_rng(2).normal(size=(4, 2, 3))
    whole, last = model.predict(x)
    state = None
    for t in range(4):
        y, state = model.step(x[t], state)
        assert np.max(np.abs(y - whole[t])) <= 100 * np.finfo(float).eps
    assert np.max(np.abs(state[2][0] - last[2][0])) <= 100 * np.finfo(float).eps


def test_an_old_cache_is_handed_on_to_every_part():
    """The reference engine writes into the buffers of the cache given back, through both containers."""
    both = lc.Bidirectional(lc.LSTM(3, 4, seed=0, engine="reference"), lc.GRU(3, 4, seed=1, engine="reference"))
    model, x = lc.Stack([lc.Tanh(), both]), np.ones((2, 1, 3), "float32")
    old = model.forward(x)[2]
    new, fresh = model.forward(x, reuse=old)[2], model.forward(x)[2]
    for direction in (0, 1):
        states = [cache.parts[1].parts[direction].states[0] for cache in (old, new, fresh)]
        assert states[0] is states[1]
        assert not np.shares_memory(states[0], states[2])


def test_stacks_in_stacks():
    inner = lc.Stack([lc.LSTM(3, 4, seed=0), lc.Linear(4, 3, seed=1)])
    outer = lc.Stack([inner, lc.Stack([lc.Tanh()])])
    assert list(outer.params) == ["0.0.W_ih", "0.0.W_hh", "0.0.b", "0.1.W", "0.1.b"]
    y, state, cache = outer.forward(np.ones((2, 1, 3), "float32"))
    assert state[1] == (None,)
    _, dstate, grads = outer.backward(np.ones_like(y), cache)
    assert list(grads) == list(outer.params)
    assert dstate[0][0][0].shape == (1, 4)


def test_configuration():
    model = lc.Stack([lc.Embedding(7, 3), lc.Bidirectional(lc.LSTM(3, 2), lc.RNN(3, 2)), *parts()[3:4]])
    assert from_config(model.config()).config() == model.config()
    assert repr(from_config(model.config())) == repr(model)
    with pytest.raises(ValueError, match=r"`config` should be a dict with a kind, as layer\.config\(\) gives"):
        from_config({"layers": []})
    with pytest.raises(ValueError, match=r"no kind 'Conv' here \(a layer or cell of one's own: call lc\.register"):
        from_config({"kind": "Conv"})


def test_a_frozen_part_is_left_alone_by_who_trains():
    """Gradients come for every parameter; which of them are used is the trainer's choice."""
    model = lc.Stack(parts())
    y, _, cache = model.forward(np.ones((2, 1, 3)))
    _, _, grads = model.backward(np.ones_like(y), cache)
    assert set(grads) == set(model.params)
    assert all(grads[name].shape == value.shape for name, value in model.params.items())
