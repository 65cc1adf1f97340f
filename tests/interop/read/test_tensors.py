"""The parts of a model by the names of its arrays: their order is that in which one reads what the other gives."""

import numpy as np
import pytest

import lstmcore as lc
from lstmcore.interop.write.torch_source import state_dict


def model(*widths: int) -> lc.Stack:
    V, I, H, out = widths
    both = lc.Bidirectional(lc.LSTM(I, H, seed=1), lc.LSTM(I, H, seed=2))
    return lc.Stack([lc.Embedding(V, I, seed=0), both, lc.Linear(2 * H, out, seed=3)])


@pytest.mark.parametrize("order", [sorted, lambda names: sorted(names, reverse=True), list])
def test_the_only_order_that_fits_is_taken(order):
    """A .safetensors file holds its arrays by the alphabet: embedding, linear, lstm."""
    net = model(9, 3, 4, 5)
    arrays = state_dict(net)
    read = lc.interop.read({name: arrays[name] for name in order(arrays)}, tell=lambda words: None)
    x = np.arange(8).reshape(4, 2)
    assert repr(read) == repr(net)
    np.testing.assert_array_equal(read.predict(x)[0], net.predict(x)[0])


def test_no_order_or_several_are_refused_with_the_widths():
    arrays = state_dict(model(9, 3, 4, 5))
    wrong = arrays | {"linear.weight": np.zeros((5, 7), "float32")}
    with pytest.raises(ValueError, match=r"no others would fit: embedding 3 -> 9, lstm 3 -> 8, linear 7 -> 5"):
        lc.interop.read(wrong, tell=lambda words: None)
    rng = np.random.default_rng(0)
    shapes = {"c": (3, 3), "a": (5, 3), "b": (3, 3)}
    parts = {f"{name}.weight": rng.standard_normal(shape).astype("float32") for name, shape in shapes.items()}
    parts |= {f"{name}.bias": np.zeros(shape[0], "float32") for name, shape in shapes.items()}
    lstm = state_dict(lc.LSTM(2, 3, seed=0))
    with pytest.raises(ValueError, match=r"2 others would fit: .* lstm 2 -> 3; hand over the module itself"):
        lc.interop.read(parts | lstm, tell=lambda words: None)
