"""Two layers in a list, names W0 U0 b0 W1 U1 b1, order i f o g."""

import numpy as np

rng = np.random.default_rng(120)
T, B, I, H = 5, 2, 3, 4
P = {}
for l in range(2):
    P[f"W{l}"], P[f"U{l}"], P[f"b{l}"] = (
        rng.normal(0, 0.6, (H if l else I, 4 * H)),
        rng.normal(0, 0.6, (H, 4 * H)),
        rng.normal(0, 0.3, 4 * H),
    )
x, dy = rng.normal(size=(T, B, I)), rng.normal(size=(T, B, H))
sig = lambda v: 1 / (1 + np.exp(-v))
inp = x
KK = []
for l in range(2):
    h = c = np.zeros((B, H))
    K, out = [], []
    for t in range(T):
        i, f, o, g = np.split(inp[t] @ P[f"W{l}"] + h @ P[f"U{l}"] + P[f"b{l}"], 4, 1)
        i, f, g, o = sig(i), sig(f), np.tanh(g), sig(o)
        n = f * c + i * g
        K.append((inp[t], h, c, i, f, g, o, n))
        h, c = o * np.tanh(n), n
        out.append(h)
    inp = np.array(out)
    KK.append(K)
D = {k: 0 * v for k, v in P.items()}
up = dy
for l in (1, 0):
    dx = []
    dh = dc = 0
    for t in reversed(range(T)):
        xt, h, c, i, f, g, o, n = KK[l][t]
        dh = dh + up[t]
        dc = dc + dh * o * (1 - np.tanh(n) ** 2)
        d = np.hstack([dc * g * i * (1 - i), dc * c * f * (1 - f), dh * np.tanh(n) * o * (1 - o), dc * i * (1 - g * g)])
        D[f"W{l}"] += xt.T @ d
        D[f"U{l}"] += h.T @ d
        D[f"b{l}"] += d.sum(0)
        dx.append(d @ P[f"W{l}"].T)
        dh, dc = d @ P[f"U{l}"].T, dc * f
    up = np.array(dx[::-1])
case = {"weights": P, "grads": {"d" + k: v for k, v in D.items()} | {"x": up}, "x": x, "dy": dy, "y": inp}
