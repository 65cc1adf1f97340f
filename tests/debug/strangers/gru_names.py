"""A GRU as PyTorch has it, r z n with two biases, in plain NumPy."""

import numpy as np

rng = np.random.default_rng(29)
T, B, I, H = 5, 2, 3, 4
wi, wh, bi, bh = (rng.normal(0, 0.5, s) for s in ((3 * H, I), (3 * H, H), (3 * H,), (3 * H,)))
x, dy = rng.normal(size=(T, B, I)), rng.normal(size=(T, B, H))
sigm = lambda v: 1 / (1 + np.exp(-v))
hs, mem = [np.zeros((B, H))], []
for t in range(T):
    gi, gh = x[t] @ wi.T + bi, hs[-1] @ wh.T + bh
    r, z = sigm(gi[:, :H] + gh[:, :H]), sigm(gi[:, H : 2 * H] + gh[:, H : 2 * H])
    m = gh[:, 2 * H :]
    n = np.tanh(gi[:, 2 * H :] + r * m)
    hs.append((1 - z) * n + z * hs[-1])
    mem.append((r, z, n, m))
dwi, dwh, dbi, dbh, dx = (np.zeros_like(v) for v in (wi, wh, bi, bh, x))
dh = np.zeros((B, H))
for t in reversed(range(T)):
    r, z, n, m = mem[t]
    dh = dh + dy[t]
    dn = dh * (1 - z)
    dz = dh * (hs[t] - n)
    dan = dn * (1 - n**2)
    dr = dan * m
    daz = dz * z * (1 - z)
    dar = dr * r * (1 - r)
    dgi, dgh = np.hstack([dar, daz, dan]), np.hstack([dar, daz, dan * r])
    dwi += dgi.T @ x[t]
    dwh += dgh.T @ hs[t]
    dbi += dgi.sum(0)
    dbh += dgh.sum(0)
    dx[t] = dgi @ wi
    dh = dh * z + dgh @ wh
names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
case = {"weights": dict(zip(names, (wi, wh, bi, bh))), "grads": dict(zip(names, (dwi, dwh, dbi, dbh))) | {"x": dx}}
case |= {"x": x, "dy": dy, "y": np.array(hs[1:]), "layout": "torch"}
