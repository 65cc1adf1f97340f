"""A GRU without biases, Wx (D, 3H), Wh (H, 3H), order z r h, reset before the product, h = (1 - z) h + z n."""

import numpy as np

rng = np.random.default_rng(202)
sig = lambda v: 1 / (1 + np.exp(-v))
N, T, D, H = 2, 5, 3, 4
Wx, Wh = rng.normal(0, 0.7, (D, 3 * H)), rng.normal(0, 0.7, (H, 3 * H))
Wxz, Wxr, Wxn = np.split(Wx, 3, 1)
Whz, Whr, Whn = np.split(Wh, 3, 1)
xs, dhs = rng.normal(size=(N, T, D)), rng.normal(size=(N, T, H))
h, caches, hs = np.zeros((N, H)), [], []
for t in range(T):
    x, h_prev = xs[:, t], h
    z = sig(np.dot(x, Wxz) + np.dot(h_prev, Whz))
    r = sig(np.dot(x, Wxr) + np.dot(h_prev, Whr))
    h_hat = np.tanh(np.dot(x, Wxn) + np.dot(r * h_prev, Whn))
    h = (1 - z) * h_prev + z * h_hat
    caches.append((x, h_prev, z, r, h_hat))
    hs.append(h)
dWx, dWh, dxs, dh_next = np.zeros_like(Wx), np.zeros_like(Wh), np.zeros_like(xs), np.zeros((N, H))
for t in reversed(range(T)):
    x, h_prev, z, r, h_hat = caches[t]
    dh_next = dh_next + dhs[:, t]
    dh_hat = dh_next * z
    dh_prev = dh_next * (1 - z)
    dt = dh_hat * (1 - h_hat**2)
    gWhh = np.dot((r * h_prev).T, dt)
    dhr = np.dot(dt, Whn.T)
    gWxh = np.dot(x.T, dt)
    dx = np.dot(dt, Wxn.T)
    dh_prev += r * dhr
    dz = dh_next * h_hat - dh_next * h_prev
    dt = dz * z * (1 - z)
    gWhz = np.dot(h_prev.T, dt)
    dh_prev += np.dot(dt, Whz.T)
    gWxz = np.dot(x.T, dt)
    dx += np.dot(dt, Wxz.T)
    dr = dhr * h_prev
    dt = dr * r * (1 - r)
    gWhr = np.dot(h_prev.T, dt)
    dh_prev += np.dot(dt, Whr.T)
    gWxr = np.dot(x.T, dt)
    dx += np.dot(dt, Wxr.T)
    dWx += np.hstack((gWxz, gWxr, gWxh))
    dWh += np.hstack((gWhz, gWhr, gWhh))
    dxs[:, t], dh_next = dx, dh_prev
case = {"weights": {"Wx": Wx, "Wh": Wh}, "grads": {"dWx": dWx, "dWh": dWh, "dx": dxs}, "x": xs, "dy": dhs}
case["y"] = np.stack(hs, 1)
