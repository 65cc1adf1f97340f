"""Many to one: only the last h is used, and so has a gradient; a mean of squares on top; an initial state."""

import numpy as np

gen = np.random.default_rng(24)
n, d, k, steps_ = 3, 2, 5, 7
W_f, W_i, W_g, W_o = (gen.normal(0, 0.5, (d, k)) for _ in range(4))
U_f, U_i, U_g, U_o = (gen.normal(0, 0.5, (k, k)) for _ in range(4))
b_f, b_i, b_g, b_o = (gen.normal(0, 0.2, (1, k)) for _ in range(4))
seq, target = gen.normal(size=(steps_, n, d)), gen.normal(size=(n, k))
h0, c0 = gen.normal(size=(n, k)), gen.normal(size=(n, k))
sigmoid = lambda v: 1 / (1 + np.exp(-v))
F, In, G, O, C, Hid = [], [], [], [], [c0], [h0]
for x in seq:
    F.append(sigmoid(x @ W_f + Hid[-1] @ U_f + b_f))
    In.append(sigmoid(x @ W_i + Hid[-1] @ U_i + b_i))
    G.append(np.tanh(x @ W_g + Hid[-1] @ U_g + b_g))
    O.append(sigmoid(x @ W_o + Hid[-1] @ U_o + b_o))
    C.append(F[-1] * C[-1] + In[-1] * G[-1])
    Hid.append(O[-1] * np.tanh(C[-1]))
dlast = 2 * (Hid[-1] - target) / n
dh, dc = dlast, np.zeros_like(c0)
grads = {w + "_" + g: 0 for w in "WUb" for g in "figo"}
for t in range(steps_, 0, -1):
    f, i, g, o = F[t - 1], In[t - 1], G[t - 1], O[t - 1]
    dc = dc + dh * o * (1 - np.tanh(C[t]) ** 2)
    a = {"o": dh * np.tanh(C[t]) * o * (1 - o)}
    a["f"] = dc * C[t - 1] * f * (1 - f)
    a["i"] = dc * g * i * (1 - i)
    a["g"] = dc * i * (1 - g * g)
    for q in a:
        grads["W_" + q] = grads["W_" + q] + seq[t - 1].T @ a[q]
        grads["U_" + q] = grads["U_" + q] + Hid[t - 1].T @ a[q]
        grads["b_" + q] = grads["b_" + q] + a[q].sum(0, keepdims=True)
    dh = a["f"] @ U_f.T + a["i"] @ U_i.T + a["g"] @ U_g.T + a["o"] @ U_o.T
    dc = dc * f
case = {
    "weights": {w + "_" + g: globals()[w + "_" + g] for w in "WUb" for g in "figo"},
    "grads": grads | {"h0": dh, "c0": dc},
    "x": seq,
    "dy": dlast,
    "state": (h0, c0),
}
