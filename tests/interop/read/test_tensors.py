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
    with pytest.raises(ValueError, match=r"several others would fit: .* lstm 2 -> 3; hand over the module itself"):
        lc.interop.read(parts | lstm, tell=lambda words: None)


def test_numbers_tell_the_order_of_any_number_of_parts(tmp_path):
    """Ten layers of a width between an Embedding and a Linear, in a file that has them by the alphabet."""
    lstms = [lc.LSTM(4, 4, seed=k) for k in range(10)]
    net = lc.Stack([lc.Embedding(9, 4, seed=10), *lstms, lc.Linear(4, 3, seed=11)])
    names = {
        "embedding": net.layers[0],
        **{f"lstm{k + 1}": lstm for k, lstm in enumerate(lstms)},
        "head": net.layers[11],
    }
    arrays = {f"{name}.{key}": w for name, layer in names.items() for key, w in state_dict(layer).items()}
    read = lc.interop.read({key: arrays[key] for key in sorted(arrays)}, tell=lambda words: None)
    x = np.arange(8).reshape(4, 2)
    assert repr(read) == repr(net)
    np.testing.assert_array_equal(read.predict(x)[0], net.predict(x)[0])


@pytest.mark.parametrize("count", [7, 8, 9, 40])
def test_names_without_numbers_tell_no_order(count):
    """As in a file by the alphabet: many orders fit, and none is guessed, however many parts there are."""
    parts = {f"lstm_{chr(97 + k // 6)}{'abcdef'[k % 6]}": lc.LSTM(3, 3, seed=k) for k in range(count)}
    arrays = {f"{name}.{key}": w for name, layer in parts.items() for key, w in state_dict(layer).items()}
    with pytest.raises(
        ValueError, match=r"in the order of their names, and several orders would fit: lstm_aa.lstm 3 -> 3"
    ):
        lc.interop.read({key: arrays[key] for key in sorted(arrays)}, tell=lambda words: None)


def test_orders_that_cannot_be_tried_are_refused():
    """Two rooms of ten parts with no way from one to the other: whatever is tried, half is left over."""
    rng, parts = np.random.default_rng(0), [f"{room}{chr(97 + k)}" for k in range(10) for room in "pq"]
    sizes = {name: 3 if name.startswith("p") else 4 for name in parts}
    arrays = {f"{name}.weight": rng.standard_normal((n, n)).astype("float32") for name, n in sizes.items()}
    arrays |= {f"{name}.bias": np.zeros(n, "float32") for name, n in sizes.items()}
    with pytest.raises(ValueError, match="the parts do not tell in which order they stand: pa, "):
        lc.interop.read(arrays | state_dict(lc.LSTM(2, 3, seed=0)), tell=lambda words: None)
