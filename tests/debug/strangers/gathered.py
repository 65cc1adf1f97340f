"""Index tricks: all gates in one array (T, B, H, 4), slices by np.s_, da written in place of the gates, tensordot last."""

import numpy as np

rng = np.random.default_rng(27)
T, B, I, H = 6, 2, 3, 4
W, R, b = rng.normal(0, 0.5, (I, H, 4)), rng.normal(0, 0.5, (H, H, 4)), rng.normal(0, 0.3, (H, 4))
x, dy = rng.normal(size=(T, B, I)), rng.normal(size=(T, B, H))
i_, f_, g_, o_ = (np.s_[..., k] for k in range(4))
S, c, h = np.tensordot(x, W, 1) + b, np.zeros((T + 1, B, H)), np.zeros((T + 1, B, H))
sig = np.array([True, True, False, True])
for t in range(T):
    S[t] += np.tensordot(h[t], R, 1)
    S[t] = np.where(sig, 1 / (1 + np.exp(-S[t])), np.tanh(S[t]))
    c[t + 1] = S[t][f_] * c[t] + S[t][i_] * S[t][g_]
    h[t + 1] = S[t][o_] * np.tanh(c[t + 1])
slope = np.where(sig, S * (1 - S), 1 - S**2)
dh, dc = np.zeros((B, H)), np.zeros((B, H))
for t in range(T)[::-1]:
    gate = S[t].copy()
    dh = dh + dy[t]
    dc = dc + dh * gate[o_] * (1 - np.tanh(c[t + 1]) ** 2)
    S[t][i_] = dc * gate[g_]
    S[t][f_] = dc * c[t]
    S[t][g_] = dc * gate[i_]
    S[t][o_] = dh * np.tanh(c[t + 1])
    S[t] *= slope[t]
    dh = np.tensordot(S[t], R, ([1, 2], [1, 2]))
    dc = dc * gate[f_]
grads = {"W": np.tensordot(x, S, ([0, 1], [0, 1])), "R": np.tensordot(h[:-1], S, ([0, 1], [0, 1])), "b": S.sum((0, 1))}
grads["x"] = np.tensordot(S, W, ([2, 3], [1, 2]))
case = {"weights": {"W": W, "R": R, "b": b}, "grads": grads, "x": x, "dy": dy, "y": h[1:]}
