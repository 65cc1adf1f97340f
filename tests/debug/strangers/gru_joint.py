"""Another function: the same GRU over [r * h; x], columns; here 1 - z keeps the old state, as in Cho's paper and blogs."""

import numpy as np

rng = np.random.default_rng(42)
T, I, H = 6, 3, 4
Wz, Wr, Wh = rng.normal(0, 0.5, (3, H, H + I))
bz, br, bh = rng.normal(0, 0.3, (3, H, 1))
xs, dys = rng.normal(size=(T, I, 1)), rng.normal(size=(T, H, 1))
sig = lambda v: 1 / (1 + np.exp(-v))
h, tape, ys = np.zeros((H, 1)), [], []
for x in xs:
    hx = np.vstack([h, x])
    z, r = sig(Wz @ hx + bz), sig(Wr @ hx + br)
    rhx = np.vstack([r * h, x])
    n = np.tanh(Wh @ rhx + bh)
    tape.append((h, hx, z, r, rhx, n))
    h = (1 - z) * h + z * n
    ys.append(h)
G = {k: np.zeros_like(globals()[k]) for k in ("Wz", "Wr", "Wh", "bz", "br", "bh")}
dh, dxs = 0, np.zeros_like(xs)
for t in reversed(range(T)):
    h, hx, z, r, rhx, n = tape[t]
    dh = dh + dys[t]
    dn = dh * z * (1 - n**2)
    dz = dh * (n - h) * z * (1 - z)
    drhx = Wh.T @ dn
    dr = drhx[:H] * h * r * (1 - r)
    for k, a, left in (("z", dz, hx), ("r", dr, hx), ("h", dn, rhx)):
        G["W" + k] += a @ left.T
        G["b" + k] += a
    dhx = Wz.T @ dz + Wr.T @ dr
    dxs[t] = dhx[H:] + drhx[H:]
    dh = dh * (1 - z) + dhx[:H] + drhx[:H] * r
case = {"weights": {k: globals()[k] for k in G}, "grads": {"d" + k: v for k, v in G.items()} | {"x": dxs}}
case |= {"x": xs, "dy": dys, "y": np.array(ys)}
