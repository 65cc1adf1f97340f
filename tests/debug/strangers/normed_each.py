"""Another function: both products are layer-normalised, each with its gains, before they are added up."""

import numpy as np

rng = np.random.default_rng(115)
T, B, I, H = 5, 3, 3, 4
W, U, b = rng.normal(0, 0.6, (I, 4 * H)), rng.normal(0, 0.6, (H, 4 * H)), rng.normal(0, 0.3, 4 * H)
gx, gh = rng.uniform(0.5, 1.5, (2, 4 * H))
x, dy = rng.normal(size=(T, B, I)), rng.normal(size=(T, B, H))
sig = lambda v: 1 / (1 + np.exp(-v))


def ln(v):
    r = 1 / np.sqrt(v.var(-1, keepdims=True) + 1e-5)
    return (v - v.mean(-1, keepdims=True)) * r, r


def ln_back(d, n, r):
    return r * (d - d.mean(-1, keepdims=True) - n * (d * n).mean(-1, keepdims=True))


h = c = np.zeros((B, H))
K, Y = [], []
for t in range(T):
    (n1, r1), (n2, r2) = ln(x[t] @ W), ln(h @ U)
    i, f, g, o = np.split(gx * n1 + gh * n2 + b, 4, 1)
    i, f, g, o = sig(i), sig(f), np.tanh(g), sig(o)
    n = f * c + i * g
    K.append((h, c, i, f, g, o, n, n1, r1, n2, r2))
    h, c = o * np.tanh(n), n
    Y.append(h)
dW, dU, db, dx, dgx, dgh = 0 * W, 0 * U, 0 * b, 0 * x, 0 * gx, 0 * gh
dh = dc = 0
for t in reversed(range(T)):
    h, c, i, f, g, o, n, n1, r1, n2, r2 = K[t]
    dh = dh + dy[t]
    dc = dc + dh * o * (1 - np.tanh(n) ** 2)
    d = [dc * g * i * (1 - i), dc * c * f * (1 - f), dc * i * (1 - g * g), dh * np.tanh(n) * o * (1 - o)]
    d = np.hstack(d)
    dgx, dgh, db = dgx + (d * n1).sum(0), dgh + (d * n2).sum(0), db + d.sum(0)
    d1, d2 = ln_back(d * gx, n1, r1), ln_back(d * gh, n2, r2)
    dW += x[t].T @ d1
    dU += h.T @ d2
    dx[t] = d1 @ W.T
    dh, dc = d2 @ U.T, dc * f
weights = {"W": W, "U": U, "b": b, "gamma_x": gx, "gamma_h": gh}
grads = {"W": dW, "U": dU, "b": db, "gamma_x": dgx, "gamma_h": dgh, "x": dx}
case = {"weights": weights, "grads": grads, "x": x, "dy": dy, "y": np.array(Y)}
