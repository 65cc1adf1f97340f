"""A plain RNN of course notes: functions with caches, batch first, Wx Wh b."""

import numpy as np

np.random.seed(32)
N, T, D, H = 3, 6, 4, 5
x, dh_all = np.random.randn(N, T, D), np.random.randn(N, T, H)
Wx, Wh, b = np.random.randn(D, H) / 2, np.random.randn(H, H) / 2, np.random.randn(H) / 3


def rnn_step_forward(x, prev_h, Wx, Wh, b):
    next_h = np.tanh(x.dot(Wx) + prev_h.dot(Wh) + b)
    return next_h, (x, prev_h, next_h, Wx, Wh)


def rnn_step_backward(dnext_h, cache):
    x, prev_h, next_h, Wx, Wh = cache
    da = dnext_h * (1 - next_h**2)
    return da.dot(Wx.T), da.dot(Wh.T), x.T.dot(da), prev_h.T.dot(da), np.sum(da, axis=0)


h, hs, caches = np.zeros((N, H)), np.zeros((N, T, H)), []
for t in range(T):
    h, cache = rnn_step_forward(x[:, t], h, Wx, Wh, b)
    hs[:, t] = h
    caches.append(cache)
dx, dprev = np.zeros_like(x), np.zeros((N, H))
dWx, dWh, db = np.zeros_like(Wx), np.zeros_like(Wh), np.zeros_like(b)
for t in reversed(range(T)):
    dx[:, t], dprev, gx, gh, gb = rnn_step_backward(dh_all[:, t] + dprev, caches[t])
    dWx += gx
    dWh += gh
    db += gb
case = {"weights": {"Wx": Wx, "Wh": Wh, "b": b}, "grads": {"Wx": dWx, "Wh": dWh, "b": db, "x": dx}}
case |= {"x": x, "dy": dh_all, "y": hs}
