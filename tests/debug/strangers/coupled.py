"""Another function: no input gate of its own, i = 1 - f (Greff et al. 2017), so three matrices over [h, x]."""

import numpy as np

rng = np.random.default_rng(40)
n_x, n_h, T = 3, 4, 6
Wf, Wc, Wo = rng.normal(0, 0.6, (3, n_h, n_h + n_x))
bf, bc, bo = rng.normal(0, 0.3, (3, n_h, 1))
xs, dhs = rng.normal(size=(T, n_x, 1)), rng.normal(size=(T, n_h, 1))
sig = lambda v: 1 / (1 + np.exp(-v))
h = c = np.zeros((n_h, 1))
tape, ys = [], []
for x in xs:
    z = np.vstack([h, x])
    f, g, o = sig(Wf @ z + bf), np.tanh(Wc @ z + bc), sig(Wo @ z + bo)
    new = f * c + (1 - f) * g
    tape.append((z, f, g, o, c, new))
    h, c = o * np.tanh(new), new
    ys.append(h)
G = {k: np.zeros_like(globals()[k]) for k in ("Wf", "Wc", "Wo", "bf", "bc", "bo")}
dh, dc, dxs = 0, 0, np.zeros_like(xs)
for t in reversed(range(T)):
    z, f, g, o, c, new = tape[t]
    dh = dh + dhs[t]
    dc = dc + dh * o * (1 - np.tanh(new) ** 2)
    d = {"f": dc * (c - g) * f * (1 - f), "c": dc * (1 - f) * (1 - g**2), "o": dh * np.tanh(new) * o * (1 - o)}
    for k in d:
        G["W" + k] += d[k] @ z.T
        G["b" + k] += d[k]
    dz = Wf.T @ d["f"] + Wc.T @ d["c"] + Wo.T @ d["o"]
    dh, dxs[t], dc = dz[:n_h], dz[n_h:], dc * f
case = {"weights": {k: globals()[k] for k in G}, "grads": {"d" + k: v for k, v in G.items()} | {"x": dxs}}
case |= {"x": xs, "dy": dhs, "y": np.array(ys)}
