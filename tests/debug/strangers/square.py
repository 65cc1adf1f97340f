"""T = B and I = H: batch major, nothing told by the shapes; matrices over [x, h], one fused, order f i g o."""

import numpy as np

rng = np.random.default_rng(105)
N = 4
W, b = rng.normal(0, 0.7, (2 * N, 4 * N)), rng.normal(0, 0.4, (4 * N,))
x, dy = rng.normal(size=(N, N, N)), rng.normal(size=(N, N, N))
sig = lambda v: 1 / (1 + np.exp(-v))
h = c = np.zeros((N, N))
S, ys = [], []
for t in range(N):
    z = np.hstack([x[:, t], h])
    f, i, g, o = np.split(z @ W + b, 4, 1)
    f, i, g, o = sig(f), sig(i), np.tanh(g), sig(o)
    cn = f * c + i * g
    S.append((z, f, i, g, o, c, cn))
    h, c = o * np.tanh(cn), cn
    ys.append(h)
dW, db, dx = 0 * W, 0 * b, 0 * x
dh = dc = 0
for t in reversed(range(N)):
    z, f, i, g, o, c, cn = S[t]
    dh = dh + dy[:, t]
    dc = dc + dh * o * (1 - np.tanh(cn) ** 2)
    d = np.hstack([dc * c * f * (1 - f), dc * g * i * (1 - i), dc * i * (1 - g * g), dh * np.tanh(cn) * o * (1 - o)])
    dW += z.T @ d
    db += d.sum(0)
    dz = d @ W.T
    dx[:, t] = dz[:, :N]
    dh = dz[:, N:]
    dc = dc * f
case = {"weights": {"W": W, "b": b}, "grads": {"W": dW, "b": db, "x": dx}, "x": x, "dy": dy, "y": np.stack(ys, 1)}
