"""A GRU with matrices of its own for each gate, columns, the reset gate after the product, one bias each but for h."""

import numpy as np

randn = np.random.RandomState(31).randn
n, k, T = 3, 4, 6
Wz, Wr, Wh = (randn(k, n) / 2 for _ in range(3))
Uz, Ur, Uh = (randn(k, k) / 2 for _ in range(3))
bz, br, bh = (randn(k, 1) / 3 for _ in range(3))
xs, dhs = [randn(n, 1) for _ in range(T)], [randn(k, 1) for _ in range(T)]
sig = lambda v: 1 / (1 + np.exp(-v))
h, zs, rs, ns, us = {-1: np.zeros((k, 1))}, {}, {}, {}, {}
for t in range(T):
    zs[t] = sig(Wz @ xs[t] + Uz @ h[t - 1] + bz)
    rs[t] = sig(Wr @ xs[t] + Ur @ h[t - 1] + br)
    us[t] = Uh @ h[t - 1]
    ns[t] = np.tanh(Wh @ xs[t] + rs[t] * us[t] + bh)
    h[t] = zs[t] * h[t - 1] + (1 - zs[t]) * ns[t]
G = {name: np.zeros_like(globals()[name]) for name in "Wz Wr Wh Uz Ur Uh bz br bh".split()}
dnext, dxs = np.zeros((k, 1)), [None] * T
for t in reversed(range(T)):
    z, r, m = zs[t], rs[t], ns[t]
    dh = dhs[t] + dnext
    dm = dh * (1 - z) * (1 - m * m)
    dz = dh * (h[t - 1] - m) * z * (1 - z)
    dr = dm * us[t] * r * (1 - r)
    for g, d in (("z", dz), ("r", dr), ("h", dm)):
        G["W" + g] += d @ xs[t].T
        G["b" + g] += d
    G["Uz"] += dz @ h[t - 1].T
    G["Ur"] += dr @ h[t - 1].T
    G["Uh"] += (dm * r) @ h[t - 1].T
    dxs[t] = Wz.T @ dz + Wr.T @ dr + Wh.T @ dm
    dnext = dh * z + Uz.T @ dz + Ur.T @ dr + Uh.T @ (dm * r)
weights = {name: globals()[name] for name in G}
grads = {"d" + name: value for name, value in G.items()} | {"x": np.array(dxs)}
case = {"weights": weights, "grads": grads, "x": np.array(xs), "dy": np.array(dhs)}
case["y"] = np.array([h[t] for t in range(T)])
