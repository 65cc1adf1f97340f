"""Layers whose weights come from elsewhere: none are drawn first, which for a wide layer took nearly all the time."""

import numpy as np
import pytest

import lstmcore as lc
from lstmcore.interop.write.torch_source import state_dict


@pytest.fixture
def no_draw(monkeypatch):
    """Whatever would draw fresh weights fails."""
    default_rng = np.random.default_rng

    def only_told(seed=None):
        assert seed is not None, "weights are drawn that nobody will see"
        return default_rng(seed)

    monkeypatch.setattr(np.random, "default_rng", only_told)
    with pytest.raises(AssertionError, match="weights are drawn"):
        lc.LSTM(2, 3)


def test_no_weights_are_drawn_that_are_written_over(no_draw):
    both = lc.Bidirectional(lc.LSTM(3, 4, seed=1), lc.LSTM(3, 4, seed=2))
    net = lc.Stack([lc.Embedding(9, 3, seed=0), both, lc.GRU(8, 4, seed=4), lc.Linear(4, 5, seed=3)])
    read = lc.interop.read(state_dict(net), tell=lambda words: None)
    for name, value in net.params.items():
        np.testing.assert_array_equal(read.params[name], value)


def test_nor_where_gradients_are_judged(no_draw):
    layer, rng = lc.LSTM(2, 3, dtype="float64", seed=0), np.random.default_rng(0)
    x, dy = rng.standard_normal((4, 2, 2)), rng.standard_normal((4, 2, 3))
    grads = layer.backward(dy, layer.forward(x)[2])[2]
    assert lc.debug.diagnose(dict(layer.params), x, dy, grads).ok


def test_nor_where_a_layer_is_watched(torch, no_draw):
    torch.manual_seed(0)
    module = torch.nn.LSTM(2, 3)
    with lc.debug.watch(module) as seen:
        module(torch.ones(4, 2, 2))[0].sum().backward()
    assert seen.ok
