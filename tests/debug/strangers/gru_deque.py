"""A GRU, reset after the product, caches in a deque, two biases, sigmoid by tanh, (out, in), order z r n."""

from collections import deque

import numpy as np

rng = np.random.default_rng(210)
B, T, I, H = 2, 6, 3, 4
w, u = rng.normal(0, 0.6, (3 * H, I)), rng.normal(0, 0.6, (3 * H, H))
b, c = rng.normal(0, 0.3, 3 * H), rng.normal(0, 0.3, 3 * H)
x, dy = rng.normal(size=(B, T, I)), rng.normal(size=(B, T, H))
sg = lambda v: (np.tanh(v / 2) + 1) / 2
h, memory, ys = np.zeros((B, H)), deque(), []
for t in range(T):
    p, q = x[:, t] @ w.T + b, h @ u.T + c
    z, r = sg(p[:, :H] + q[:, :H]), sg(p[:, H : 2 * H] + q[:, H : 2 * H])
    n = np.tanh(p[:, 2 * H :] + r * q[:, 2 * H :])
    memory.append((h, z, r, n, q[:, 2 * H :]))
    h = z * h + (1 - z) * n
    ys.append(h)
dw, du, db, dc, dx, dh = 0 * w, 0 * u, 0 * b, 0 * c, 0 * x, np.zeros((B, H))
t = T
while memory:
    t -= 1
    h, z, r, n, m = memory.pop()
    dh = dh + dy[:, t]
    dn = dh * (1 - z) * (1 - n * n)
    dz = dh * (h - n) * z * (1 - z)
    dr = dn * m * r * (1 - r)
    dp, dq = np.hstack([dz, dr, dn]), np.hstack([dz, dr, dn * r])
    dw += dp.T @ x[:, t]
    du += dq.T @ h
    db += dp.sum(0)
    dc += dq.sum(0)
    dx[:, t] = dp @ w
    dh = dh * z + dq @ u
case = {"weights": {"w": w, "u": u, "b": b, "c": c}, "grads": {"w": dw, "u": du, "b": db, "c": dc, "x": dx}}
case |= {"x": x, "dy": dy, "y": np.stack(ys, 1)}
