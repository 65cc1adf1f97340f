"""GRU, reset before the product, Wz Wr Wh Uz Ur Uh, h = (1 - z) h + z n."""

import numpy as np

rng = np.random.default_rng(108)
T, B, I, H = 5, 3, 3, 4
P = {n + k: rng.normal(0, 0.7, s) for k in "zrh" for n, s in (("W", (I, H)), ("U", (H, H)), ("b", (H,)))}
x, dy = rng.normal(size=(T, B, I)), rng.normal(size=(T, B, H))
sig = lambda v: 1 / (1 + np.exp(-v))
h = [np.zeros((B, H))]
K = []
for t in range(T):
    z, r = (sig(x[t] @ P["W" + k] + h[-1] @ P["U" + k] + P["b" + k]) for k in "zr")
    n = np.tanh(x[t] @ P["Wh"] + (r * h[-1]) @ P["Uh"] + P["bh"])
    K.append((z, r, n))
    h.append((1 - z) * h[-1] + z * n)
D = {k: 0 * v for k, v in P.items()}
dx = 0 * x
dh = 0
for t in reversed(range(T)):
    z, r, n = K[t]
    hp = h[t]
    dh = dh + dy[t]
    dn = dh * z * (1 - n * n)
    dz = dh * (n - hp) * z * (1 - z)
    drh = dn @ P["Uh"].T
    dr = drh * hp * r * (1 - r)
    dhp = dh * (1 - z) + drh * r
    for k, d, s in (("z", dz, hp), ("r", dr, hp), ("h", dn, r * hp)):
        D["W" + k] += x[t].T @ d
        D["U" + k] += s.T @ d
        D["b" + k] += d.sum(0)
        dx[t] += d @ P["W" + k].T
    dh = dhp + dz @ P["Uz"].T + dr @ P["Ur"].T
case = {"weights": P, "grads": {"d" + k: v for k, v in D.items()} | {"x": dx}, "x": x, "dy": dy, "y": np.array(h[1:])}
