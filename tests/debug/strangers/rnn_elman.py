"""Elman's network of a lecture: W_xh (H, I), W_hh, b_h columns, one sequence, dicts by time, relu off."""

import numpy as np

rng = np.random.default_rng(211)
T, I, H = 9, 3, 4
W_xh, W_hh, b_h = rng.normal(0, 0.5, (H, I)), rng.normal(0, 0.5, (H, H)), rng.normal(0, 0.3, (H, 1))
x, dy = rng.normal(size=(T, I)), rng.normal(size=(T, H))
h = {-1: np.zeros((H, 1))}
for t in range(T):
    h[t] = np.tanh(W_xh @ x[t][:, None] + W_hh @ h[t - 1] + b_h)
dW_xh, dW_hh, db_h, dx, dh_next = 0 * W_xh, 0 * W_hh, 0 * b_h, [], np.zeros((H, 1))
for t in reversed(range(T)):
    dh = dy[t][:, None] + dh_next
    dz = dh * (1 - h[t] ** 2)
    dW_xh += dz @ x[t][None]
    dW_hh += dz @ h[t - 1].T
    db_h += dz
    dx.insert(0, (W_xh.T @ dz)[:, 0])
    dh_next = W_hh.T @ dz
case = {
    "weights": {"W_xh": W_xh, "W_hh": W_hh, "b_h": b_h},
    "grads": {"dW_xh": dW_xh, "dW_hh": dW_hh, "db_h": db_h, "dx": np.array(dx)},
    "x": x,
    "dy": dy,
    "y": np.hstack([h[t] for t in range(T)]).T,
}
