"""A class per layer that holds params and grads as lists, Time layers outside; N first, order f g i o, no dx of c."""

import numpy as np

rng = np.random.default_rng(201)
sig = lambda v: 1 / (1 + np.exp(-v))


class LSTM:
    def __init__(self, Wx, Wh, b):
        self.params = [Wx, Wh, b]
        self.grads = [np.zeros_like(Wx), np.zeros_like(Wh), np.zeros_like(b)]

    def forward(self, x, h_prev, c_prev):
        Wx, Wh, b = self.params
        H = h_prev.shape[1]
        A = np.dot(x, Wx) + np.dot(h_prev, Wh) + b
        f, g, i, o = A[:, :H], A[:, H : 2 * H], A[:, 2 * H : 3 * H], A[:, 3 * H :]
        f, g, i, o = sig(f), np.tanh(g), sig(i), sig(o)
        c_next = f * c_prev + g * i
        h_next = o * np.tanh(c_next)
        self.cache = (x, h_prev, c_prev, i, f, g, o, c_next)
        return h_next, c_next

    def backward(self, dh_next, dc_next):
        Wx, Wh, b = self.params
        x, h_prev, c_prev, i, f, g, o, c_next = self.cache
        tanh_c_next = np.tanh(c_next)
        ds = dc_next + (dh_next * o) * (1 - tanh_c_next**2)
        dc_prev = ds * f
        di = ds * g
        df = ds * c_prev
        do = dh_next * tanh_c_next
        dg = ds * i
        di *= i * (1 - i)
        df *= f * (1 - f)
        do *= o * (1 - o)
        dg *= 1 - g**2
        dA = np.hstack((df, dg, di, do))
        self.inside = {"dc": ds, "da_f": df, "da_g": dg, "da_i": di, "da_o": do}
        self.grads[0][...] = np.dot(x.T, dA)
        self.grads[1][...] = np.dot(h_prev.T, dA)
        self.grads[2][...] = dA.sum(axis=0)
        return np.dot(dA, Wx.T), np.dot(dA, Wh.T), dc_prev


N, T, D, H = 3, 5, 2, 4
Wx, Wh, b = rng.normal(0, 0.7, (D, 4 * H)), rng.normal(0, 0.7, (H, 4 * H)), rng.normal(0, 0.4, 4 * H)
xs, dhs = rng.normal(size=(N, T, D)), rng.normal(size=(N, T, H))
layers, h, c, hs = [], np.zeros((N, H)), np.zeros((N, H)), np.empty((N, T, H))
for t in range(T):
    layers.append(LSTM(Wx, Wh, b))
    h, c = layers[-1].forward(xs[:, t], h, c)
    hs[:, t] = h
dxs, dh, dc, grads = np.empty_like(xs), 0, 0, [0, 0, 0]
for t in reversed(range(T)):
    dx, dh, dc = layers[t].backward(dhs[:, t] + dh, dc)
    dxs[:, t] = dx
    for k, grad in enumerate(layers[t].grads):
        grads[k] += grad
case = {
    "weights": {"Wx": Wx, "Wh": Wh, "b": b},
    "grads": {"dWx": grads[0], "dWh": grads[1], "db": grads[2], "x": dxs},
    "x": xs,
    "dy": dhs,
    "y": hs,
}
steps = {k: np.stack([layer.inside[k] for layer in layers], 1) for k in layers[0].inside}
