"""Weights kept in float16, computed in float32; dW in float32, db in float16."""

import numpy as np

rng = np.random.default_rng(113)
T, B, I, H = 6, 3, 3, 4
W, U, b = (rng.normal(0, 0.5, s).astype("float16") for s in ((I, 4 * H), (H, 4 * H), (4 * H,)))
x, dy = rng.normal(size=(T, B, I)).astype("float16"), rng.normal(size=(T, B, H)).astype("float32")
w, u, v = (a.astype("float32") for a in (W, U, b))
X = x.astype("float32")
sig = lambda a: 1 / (1 + np.exp(-a))
h = c = np.zeros((B, H), "float32")
K, Y = [], []
for t in range(T):
    i, f, g, o = np.split(X[t] @ w + h @ u + v, 4, 1)
    i, f, g, o = sig(i), sig(f), np.tanh(g), sig(o)
    n = f * c + i * g
    K.append((h, c, i, f, g, o, n))
    h, c = o * np.tanh(n), n
    Y.append(h)
dW, dU, db, dx = 0 * w, 0 * u, 0 * v, 0 * X
dh = dc = 0
for t in reversed(range(T)):
    h, c, i, f, g, o, n = K[t]
    dh = dh + dy[t]
    dc = dc + dh * o * (1 - np.tanh(n) ** 2)
    d = np.hstack([dc * g * i * (1 - i), dc * c * f * (1 - f), dc * i * (1 - g * g), dh * np.tanh(n) * o * (1 - o)])
    dW += X[t].T @ d
    dU += h.T @ d
    db += d.sum(0)
    dx[t] = d @ w.T
    dh, dc = d @ u.T, dc * f
case = {
    "weights": {"W": W, "U": U, "b": b},
    "grads": {"W": dW, "U": dU, "b": db.astype("float16"), "x": dx.astype("float16")},
    "x": x,
    "dy": dy,
    "y": np.array(Y),
}
