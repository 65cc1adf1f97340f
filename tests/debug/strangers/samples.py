"""One sample after the other, with gradients added up over the batch: stochastic gradient descent's loop outside."""

import numpy as np

rng = np.random.RandomState(26)
hidden, dim, count, length = 4, 2, 3, 6
Wxi, Wxf, Wxo, Wxc = (rng.randn(hidden, dim) / 2 for _ in range(4))
Whi, Whf, Who, Whc = (rng.randn(hidden, hidden) / 2 for _ in range(4))
bi, bf, bo, bc = (rng.randn(hidden) / 3 for _ in range(4))
X, DH = rng.randn(count, length, dim), rng.randn(count, length, hidden)
sigmoid = lambda v: 1 / (1 + np.exp(-v))
names = [k + g for g in "ifoc" for k in ("Wx", "Wh", "b")]
weights = {name: globals()[name] for name in names}
total, Y = {name: np.zeros_like(weights[name]) for name in names}, np.zeros_like(DH)
for n in range(count):
    x, hs, cs = X[n], np.zeros((length + 1, hidden)), np.zeros((length + 1, hidden))
    gi, gf, go, gc = (np.zeros((length, hidden)) for _ in range(4))
    for t in range(length):
        gi[t] = sigmoid(Wxi @ x[t] + Whi @ hs[t - 1] + bi)
        gf[t] = sigmoid(Wxf @ x[t] + Whf @ hs[t - 1] + bf)
        go[t] = sigmoid(Wxo @ x[t] + Who @ hs[t - 1] + bo)
        gc[t] = np.tanh(Wxc @ x[t] + Whc @ hs[t - 1] + bc)
        cs[t] = gf[t] * cs[t - 1] + gi[t] * gc[t]
        hs[t] = go[t] * np.tanh(cs[t])
    Y[n] = hs[:length]
    dh_next, dc_next = np.zeros(hidden), np.zeros(hidden)
    for t in np.arange(length)[::-1]:
        dh = DH[n, t] + dh_next
        tanh_c = np.tanh(cs[t])
        dc = dc_next + dh * go[t] * (1 - tanh_c**2)
        d = {"o": dh * tanh_c * go[t] * (1 - go[t]), "f": dc * cs[t - 1] * gf[t] * (1 - gf[t])}
        d["i"] = dc * gc[t] * gi[t] * (1 - gi[t])
        d["c"] = dc * gi[t] * (1 - gc[t] ** 2)
        for g in d:
            total["Wx" + g] += np.outer(d[g], x[t])
            total["Wh" + g] += np.outer(d[g], hs[t - 1])
            total["b" + g] += d[g]
        dh_next = sum(weights["Wh" + g].T @ d[g] for g in d)
        dc_next = gf[t] * dc
case = {"weights": weights, "grads": {"d" + k: v for k, v in total.items()}, "x": X, "dy": DH, "y": Y}
