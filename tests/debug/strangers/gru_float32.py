"""GRU, reset after the product, torch like but own names and float32."""

import numpy as np

rng = np.random.default_rng(109)
T, B, I, H = 6, 2, 4, 3
F = "float32"
w_ih, w_hh, b_ih, b_hh = (rng.normal(0, 0.6, s).astype(F) for s in ((3 * H, I), (3 * H, H), (3 * H,), (3 * H,)))
x, dy = rng.normal(size=(T, B, I)).astype(F), rng.normal(size=(T, B, H)).astype(F)
sig = lambda v: 1 / (1 + np.exp(-v))
h = [np.zeros((B, H), F)]
K = []
for t in range(T):
    gi, gh = x[t] @ w_ih.T + b_ih, h[-1] @ w_hh.T + b_hh
    r, z = sig(gi[:, :H] + gh[:, :H]), sig(gi[:, H : 2 * H] + gh[:, H : 2 * H])
    n = np.tanh(gi[:, 2 * H :] + r * gh[:, 2 * H :])
    K.append((r, z, n, gh[:, 2 * H :]))
    h.append((1 - z) * n + z * h[-1])
dwi, dwh, dbi, dbh, dx, dh = 0 * w_ih, 0 * w_hh, 0 * b_ih, 0 * b_hh, 0 * x, 0
for t in reversed(range(T)):
    r, z, n, m = K[t]
    dh = dh + dy[t]
    dn = dh * (1 - z) * (1 - n * n)
    dz = dh * (h[t] - n) * z * (1 - z)
    dr = dn * m * r * (1 - r)
    di, dhh = np.hstack([dr, dz, dn]), np.hstack([dr, dz, dn * r])
    dwi += di.T @ x[t]
    dwh += dhh.T @ h[t]
    dbi += di.sum(0)
    dbh += dhh.sum(0)
    dx[t] = di @ w_ih
    dh = dh * z + dhh @ w_hh
case = {
    "weights": {"w_ih": w_ih, "w_hh": w_hh, "b_ih": b_ih, "b_hh": b_hh},
    "grads": {"w_ih": dwi, "w_hh": dwh, "b_ih": dbi, "b_hh": dbh, "x": dx},
    "x": x,
    "dy": dy,
    "y": np.array(h[1:]),
}
