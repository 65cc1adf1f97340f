"""Sentences of different lengths, padded, one with an unknown word left out; a mask that keeps the old state; the loss adds up over real words."""

import numpy as np

rng = np.random.default_rng(23)
B, T, E, H = 4, 6, 3, 4
lengths = np.array([6, 4, 3, 1])
m = (np.arange(T)[None, :] < lengths[:, None]).astype(float)
m[1, 2] = 0
Wx, Wh, b = rng.normal(0, 0.6, (E, 4 * H)), rng.normal(0, 0.6, (H, 4 * H)), rng.normal(0, 0.3, 4 * H)
emb, dout = rng.normal(size=(B, T, E)) * m[:, :, None], rng.normal(size=(B, T, H)) * m[:, :, None]


def sg(v):
    return 1.0 / (1.0 + np.exp(-v))


h, c, kept = np.zeros((B, H)), np.zeros((B, H)), []
for t in range(T):
    mt = m[:, t : t + 1]
    a = emb[:, t] @ Wx + h @ Wh + b
    i, f, g, o = sg(a[:, :H]), sg(a[:, H : 2 * H]), np.tanh(a[:, 2 * H : 3 * H]), sg(a[:, 3 * H :])
    c_new = f * c + i * g
    h_new = o * np.tanh(c_new)
    kept.append((h, c, i, f, g, o, c_new))
    h, c = mt * h_new + (1 - mt) * h, mt * c_new + (1 - mt) * c
demb, dWx, dWh, db = (np.zeros_like(v) for v in (emb, Wx, Wh, b))
dh, dc = np.zeros((B, H)), np.zeros((B, H))
for t in range(T - 1, -1, -1):
    mt = m[:, t : t + 1]
    h, c, i, f, g, o, c_new = kept[t]
    dh = dh + dout[:, t]
    dh_new, dc_new = mt * dh, mt * dc
    tc = np.tanh(c_new)
    dc_new = dc_new + dh_new * o * (1 - tc**2)
    da = np.zeros((B, 4 * H))
    da[:, :H] = dc_new * g * i * (1 - i)
    da[:, H : 2 * H] = dc_new * c * f * (1 - f)
    da[:, 2 * H : 3 * H] = dc_new * i * (1 - g**2)
    da[:, 3 * H :] = dh_new * tc * o * (1 - o)
    demb[:, t] = da @ Wx.T
    dWx += emb[:, t].T @ da
    dWh += h.T @ da
    db += da.sum(0)
    dh = da @ Wh.T + (1 - mt) * dh
    dc = dc_new * f + (1 - mt) * dc
case = {
    "weights": {"Wx": Wx, "Wh": Wh, "b": b},
    "grads": {"dWx": dWx, "dWh": dWh, "db": db, "x": demb.swapaxes(0, 1)},
    "x": emb.swapaxes(0, 1),
    "dy": dout.swapaxes(0, 1),
    "mask": (m > 0).T,
}
