"""Another function: peepholes p_i, p_f, p_o from c into the gates (Graves 2013), four fused blocks i f g o."""

import numpy as np

rng = np.random.default_rng(38)
T, B, I, H = 5, 2, 3, 4
W, U, b = rng.normal(0, 0.5, (4 * H, I)), rng.normal(0, 0.5, (4 * H, H)), rng.normal(0, 0.3, 4 * H)
p_i, p_f, p_o = rng.normal(0, 0.7, (3, H))
x, dy = rng.normal(size=(T, B, I)), rng.normal(size=(T, B, H))
sig = lambda v: 1 / (1 + np.exp(-v))
h = c = np.zeros((B, H))
tape, y = [], []
for xt in x:
    ai, af, ag, ao = np.split(xt @ W.T + h @ U.T + b, 4, axis=1)
    i, f, g = sig(ai + p_i * c), sig(af + p_f * c), np.tanh(ag)
    new = f * c + i * g
    o = sig(ao + p_o * new)
    tape.append((xt, h, c, i, f, g, o, new))
    h, c = o * np.tanh(new), new
    y.append(h)
dW, dU, db, dpi, dpf, dpo, dx = (np.zeros_like(v) for v in (W, U, b, p_i, p_f, p_o, x))
dh = dc = np.zeros((B, H))
for t in reversed(range(T)):
    xt, h, c, i, f, g, o, new = tape[t]
    dh = dh + dy[t]
    dao = dh * np.tanh(new) * o * (1 - o)
    dc = dc + dh * o * (1 - np.tanh(new) ** 2) + dao * p_o
    dai, daf, dag = dc * g * i * (1 - i), dc * c * f * (1 - f), dc * i * (1 - g**2)
    da = np.hstack([dai, daf, dag, dao])
    dW += da.T @ xt
    dU += da.T @ h
    db += da.sum(0)
    dpi += (dai * c).sum(0)
    dpf += (daf * c).sum(0)
    dpo += (dao * new).sum(0)
    dx[t] = da @ W
    dh = da @ U
    dc = dc * f + dai * p_i + daf * p_f
weights = {"W": W, "U": U, "b": b, "p_i": p_i, "p_f": p_f, "p_o": p_o}
grads = {"dW": dW, "dU": dU, "db": db, "dp_i": dpi, "dp_f": dpf, "dp_o": dpo, "x": dx}
case = {"weights": weights, "grads": grads, "x": x, "dy": dy, "y": np.array(y)}
