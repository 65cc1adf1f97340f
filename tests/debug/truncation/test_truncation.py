"""The bias of truncation, measured: against numbers known by other ways."""

import numpy as np
import pytest

import lstmcore as lc

T, B = 6, 2


def memory():
    """h_t = h_{t-1} + w x_t: every pair of steps gives as much, so that what is left out can be counted."""
    layer = lc.RNN(1, 1, dtype="float64", bias=False, activation="identity", seed=0, engine="reference")
    layer.params["W_hh"], layer.params["W_ih"] = np.ones((1, 1)), np.ones((1, 1))
    return layer, np.ones((T, B, 1))


@pytest.mark.parametrize(("k1", "k2", "kept"), [(1, 1, 6), (1, 3, 15), (2, 2, 9), (3, 4, 15), (2, 6, 21)])
def test_it_counts_the_pairs_that_are_left_out(k1, k2, kept):
    """dW_ih is the number of pairs t <= u in one window, for each row, of 21 in all."""
    layer, x = memory()
    found = lc.debug.truncation(layer, x, np.ones_like(x), k1, k2)
    row = next(row for row in found.rows if row.name == "W_ih")
    assert found.grads["W_ih"].item() == B * kept
    assert (row.norm, row.bias) == (21 * B, (21 - kept) / 21)
    assert row.cosine == 1


def test_all_together_and_a_loss():
    rng = np.random.default_rng(0)
    net = lc.Stack(
        [lc.LSTM(2, 3, dtype="float64", seed=0, engine="reference"), lc.Linear(3, 1, dtype="float64", seed=1)]
    )
    x, targets = rng.standard_normal((T, B, 2)), rng.standard_normal((T, B, 1))
    found = [lc.debug.truncation(net, x, lambda y: lc.squared_error(y, targets), 2, k2) for k2 in (2, 4, 6)]
    assert found[0].bias > found[1].bias > 1e-6
    assert found[2].bias < 1e-15
    assert {row.name for row in found[0].rows} == {*net.params, "all together"}
    assert "every 2 steps, 4 steps back: " in str(found[1])
    with pytest.raises(TypeError, match="`dy` should be an array like y, or a loss"):
        lc.debug.truncation(net, x, None, 2)
