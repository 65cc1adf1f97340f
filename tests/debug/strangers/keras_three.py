"""Keras kernels, batch major, hard sigmoid relu6(a + 3) / 6 (Keras 3), order i f c o."""

import numpy as np

rng = np.random.default_rng(103)
B, T, I, H = 3, 5, 4, 3
kernel, recurrent_kernel, bias = (
    rng.normal(0, 1.2, (I, 4 * H)),
    rng.normal(0, 1.2, (H, 4 * H)),
    rng.normal(0, 0.5, 4 * H),
)
x, dy = rng.normal(size=(B, T, I)), rng.normal(size=(B, T, H))
act = lambda v: np.minimum(np.maximum(v + 3, 0), 6) / 6
slope = lambda v: ((v > -3) & (v < 3)) / 6
h = c = np.zeros((B, H))
keep, out = [], []
for t in range(T):
    z = x[:, t] @ kernel + h @ recurrent_kernel + bias
    zi, zf, zc, zo = np.split(z, 4, 1)
    c_new = act(zf) * c + act(zi) * np.tanh(zc)
    keep.append((h, c, zi, zf, zc, zo, c_new))
    h, c = act(zo) * np.tanh(c_new), c_new
    out.append(h)
gk, gr, gb, gx = 0 * kernel, 0 * recurrent_kernel, 0 * bias, 0 * x
dh = dc = np.zeros((B, H))
for t in range(T - 1, -1, -1):
    h, c, zi, zf, zc, zo, c_new = keep[t]
    dh = dh + dy[:, t]
    dc = dc + dh * act(zo) * (1 - np.tanh(c_new) ** 2)
    dz = np.concatenate(
        [
            dc * np.tanh(zc) * slope(zi),
            dc * c * slope(zf),
            dc * act(zi) * (1 - np.tanh(zc) ** 2),
            dh * np.tanh(c_new) * slope(zo),
        ],
        1,
    )
    gk += x[:, t].T @ dz
    gr += h.T @ dz
    gb += dz.sum(0)
    gx[:, t] = dz @ kernel.T
    dh, dc = dz @ recurrent_kernel.T, dc * act(zf)
case = {
    "weights": {"kernel": kernel, "recurrent_kernel": recurrent_kernel, "bias": bias},
    "grads": {"kernel": gk, "recurrent_kernel": gr, "bias": gb, "x": gx},
    "x": x,
    "dy": dy,
    "y": np.stack(out, 1),
}
