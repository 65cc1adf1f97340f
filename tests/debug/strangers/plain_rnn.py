"""A character model's plain RNN: Wxh, Whh, bh, column vectors."""

import numpy as np

randn = np.random.default_rng(6).standard_normal
seq, n, hidden = 6, 3, 4
Wxh, Whh = randn((hidden, n)) * 0.5, randn((hidden, hidden)) * 0.5
bh = randn((hidden, 1)) * 0.2
xs, dys = randn((seq, n, 1)), randn((seq, hidden, 1))
hs = {-1: np.zeros((hidden, 1))}
for t in range(seq):
    hs[t] = np.tanh(np.dot(Wxh, xs[t]) + np.dot(Whh, hs[t - 1]) + bh)
dWxh, dWhh, dbh, dxs = np.zeros_like(Wxh), np.zeros_like(Whh), np.zeros_like(bh), np.zeros_like(xs)
dhnext = np.zeros_like(hs[0])
for t in reversed(range(seq)):
    dh = dys[t] + dhnext
    dhraw = (1 - hs[t] * hs[t]) * dh
    dbh += dhraw
    dWxh += np.dot(dhraw, xs[t].T)
    dWhh += np.dot(dhraw, hs[t - 1].T)
    dxs[t] = np.dot(Wxh.T, dhraw)
    dhnext = np.dot(Whh.T, dhraw)
case = {
    "weights": {"Wxh": Wxh, "Whh": Whh, "bh": bh},
    "grads": {"dWxh": dWxh, "dWhh": dWhh, "dbh": dbh, "x": dxs},
    "x": xs,
    "dy": dys,
    "y": np.array([hs[t] for t in range(seq)]),
}
