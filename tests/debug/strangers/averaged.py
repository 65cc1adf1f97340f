"""A mean squared error over all numbers, divided by T B H at once; many steps, forget bias 1 in the code."""

import numpy as np

rng = np.random.default_rng(209)
T, B, I, H = 7, 4, 3, 3
P = {"Wi": 0, "Wf": 0, "Wo": 0, "Wg": 0}
P = {k: rng.normal(0, 0.7, (I + H, H)) for k in P} | {k.replace("W", "b"): rng.normal(0, 0.3, H) for k in P}
x, target = rng.normal(size=(B, T, I)), rng.normal(size=(B, T, H))
sg = lambda v: 1 / (1 + np.exp(-v))
hs, cs, memo = [np.zeros((B, H))], [np.zeros((B, H))], []
for t in range(T):
    xh = np.concatenate([x[:, t], hs[-1]], 1)
    i, f, o = sg(xh @ P["Wi"] + P["bi"]), sg(xh @ P["Wf"] + P["bf"] + 1), sg(xh @ P["Wo"] + P["bo"])
    g = np.tanh(xh @ P["Wg"] + P["bg"])
    cs.append(cs[-1] * f + i * g)
    hs.append(np.tanh(cs[-1]) * o)
    memo.append((xh, i, f, o, g))
y = np.stack(hs[1:], 1)
dy = 2 * (y - target) / y.size
G = {k: np.zeros_like(v) for k, v in P.items()}
steps = {"da_" + k: np.zeros_like(dy) for k in "ifog"}
dx, dh, dc = np.zeros_like(x), np.zeros((B, H)), np.zeros((B, H))
for t in reversed(range(T)):
    xh, i, f, o, g = memo[t]
    dh = dh + dy[:, t]
    tc = np.tanh(cs[t + 1])
    dc = dc + dh * o * (1 - tc**2)
    da = {
        "i": dc * g * i * (1 - i),
        "f": dc * cs[t] * f * (1 - f),
        "o": dh * tc * o * (1 - o),
        "g": dc * i * (1 - g**2),
    }
    for k in da:
        steps["da_" + k][:, t] = da[k]
    dxh = sum(da[k] @ P["W" + k].T for k in da)
    for k in da:
        G["W" + k] += xh.T @ da[k]
        G["b" + k] += da[k].sum(0)
    dx[:, t], dh, dc = dxh[:, :I], dxh[:, I:], dc * f
case = {"weights": P, "grads": {"d" + k: v for k, v in G.items()} | {"x": dx}, "x": x, "dy": dy, "y": y}
