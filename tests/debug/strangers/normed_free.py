"""Another function: layer norm of every gate and of the cell as it is shown, no gains, eps 1e-6; blocks i f o g."""

import numpy as np

rng = np.random.default_rng(116)
T, B, I, H, EPS = 5, 2, 3, 4, 1e-6
W, U, b = rng.normal(0, 0.6, (I, 4 * H)), rng.normal(0, 0.6, (H, 4 * H)), rng.normal(0, 0.3, 4 * H)
x, dy = rng.normal(size=(T, B, I)), rng.normal(size=(T, B, H))
sig = lambda v: 1 / (1 + np.exp(-v))


def norm(v):
    r = 1 / np.sqrt(v.var(-1, keepdims=True) + EPS)
    return (v - v.mean(-1, keepdims=True)) * r, r


def norm_back(d, n, r):
    return r * (d - d.mean(-1, keepdims=True) - n * (d * n).mean(-1, keepdims=True))


h = c = np.zeros((B, H))
K, Y = [], []
for t in range(T):
    a, r = norm((x[t] @ W + h @ U + b).reshape(B, 4, H))
    i, f, o, g = sig(a[:, 0]), sig(a[:, 1]), sig(a[:, 2]), np.tanh(a[:, 3])
    new = f * c + i * g
    m, rm = norm(new)
    K.append((h, c, i, f, o, g, a, r, m, rm))
    h, c = o * np.tanh(m), new
    Y.append(h)
dW, dU, db, dx = 0 * W, 0 * U, 0 * b, 0 * x
dh = dc = np.zeros((B, H))
for t in reversed(range(T)):
    h, c, i, f, o, g, a, r, m, rm = K[t]
    dh = dh + dy[t]
    dc = dc + norm_back(dh * o * (1 - np.tanh(m) ** 2), m, rm)
    d = [dc * g * i * (1 - i), dc * c * f * (1 - f), dh * np.tanh(m) * o * (1 - o), dc * i * (1 - g * g)]
    d = norm_back(np.stack(d, 1), a, r).reshape(B, 4 * H)
    dW += x[t].T @ d
    dU += h.T @ d
    db += d.sum(0)
    dx[t] = d @ W.T
    dh, dc = d @ U.T, dc * f
case = {
    "weights": {"W": W, "U": U, "b": b},
    "grads": {"W": dW, "U": dU, "b": db, "x": dx},
    "x": x,
    "dy": dy,
    "y": np.array(Y),
}
