"""Batch first, two matrices for all gates in the order i f o g, rows as samples: the style of course notes."""

import numpy as np

rng = np.random.default_rng(2)
N, T, D, H = 2, 6, 3, 4
Wx, Wh, b = (
    0.6 * rng.standard_normal((D, 4 * H)),
    0.6 * rng.standard_normal((H, 4 * H)),
    0.3 * rng.standard_normal(4 * H),
)
x, dh_all = rng.standard_normal((N, T, D)), rng.standard_normal((N, T, H))


def sigm(v):
    return np.where(v >= 0, 1 / (1 + np.exp(-np.abs(v))), np.exp(-np.abs(v)) / (1 + np.exp(-np.abs(v))))


prev_h, prev_c = np.zeros((N, H)), np.zeros((N, H))
hs, caches = np.zeros((N, T, H)), []
for t in range(T):
    a = x[:, t].dot(Wx) + prev_h.dot(Wh) + b
    ai, af, ao, ag = a[:, :H], a[:, H : 2 * H], a[:, 2 * H : 3 * H], a[:, 3 * H :]
    i, f, o, g = sigm(ai), sigm(af), sigm(ao), np.tanh(ag)
    next_c = f * prev_c + i * g
    next_h = o * np.tanh(next_c)
    caches.append((x[:, t], prev_h, prev_c, i, f, o, g, next_c))
    prev_h, prev_c = next_h, next_c
    hs[:, t] = next_h

dx, dWx, dWh, db = np.zeros_like(x), np.zeros_like(Wx), np.zeros_like(Wh), np.zeros_like(b)
dprev_h, dprev_c = np.zeros((N, H)), np.zeros((N, H))
for t in range(T - 1, -1, -1):
    xt, ph, pc, i, f, o, g, next_c = caches[t]
    dnext_h = dh_all[:, t] + dprev_h
    dnext_c = dprev_c
    tanh_c = np.tanh(next_c)
    dnext_c = dnext_c + dnext_h * o * (1 - tanh_c * tanh_c)
    do = dnext_h * tanh_c
    df = dnext_c * pc
    di = dnext_c * g
    dg = dnext_c * i
    dprev_c = dnext_c * f
    dai = di * i * (1 - i)
    daf = df * f * (1 - f)
    dao = do * o * (1 - o)
    dag = dg * (1 - g * g)
    da = np.hstack((dai, daf, dao, dag))
    dx[:, t] = da.dot(Wx.T)
    dprev_h = da.dot(Wh.T)
    dWx += xt.T.dot(da)
    dWh += ph.T.dot(da)
    db += da.sum(axis=0)

case = {
    "weights": {"Wx": Wx, "Wh": Wh, "b": b},
    "grads": {"Wx": dWx, "Wh": dWh, "b": db, "x": dx},
    "x": x,
    "dy": dh_all,
    "y": hs,
}
