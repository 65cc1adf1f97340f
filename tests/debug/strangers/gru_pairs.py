"""A GRU in two products: r and z together (D, 2H), the candidate alone; reset before."""

import numpy as np

rng = np.random.default_rng(203)
sig = lambda v: 1 / (1 + np.exp(-v))
N, T, D, H = 3, 4, 2, 3
Wzx, Wzh, bz = rng.normal(0, 0.7, (D, 2 * H)), rng.normal(0, 0.7, (H, 2 * H)), rng.normal(0, 0.3, 2 * H)
Wax, War, ba = rng.normal(0, 0.7, (D, H)), rng.normal(0, 0.7, (H, H)), rng.normal(0, 0.3, H)
x, dout = rng.normal(size=(N, T, D)), rng.normal(size=(N, T, H))
h, kept, out = np.zeros((N, H)), [], []
for t in range(T):
    z_hat = x[:, t] @ Wzx + h @ Wzh + bz
    r, z = sig(z_hat[:, :H]), sig(z_hat[:, H:])
    a = x[:, t] @ Wax + (r * h) @ War + ba
    kept.append((h, r, z, a))
    h = h * (1.0 - z) + z * np.tanh(a)
    out.append(h)
g = {k: np.zeros_like(v) for k, v in {"Wzx": Wzx, "Wzh": Wzh, "bz": bz, "Wax": Wax, "War": War, "ba": ba}.items()}
dx, dh = np.zeros_like(x), 0
for t in reversed(range(T)):
    prev, r, z, a = kept[t]
    dh = dh + dout[:, t]
    da = dh * z * (1 - np.tanh(a) ** 2)
    g["Wax"] += x[:, t].T @ da
    g["War"] += (r * prev).T @ da
    g["ba"] += da.sum(0)
    drh = da @ War.T
    dgates = np.hstack([drh * prev * r * (1 - r), dh * (np.tanh(a) - prev) * z * (1 - z)])
    g["Wzx"] += x[:, t].T @ dgates
    g["Wzh"] += prev.T @ dgates
    g["bz"] += dgates.sum(0)
    dx[:, t] = da @ Wax.T + dgates @ Wzx.T
    dh = dh * (1 - z) + drh * r + dgates @ Wzh.T
case = {
    "weights": {"Wzx": Wzx, "Wzh": Wzh, "bz": bz, "Wax": Wax, "War": War, "ba": ba},
    "grads": {"d" + k: v for k, v in g.items()} | {"dx": dx},
    "x": x,
    "dy": dout,
    "y": np.stack(out, 1),
}
