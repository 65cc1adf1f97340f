"""Peepholes under the names W_ci W_cf W_co, gates apart (Graves), batch rows; gradients in a flat dict."""

import numpy as np

rng = np.random.default_rng(106)
T, B, I, H = 5, 3, 2, 4
P = {}
for k in "ifco":
    P[f"W_x{k}"], P[f"W_h{k}"], P[f"b_{k}"] = (
        rng.normal(0, 0.6, (I, H)),
        rng.normal(0, 0.6, (H, H)),
        rng.normal(0, 0.3, H),
    )
for k in "ifo":
    P[f"W_c{k}"] = rng.normal(0, 0.6, H)
x, dy = rng.normal(size=(T, B, I)), rng.normal(size=(T, B, H))
sig = lambda v: 1 / (1 + np.exp(-v))
h = c = np.zeros((B, H))
tape = []
y = []
for t in range(T):
    a = {k: x[t] @ P[f"W_x{k}"] + h @ P[f"W_h{k}"] + P[f"b_{k}"] for k in "ifco"}
    i, f, g = sig(a["i"] + c * P["W_ci"]), sig(a["f"] + c * P["W_cf"]), np.tanh(a["c"])
    n = f * c + i * g
    o = sig(a["o"] + n * P["W_co"])
    tape.append((h, c, i, f, g, o, n))
    h, c = o * np.tanh(n), n
    y.append(h)
D = {k: np.zeros_like(v) for k, v in P.items()}
dx = np.zeros_like(x)
dh = dc = np.zeros((B, H))
for t in reversed(range(T)):
    h, c, i, f, g, o, n = tape[t]
    dh = dh + dy[t]
    do = dh * np.tanh(n) * o * (1 - o)
    dc = dc + dh * o * (1 - np.tanh(n) ** 2) + do * P["W_co"]
    di, df, dg = dc * g * i * (1 - i), dc * c * f * (1 - f), dc * i * (1 - g * g)
    dh = 0
    for k, d in zip("ifco", (di, df, dg, do)):
        D[f"W_x{k}"] += x[t].T @ d
        D[f"W_h{k}"] += h.T @ d
        D[f"b_{k}"] += d.sum(0)
        dx[t] += d @ P[f"W_x{k}"].T
        dh = dh + d @ P[f"W_h{k}"].T
    D["W_ci"] += (di * c).sum(0)
    D["W_cf"] += (df * c).sum(0)
    D["W_co"] += (do * n).sum(0)
    dc = dc * f + di * P["W_ci"] + df * P["W_cf"]
case = {"weights": P, "grads": {"d" + k: v for k, v in D.items()} | {"x": dx}, "x": x, "dy": dy, "y": np.array(y)}
