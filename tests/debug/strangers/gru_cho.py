"""Another function: the GRU of Cho et al. (2014), the reset gate before the product; Wz Uz bz, Wr Ur br, Wh Uh bh."""

import numpy as np

rng = np.random.default_rng(41)
T, B, I, H = 5, 2, 3, 4
p = {k + g: rng.normal(0, 0.5, s) for g in "zrh" for k, s in (("W", (I, H)), ("U", (H, H)), ("b", (H,)))}
x, dy = rng.normal(size=(T, B, I)), rng.normal(size=(T, B, H))
sig = lambda v: 1 / (1 + np.exp(-v))
h, tape, y = np.zeros((B, H)), [], []
for xt in x:
    z, r = (sig(xt @ p["W" + g] + h @ p["U" + g] + p["b" + g]) for g in "zr")
    n = np.tanh(xt @ p["Wh"] + (r * h) @ p["Uh"] + p["bh"])
    tape.append((xt, h, z, r, n))
    h = z * h + (1 - z) * n
    y.append(h)
d = {k: np.zeros_like(v) for k, v in p.items()}
dh, dx = np.zeros((B, H)), np.zeros_like(x)
for t in reversed(range(T)):
    xt, h, z, r, n = tape[t]
    dh = dh + dy[t]
    dn = dh * (1 - z) * (1 - n**2)
    dz = dh * (h - n) * z * (1 - z)
    drh = dn @ p["Uh"].T
    dr = drh * h * r * (1 - r)
    for g, a, left in (("z", dz, h), ("r", dr, h), ("h", dn, r * h)):
        d["W" + g] += xt.T @ a
        d["U" + g] += left.T @ a
        d["b" + g] += a.sum(0)
    dx[t] = dz @ p["Wz"].T + dr @ p["Wr"].T + dn @ p["Wh"].T
    dh = dh * z + dz @ p["Uz"].T + dr @ p["Ur"].T + drh * r
case = {"weights": p, "grads": {"d" + k: v for k, v in d.items()} | {"x": dx}, "x": x, "dy": dy, "y": np.array(y)}
