"""A case as arguments of the tools: of several ways to read its arrays, the one that gives its outputs."""

import numpy as np
import pytest

import lstmcore as lc
from lstmcore.debug.diagnose.replayed import replayed


@pytest.mark.parametrize("batch_first", [False, True])
def test_its_gradients_tell_how_it_is_read(batch_first):
    rng = np.random.default_rng(0)
    layer = lc.LSTM(3, 4, dtype="float64", seed=0, engine="reference")
    x, dy = rng.standard_normal((5, 2, 3)), rng.standard_normal((5, 2, 4))
    grads = layer.backward(dy, layer.forward(x)[2])[2]
    turned = (1, 0, 2) if batch_first else (0, 1, 2)
    case = lc.debug.Case(dict(layer.params), x.transpose(turned), dy.transpose(turned), grads, {}, None, {})
    again, x_read, dy_read, step = replayed(case)
    np.testing.assert_array_equal(x_read, x)
    np.testing.assert_array_equal(dy_read, dy)
    np.testing.assert_array_equal(again.params["W_hh"], layer.params["W_hh"])
    assert step["mask"] is None


@pytest.mark.parametrize("seen", ["y", "c", "nothing"])
def test_its_outputs_tell_how_it_is_read_whatever_its_gradients(seen):
    """A matrix per gate over [x, h], I = H: it may be over [h, x] too, whose gradients those of the case are."""
    rng = np.random.default_rng(1)
    T, B, H = 5, 2, 3
    matrices = {f"W{gate}": rng.standard_normal((H, 2 * H)) for gate in "ifco"}
    biases = {f"b{gate}": rng.standard_normal(H) for gate in "ifco"}
    x, dy = rng.standard_normal((2, T, B, H))

    def lstm(rows):
        layer = lc.LSTM(H, H, dtype="float64", engine="reference")
        layer.params["W_ih"] = np.concatenate([W.T[rows] for W in matrices.values()], axis=1)
        layer.params["W_hh"] = np.concatenate([np.delete(W.T, rows, axis=0) for W in matrices.values()], axis=1)
        layer.params["b"] = np.concatenate([*biases.values()])
        return layer

    right, other = lstm(np.s_[:H]), lstm(np.s_[H:])
    y, _, cache = right.forward(x)
    steps = {"y": {"y": y}, "c": {"c": cache.states[1][1:]}, "nothing": {}}[seen]
    grads = other.backward(dy, other.forward(x)[2])[2]
    columns = {
        gate: np.concatenate([grads[name][:, k * H : (k + 1) * H] for name in ("W_hh", "W_ih")]).T
        for k, gate in enumerate("ifco")
    }
    case = lc.debug.Case(
        matrices | biases, x, dy, {f"W{g}": dW for g, dW in columns.items()}, {}, None, {}, steps=steps
    )
    again = replayed(case)[0]
    expected = other if seen == "nothing" else right
    np.testing.assert_array_equal(again.params["W_hh"], expected.params["W_hh"])


def test_the_form_of_layer_norm_is_told_too():
    """lstmcore's own, whose outputs say that each product is normalised by itself."""
    rng = np.random.default_rng(2)
    layer = lc.LSTM(3, 4, dtype="float64", seed=0, layer_norm=True, engine="reference")
    x, dy = rng.standard_normal((5, 2, 3)), rng.standard_normal((5, 2, 4))
    y, _, cache = layer.forward(x)

    def named(arrays):
        gains = dict(zip(("gamma_x", "gamma_h"), np.split(arrays["gamma"], 2)))
        plain = {"Wx": "W_ih", "Wh": "W_hh", "b": "b", "gamma_c": "gamma_c", "beta_c": "beta_c"}
        return gains | {name: arrays[key] for name, key in plain.items()}

    grads = named(layer.backward(dy, cache)[2])
    for steps in ({"y": y}, {}):
        again, *_ = replayed(lc.debug.Case(named(layer.params), x, dy, grads, {}, None, {}, steps=steps))
        np.testing.assert_allclose(again.predict(x)[0], y, rtol=0, atol=1e-14)  # some tens of roundings of numbers < 1


def test_outputs_of_all_steps_are_turned_as_x_where_dy_is_of_the_last():
    rng = np.random.default_rng(3)
    layer = lc.LSTM(3, 4, dtype="float64", seed=0, engine="reference")
    x, dh = rng.standard_normal((5, 2, 3)), rng.standard_normal((2, 4))
    y, _, cache = layer.forward(x)
    grads = layer.backward(None, cache, (dh, np.zeros((2, 4))))[2]
    turned = x.swapaxes(0, 1), dh
    assert lc.debug.diagnose(dict(layer.params), *turned, grads, y=y.swapaxes(0, 1)).forward == "right"
