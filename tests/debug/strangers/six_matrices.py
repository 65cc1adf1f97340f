"""Coupled gates f = 1 - i, batch major, Wi Wg Wo over [h, x]."""

import numpy as np

rng = np.random.default_rng(107)
T, B, I, H = 6, 2, 3, 4
W = {k: rng.normal(0, 0.6, (H + I, H)) for k in "igo"}
b = {k: rng.normal(0, 0.3, H) for k in "igo"}
X, DY = rng.normal(size=(B, T, I)), rng.normal(size=(B, T, H))
sig = lambda v: 1 / (1 + np.exp(-v))
h = c = np.zeros((B, H))
K, Y = [], []
for t in range(T):
    z = np.concatenate([h, X[:, t]], 1)
    i, g, o = sig(z @ W["i"] + b["i"]), np.tanh(z @ W["g"] + b["g"]), sig(z @ W["o"] + b["o"])
    n = (1 - i) * c + i * g
    K.append((z, i, g, o, c, n))
    h, c = o * np.tanh(n), n
    Y.append(h)
dW = {k: 0 * W[k] for k in W}
db = {k: 0 * b[k] for k in b}
dX = 0 * X
dh = dc = 0
for t in reversed(range(T)):
    z, i, g, o, c, n = K[t]
    dh = dh + DY[:, t]
    dc = dc + dh * o * (1 - np.tanh(n) ** 2)
    d = {"i": dc * (g - c) * i * (1 - i), "g": dc * i * (1 - g**2), "o": dh * np.tanh(n) * o * (1 - o)}
    dz = 0
    for k in d:
        dW[k] += z.T @ d[k]
        db[k] += d[k].sum(0)
        dz = dz + d[k] @ W[k].T
    dh, dX[:, t] = dz[:, :H], dz[:, H:]
    dc = dc * (1 - i)
case = {
    "weights": {**{"W" + k: v for k, v in W.items()}, **{"b" + k: v for k, v in b.items()}},
    "grads": {**{"dW" + k: v for k, v in dW.items()}, **{"db" + k: v for k, v in db.items()}, "x": dX},
    "x": X,
    "dy": DY,
    "y": np.stack(Y, 1),
}
