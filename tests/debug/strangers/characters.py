"""A character LSTM: a dictionary of parameters, one long string as one-hot columns, dicts by time, W over [h; x],
softmax and cross-entropy on top, of which dy is what the program has; clipping left out."""

import numpy as np

np.random.seed(11)
text = "hello world"
chars = sorted(set(text))
V, N, S = len(chars), 4, 6
to_ix = {ch: k for k, ch in enumerate(chars)}
p = {"W" + k: np.random.randn(N, N + V) * 0.5 for k in "fiCo"} | {"b" + k: np.random.randn(N, 1) * 0.2 for k in "fiCo"}
Wv, bv = np.random.randn(V, N) * 0.5, np.zeros((V, 1))
sig, dsig, dtanh = lambda v: 1 / (1 + np.exp(-v)), lambda s: s * (1 - s), lambda s: 1 - s * s
inputs, targets = [to_ix[ch] for ch in text[:S]], [to_ix[ch] for ch in text[1 : S + 1]]

x, z, f, i, C_bar, C, o, h, probs = {}, {}, {}, {}, {}, {-1: np.zeros((N, 1))}, {}, {-1: np.zeros((N, 1))}, {}
for t in range(S):
    x[t] = np.zeros((V, 1))
    x[t][inputs[t]] = 1
    z[t] = np.vstack((h[t - 1], x[t]))
    f[t], i[t] = sig(p["Wf"] @ z[t] + p["bf"]), sig(p["Wi"] @ z[t] + p["bi"])
    C_bar[t], o[t] = np.tanh(p["WC"] @ z[t] + p["bC"]), sig(p["Wo"] @ z[t] + p["bo"])
    C[t] = f[t] * C[t - 1] + i[t] * C_bar[t]
    h[t] = o[t] * np.tanh(C[t])
    e = np.exp(Wv @ h[t] + bv)
    probs[t] = e / e.sum()

g = {"d" + k: np.zeros_like(v) for k, v in p.items()}
dy, dh_next, dC_next, seen = np.zeros((S, N, 1)), np.zeros((N, 1)), np.zeros((N, 1)), []
for t in reversed(range(S)):
    dv = np.copy(probs[t])
    dv[targets[t]] -= 1
    dy[t] = Wv.T @ dv
    dh = dy[t] + dh_next
    do = dsig(o[t]) * dh * np.tanh(C[t])
    dC = np.copy(dC_next)
    dC += dh * o[t] * dtanh(np.tanh(C[t]))
    dC_bar = dtanh(C_bar[t]) * dC * i[t]
    di = dsig(i[t]) * dC * C_bar[t]
    df = dsig(f[t]) * dC * C[t - 1]
    seen.insert(0, {"dh": dh, "dc": dC, "da_f": df, "da_i": di, "da_g": dC_bar, "da_o": do})
    for k, d in zip("fiCo", (df, di, dC_bar, do)):
        g["dW" + k] += d @ z[t].T
        g["db" + k] += d
    dz = p["Wf"].T @ df + p["Wi"].T @ di + p["WC"].T @ dC_bar + p["Wo"].T @ do
    dh_next = dz[:N, :]
    dC_next = f[t] * dC
case = {"weights": p, "grads": g, "x": np.stack([x[t] for t in range(S)]), "dy": dy}
case["y"] = np.stack([h[t] for t in range(S)])
steps = {k: np.stack([step[k] for step in seen]) for k in seen[0]}
