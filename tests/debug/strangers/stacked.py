"""Two layers in one loop, names of PyTorch's state_dict, a gradient that runs down through both."""

import numpy as np

rng = np.random.default_rng(21)
T, B, I, H, L = 4, 2, 3, 3, 2
P = {}
for layer in range(L):
    width = I if layer == 0 else H
    P[f"weight_ih_l{layer}"], P[f"weight_hh_l{layer}"] = (
        rng.normal(0, 0.6, (4 * H, width)),
        rng.normal(0, 0.6, (4 * H, H)),
    )
    P[f"bias_ih_l{layer}"], P[f"bias_hh_l{layer}"] = rng.normal(0, 0.3, 4 * H), rng.normal(0, 0.3, 4 * H)
x, dy = rng.normal(size=(T, B, I)), rng.normal(size=(T, B, H))


def gates(a):
    i, f, g, o = np.split(a, 4, axis=-1)
    return *(1 / (1 + np.exp(-v)) for v in (i, f)), np.tanh(g), 1 / (1 + np.exp(-o))


h, c = np.zeros((L, T + 1, B, H)), np.zeros((L, T + 1, B, H))
for t in range(T):
    below = x[t]
    for n in range(L):
        a = below @ P[f"weight_ih_l{n}"].T + P[f"bias_ih_l{n}"] + h[n, t] @ P[f"weight_hh_l{n}"].T + P[f"bias_hh_l{n}"]
        i, f, g, o = gates(a)
        c[n, t + 1] = f * c[n, t] + i * g
        h[n, t + 1] = below = o * np.tanh(c[n, t + 1])
G = {k: np.zeros_like(v) for k, v in P.items()}
dx, dh, dc = np.zeros_like(x), np.zeros((L, B, H)), np.zeros((L, B, H))
for t in reversed(range(T)):
    above = dy[t]
    for n in reversed(range(L)):
        below = x[t] if n == 0 else h[n - 1, t + 1]
        a = below @ P[f"weight_ih_l{n}"].T + P[f"bias_ih_l{n}"] + h[n, t] @ P[f"weight_hh_l{n}"].T + P[f"bias_hh_l{n}"]
        i, f, g, o = gates(a)
        d, tc = dh[n] + above, np.tanh(c[n, t + 1])
        s = dc[n] + d * o * (1 - tc**2)
        da = [s * g * i * (1 - i), s * c[n, t] * f * (1 - f), s * i * (1 - g**2), d * tc * o * (1 - o)]
        da = np.concatenate(da, axis=-1)
        G[f"weight_ih_l{n}"] += da.T @ below
        G[f"weight_hh_l{n}"] += da.T @ h[n, t]
        G[f"bias_ih_l{n}"] += da.sum(0)
        G[f"bias_hh_l{n}"] += da.sum(0)
        above = da @ P[f"weight_ih_l{n}"]
        dh[n], dc[n] = da @ P[f"weight_hh_l{n}"], s * f
    dx[t] = above
case = {"weights": P, "grads": G | {"x": dx}, "x": x, "dy": dy, "y": h[-1, 1:], "layout": "torch"}
