"""Bidirectional by hand, its arrays called forward_W, backward_W and so on."""

import numpy as np

rng = np.random.default_rng(110)
T, B, I, H = 5, 2, 3, 4
P = {
    f"{w}_{n}": rng.normal(0, 0.6, s)
    for w in ("forward", "backward")
    for n, s in (("W", (I, 4 * H)), ("U", (H, 4 * H)), ("b", (4 * H,)))
}
x, dy = rng.normal(size=(T, B, I)), rng.normal(size=(T, B, 2 * H))
sig = lambda v: 1 / (1 + np.exp(-v))


def fwd(w, x):
    h = c = np.zeros((B, H))
    K, out = [], []
    for t in range(T):
        i, f, g, o = np.split(x[t] @ P[w + "_W"] + h @ P[w + "_U"] + P[w + "_b"], 4, 1)
        i, f, g, o = sig(i), sig(f), np.tanh(g), sig(o)
        n = f * c + i * g
        K.append((h, c, i, f, g, o, n))
        h, c = o * np.tanh(n), n
        out.append(h)
    return np.array(out), K


def bwd(w, x, dy, K):
    dW, dU, db, dx = 0 * P[w + "_W"], 0 * P[w + "_U"], 0 * P[w + "_b"], 0 * x
    dh = dc = 0
    for t in reversed(range(T)):
        h, c, i, f, g, o, n = K[t]
        dh = dh + dy[t]
        dc = dc + dh * o * (1 - np.tanh(n) ** 2)
        d = np.hstack([dc * g * i * (1 - i), dc * c * f * (1 - f), dc * i * (1 - g * g), dh * np.tanh(n) * o * (1 - o)])
        dW += x[t].T @ d
        dU += h.T @ d
        db += d.sum(0)
        dx[t] = d @ P[w + "_W"].T
        dh, dc = d @ P[w + "_U"].T, dc * f
    return {w + "_W": dW, w + "_U": dU, w + "_b": db}, dx


yf, Kf = fwd("forward", x)
yb, Kb = fwd("backward", x[::-1])
y = np.concatenate([yf, yb[::-1]], 2)
gf, dxf = bwd("forward", x, dy[..., :H], Kf)
gb, dxb = bwd("backward", x[::-1], dy[::-1, :, H:], Kb)
case = {"weights": P, "grads": {**gf, **gb, "x": dxf + dxb[::-1]}, "x": x, "dy": dy, "y": y}
