"""A case as arguments of the tools: of several ways to read its arrays, the one that gives its gradients."""

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
