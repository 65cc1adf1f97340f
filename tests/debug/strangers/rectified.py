"""Another function: relu where tanh belongs, twice; a matrix per gate over [x, h], batch in rows."""

import numpy as np

rng = np.random.default_rng(37)
T, B, I, H = 5, 3, 3, 4
W = {"W_" + k: rng.normal(0, 0.5, (I + H, H)) for k in ("forget", "input", "output", "cell")}
W |= {"b_" + k: rng.normal(0, 0.3, H) for k in ("forget", "input", "output", "cell")}
x, dy = rng.normal(size=(T, B, I)), rng.normal(size=(T, B, H))
relu, sig = lambda v: np.maximum(v, 0), lambda v: 1 / (1 + np.exp(-v))
h = c = np.zeros((B, H))
tape, y = [], []
for xt in x:
    xh = np.hstack([xt, h])
    f, i, o = (sig(xh @ W["W_" + k] + W["b_" + k]) for k in ("forget", "input", "output"))
    g = relu(xh @ W["W_cell"] + W["b_cell"])
    new = f * c + i * g
    tape.append((xh, f, i, o, g, c, new))
    h, c = o * relu(new), new
    y.append(h)
d = {k: np.zeros_like(v) for k, v in W.items()}
dh, dc, dx = 0, 0, np.zeros_like(x)
for t in range(T - 1, -1, -1):
    xh, f, i, o, g, c, new = tape[t]
    dh = dh + dy[t]
    dc = dc + dh * o * (new > 0)
    da = {"forget": dc * c * f * (1 - f), "input": dc * g * i * (1 - i), "output": dh * relu(new) * o * (1 - o)}
    da["cell"] = dc * i * (g > 0)
    dxh = 0
    for k in da:
        d["W_" + k] += xh.T @ da[k]
        d["b_" + k] += da[k].sum(0)
        dxh = dxh + da[k] @ W["W_" + k].T
    dx[t], dh, dc = dxh[:, :I], dxh[:, I:], dc * f
case = {"weights": W, "grads": d | {"x": dx}, "x": x, "dy": dy, "y": np.array(y)}
