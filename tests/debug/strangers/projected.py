"""Another function: h is projected to a smaller width before it goes on (Sak et al. 2014)."""

import numpy as np

rng = np.random.default_rng(39)
T, B, I, H, P = 5, 2, 3, 5, 4
Wx, Wh, Wp = rng.normal(0, 0.5, (I, 4 * H)), rng.normal(0, 0.5, (P, 4 * H)), rng.normal(0, 0.5, (H, P))
b, x, dy = rng.normal(0, 0.3, 4 * H), rng.normal(size=(T, B, I)), rng.normal(size=(T, B, P))
sig = lambda v: 1 / (1 + np.exp(-v))
r, c, tape, y = np.zeros((B, P)), np.zeros((B, H)), [], []
for xt in x:
    i, f, g, o = np.split(xt @ Wx + r @ Wh + b, 4, axis=1)
    i, f, g, o = sig(i), sig(f), np.tanh(g), sig(o)
    new = f * c + i * g
    tape.append((xt, r, c, i, f, g, o, new))
    c, r = new, (o * np.tanh(new)) @ Wp
    y.append(r)
dWx, dWh, dWp, db, dx = (np.zeros_like(v) for v in (Wx, Wh, Wp, b, x))
dr, dc = np.zeros((B, P)), np.zeros((B, H))
for t in reversed(range(T)):
    xt, r, c, i, f, g, o, new = tape[t]
    dr = dr + dy[t]
    dWp += (o * np.tanh(new)).T @ dr
    dh = dr @ Wp.T
    dc = dc + dh * o * (1 - np.tanh(new) ** 2)
    da = [dc * g * i * (1 - i), dc * c * f * (1 - f), dc * i * (1 - g**2), dh * np.tanh(new) * o * (1 - o)]
    da = np.hstack(da)
    dWx += xt.T @ da
    dWh += r.T @ da
    db += da.sum(0)
    dx[t] = da @ Wx.T
    dr, dc = da @ Wh.T, dc * f
weights, grads = {"Wx": Wx, "Wh": Wh, "b": b, "Wp": Wp}, {"Wx": dWx, "Wh": dWh, "b": db, "Wp": dWp, "x": dx}
case = {"weights": weights, "grads": grads, "x": x, "dy": dy, "y": np.array(y)}
