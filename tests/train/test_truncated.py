"""BPTT(k1, k2) against the gradient of each output alone, cut by hand."""

import numpy as np
import pytest

import lstmcore as lc
from lstmcore.train import truncated_gradients

T, B, I, H = 7, 3, 2, 3
MASK = np.array([[1, 1, 0], [1, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0], [1, 1, 1], [0, 1, 1]], bool)


def model():
    first = lc.LSTM(I, H, dtype="float64", seed=1, engine="reference")
    second = lc.Residual(lc.GRU(H, H, dtype="float64", seed=2, engine="reference"))
    return lc.Stack([first, second, lc.Linear(H, 2, dtype="float64", seed=3)])


def given():
    rng = np.random.default_rng(0)
    return rng.standard_normal((T, B, I)), rng.standard_normal((T, B, 2))


def by_hand(net, x, dy, k1, k2, mask):
    """Output by output: a forward pass from the state at the window's first step, which is a constant."""
    total = dict.fromkeys(net.params, 0)
    for u in range(T):
        end = min((u // k1 + 1) * k1, T)
        start = max(end - k2, 0)
        state = net.predict(x[:start], None, mask[:start])[1] if start else None
        y, _, cache = net.forward(x[start : u + 1], state, mask[start : u + 1])
        only = np.zeros_like(y)
        only[-1] = dy[u]
        total = {name: total[name] + g for name, g in net.backward(only, cache)[2].items()}
    return total


@pytest.mark.parametrize(("k1", "k2"), [(1, 1), (1, 3), (2, 3), (2, 5), (3, 3), (4, 6), (7, 7), (3, 20)])
def test_windows(k1, k2):
    """Some hundred roundings of numbers below 10."""
    net, (x, dy) = model(), given()
    got, state = truncated_gradients(net, x, dy, k1, k2, mask=MASK)
    want = by_hand(net, x, dy, k1, k2, MASK)
    for name in net.params:
        np.testing.assert_allclose(got[name], want[name], rtol=0, atol=1e-12)
    np.testing.assert_allclose(state[0][1], net.predict(x, None, MASK)[1][0][1], rtol=0, atol=1e-14)
    full = net.backward(dy, net.forward(x, None, MASK)[2])[2]
    equal = all(np.abs(got[name] - full[name]).max() < 1e-12 for name in full)
    assert equal == (k2 >= T)


def test_the_loss_sees_the_outputs_window_by_window():
    net, (x, targets) = model(), given()
    seen = []

    def dy(y, steps):
        seen.append((steps.start, steps.stop))
        return y - targets[steps]

    got, _ = truncated_gradients(net, x, dy, 3, 5)
    assert seen == [(0, 3), (3, 6), (6, 7)]
    whole, _ = truncated_gradients(net, x, net.predict(x)[0] - targets, 3, 5)
    for name in got:
        np.testing.assert_allclose(got[name], whole[name], rtol=0, atol=1e-12)


def test_refusals():
    net, (x, dy) = model(), given()
    with pytest.raises(ValueError, match=r"`k2`, how far back, should be at least `k1`, how often; got 2 and 3"):
        truncated_gradients(net, x, dy, 3, 2)
    with pytest.raises(ValueError, match="`k1` should be a positive int; got 0"):
        truncated_gradients(net, x, dy, 0)
    both = lc.Bidirectional(*(lc.LSTM(I, 1, dtype="float64", seed=k) for k in (0, 1)))
    with pytest.raises(
        TypeError, match=r"should read time from its beginning; Bidirectional\(.* needs the whole sequence"
    ):
        truncated_gradients(lc.Stack([both]), x, dy, 2)
    last = lc.LSTM(I, 2, dtype="float64", return_sequences=False, seed=0, engine="reference")
    with pytest.raises(TypeError, match=r"should give an output for each step; LSTM.* gives \(3, 2\)"):
        truncated_gradients(last, x, dy, 2)
    with pytest.raises(TypeError, match=r"time first; BatchFirst\(.* has the batch first \(hand over its model"):
        truncated_gradients(lc.BatchFirst(net), x.swapaxes(0, 1), dy.swapaxes(0, 1), 2)
    with pytest.raises(ValueError, match=r"`dy` should be"):
        truncated_gradients(net, x, dy[..., :1], 2)
