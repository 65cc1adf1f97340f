"""A GRU as Keras has it with reset_after: z r h, bias (2, 3U), batch first."""

import numpy as np

rng = np.random.default_rng(30)
B, T, I, U = 2, 5, 3, 4
K, R, b = rng.normal(0, 0.6, (I, 3 * U)), rng.normal(0, 0.6, (U, 3 * U)), rng.normal(0, 0.3, (2, 3 * U))
x, dy = rng.normal(size=(B, T, I)), rng.normal(size=(B, T, U))
h, out, kept = np.zeros((B, U)), np.zeros((B, T, U)), []
for t in range(T):
    xz, xr, xh = np.split(x[:, t] @ K + b[0], 3, axis=1)
    rz, rr, rh = np.split(h @ R + b[1], 3, axis=1)
    z, r = 1 / (1 + np.exp(-xz - rz)), 1 / (1 + np.exp(-xr - rr))
    hh = np.tanh(xh + r * rh)
    kept.append((h, z, r, hh, rh))
    h = z * h + (1 - z) * hh
    out[:, t] = h
dK, dR, db, dx, dh = np.zeros_like(K), np.zeros_like(R), np.zeros_like(b), np.zeros_like(x), np.zeros((B, U))
for t in range(T)[::-1]:
    h, z, r, hh, rh = kept[t]
    dh = dh + dy[:, t]
    dhh = dh * (1 - z) * (1 - hh**2)
    dz = dh * (h - hh) * z * (1 - z)
    dr = dhh * rh * r * (1 - r)
    from_x, from_h = np.concatenate([dz, dr, dhh], 1), np.concatenate([dz, dr, dhh * r], 1)
    dK += x[:, t].T @ from_x
    dR += h.T @ from_h
    db += np.stack([from_x.sum(0), from_h.sum(0)])
    dx[:, t] = from_x @ K.T
    dh = dh * z + from_h @ R.T
weights = {"kernel": K, "recurrent_kernel": R, "bias": b}
case = {"weights": weights, "grads": {"kernel": dK, "recurrent_kernel": dR, "bias": db, "x": dx}}
case |= {"x": x, "dy": dy, "y": out, "layout": "keras"}
