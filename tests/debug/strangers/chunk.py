"""Truncated BPTT: the second chunk, states carried in from the first; names of torch cells; gradient stops at the chunk."""

import numpy as np

rng = np.random.default_rng(112)
T, B, I, H = 5, 3, 3, 4
weight_ih, weight_hh, bias = rng.normal(0, 0.6, (4 * H, I)), rng.normal(0, 0.6, (4 * H, H)), rng.normal(0, 0.3, 4 * H)
xs, dy = rng.normal(size=(2 * T, B, I)), rng.normal(size=(T, B, H))
sig = lambda v: 1 / (1 + np.exp(-v))


def run(x, h, c):
    K = []
    for xt in x:
        i, f, g, o = np.split(xt @ weight_ih.T + h @ weight_hh.T + bias, 4, 1)
        i, f, g, o = sig(i), sig(f), np.tanh(g), sig(o)
        n = f * c + i * g
        K.append((xt, h, c, i, f, g, o, n))
        h, c = o * np.tanh(n), n
    return K, h, c


_, h0, c0 = run(xs[:T], np.zeros((B, H)), np.zeros((B, H)))
x = xs[T:]
K, h1, c1 = run(x, h0, c0)
y = np.array([k[6] * np.tanh(k[7]) for k in K])
dWi, dWh, db, dx = 0 * weight_ih, 0 * weight_hh, 0 * bias, 0 * x
dh = dc = 0
for t in reversed(range(T)):
    xt, h, c, i, f, g, o, n = K[t]
    dh = dh + dy[t]
    dc = dc + dh * o * (1 - np.tanh(n) ** 2)
    d = np.hstack([dc * g * i * (1 - i), dc * c * f * (1 - f), dc * i * (1 - g * g), dh * np.tanh(n) * o * (1 - o)])
    dWi += d.T @ xt
    dWh += d.T @ h
    db += d.sum(0)
    dx[t] = d @ weight_ih
    dh, dc = d @ weight_hh, dc * f
case = {
    "weights": {"weight_ih": weight_ih, "weight_hh": weight_hh, "bias": bias},
    "grads": {"weight_ih": dWi, "weight_hh": dWh, "bias": db, "x": dx, "h0": dh, "c0": dc},
    "x": x,
    "dy": dy,
    "y": y,
    "state": (h0, c0),
}
