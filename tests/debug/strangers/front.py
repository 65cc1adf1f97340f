"""Padding at the front (masks begin with zeros), batch major, states held; i f c o."""

import numpy as np

rng = np.random.default_rng(111)
B, T, I, H = 4, 6, 3, 4
L = np.array([6, 4, 2, 5])
mask = np.arange(T)[None] >= T - L[:, None]
W, U, b = rng.normal(0, 0.6, (I, 4 * H)), rng.normal(0, 0.6, (H, 4 * H)), rng.normal(0, 0.3, 4 * H)
x, dy = rng.normal(size=(B, T, I)) * mask[..., None], rng.normal(size=(B, T, H)) * mask[..., None]
sig = lambda v: 1 / (1 + np.exp(-v))
h = c = np.zeros((B, H))
K, Y = [], []
for t in range(T):
    m = mask[:, t, None]
    i, f, g, o = np.split(x[:, t] @ W + h @ U + b, 4, 1)
    i, f, g, o = sig(i), sig(f), np.tanh(g), sig(o)
    n = f * c + i * g
    hn = o * np.tanh(n)
    K.append((h, c, i, f, g, o, n, m))
    h, c = np.where(m, hn, h), np.where(m, n, c)
    Y.append(h)
dW, dU, db, dx = 0 * W, 0 * U, 0 * b, 0 * x
dh = dc = np.zeros((B, H))
for t in reversed(range(T)):
    h, c, i, f, g, o, n, m = K[t]
    dh = dh + dy[:, t]
    e, k = dh * m, dc * m
    k = k + e * o * (1 - np.tanh(n) ** 2)
    d = np.hstack([k * g * i * (1 - i), k * c * f * (1 - f), k * i * (1 - g * g), e * np.tanh(n) * o * (1 - o)])
    dW += x[:, t].T @ d
    dU += h.T @ d
    db += d.sum(0)
    dx[:, t] = d @ W.T
    dh = d @ U.T + dh * (1 - m)
    dc = k * f + dc * (1 - m)
case = {
    "weights": {"W": W, "U": U, "b": b},
    "grads": {"W": dW, "U": dU, "b": db, "x": dx},
    "x": x,
    "dy": dy,
    "mask": mask,
    "y": np.stack(Y, 1),
}
