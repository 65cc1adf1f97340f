"""Keras by hand: kernel, recurrent_kernel, bias in the order i f c o, batch first, float32."""

import numpy as np

rng = np.random.default_rng(25)
B, T, I, U = 3, 5, 4, 4
draw = lambda *shape: rng.standard_normal(shape).astype("float32")
kernel, recurrent_kernel, bias = draw(I, 4 * U) / 2, draw(U, 4 * U) / 2, draw(4 * U) / 4
x, grad_y = draw(B, T, I), draw(B, T, U)
h = c = np.zeros((B, U), "float32")
ys, saved = [], []
for t in range(T):
    z0, z1, z2, z3 = np.split(x[:, t] @ kernel + h @ recurrent_kernel + bias, 4, axis=-1)
    i, f, cc, o = 1 / (1 + np.exp(-z0)), 1 / (1 + np.exp(-z1)), np.tanh(z2), 1 / (1 + np.exp(-z3))
    saved.append((h, c, i, f, cc, o, f * c + i * cc))
    c = saved[-1][-1]
    h = o * np.tanh(c)
    ys.append(h)
dk, dr, db, dx = np.zeros_like(kernel), np.zeros_like(recurrent_kernel), np.zeros_like(bias), np.zeros_like(x)
dh = dc = np.zeros((B, U), "float32")
for t in range(T - 1, -1, -1):
    h, c, i, f, cc, o, c_t = saved[t]
    dh = dh + grad_y[:, t]
    dc = dc + dh * o * (1 - np.tanh(c_t) ** 2)
    dz0 = dc * cc * i * (1 - i)
    dz1 = dc * c * f * (1 - f)
    dz2 = dc * i * (1 - cc**2)
    dz3 = dh * np.tanh(c_t) * o * (1 - o)
    dz = np.concatenate([dz0, dz1, dz2, dz3], axis=-1)
    dk += x[:, t].T @ dz
    dr += h.T @ dz
    db += dz.sum(axis=0)
    dx[:, t] = dz @ kernel.T
    dh = dz @ recurrent_kernel.T
    dc = dc * f
weights = {"kernel": kernel, "recurrent_kernel": recurrent_kernel, "bias": bias}
grads = {"kernel": dk, "recurrent_kernel": dr, "bias": db, "x": dx}
case = {"weights": weights, "grads": grads, "x": x, "dy": grad_y, "y": np.stack(ys, 1), "layout": "keras"}
