"""torch.nn.LSTMCell's names, by hand in NumPy with float32, cells that return tuples, gradients of both biases."""

import numpy as np

rng = np.random.RandomState(207)
B, T, I, H = 3, 6, 4, 5
f32 = np.float32
p = {
    "weight_ih": (rng.randn(4 * H, I) / 2).astype(f32),
    "weight_hh": (rng.randn(4 * H, H) / 2).astype(f32),
    "bias_ih": (rng.randn(4 * H) / 3).astype(f32),
    "bias_hh": (rng.randn(4 * H) / 3).astype(f32),
}
x, dy = rng.randn(T, B, I).astype(f32), rng.randn(T, B, H).astype(f32)


def sigmoid(v):
    return 1 / (1 + np.exp(-v))


def cell(x, state):
    h, c = state
    i, f, g, o = np.split(x @ p["weight_ih"].T + p["bias_ih"] + h @ p["weight_hh"].T + p["bias_hh"], 4, axis=1)
    i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
    c2 = f * c + i * g
    return (o * np.tanh(c2), c2), (x, h, c, i, f, g, o, c2)


def cell_back(dstate, saved, out):
    dh, dc = dstate
    x, h, c, i, f, g, o, c2 = saved
    do = dh * np.tanh(c2)
    dc = dc + dh * o * (1 - np.tanh(c2) ** 2)
    di, df, dg = dc * g, dc * c, dc * i
    da = np.concatenate([di * i * (1 - i), df * f * (1 - f), dg * (1 - g**2), do * o * (1 - o)], axis=1)
    out["weight_ih"] += da.T @ x
    out["weight_hh"] += da.T @ h
    out["bias_ih"] += da.sum(0)
    out["bias_hh"] += da.sum(0)
    return da @ p["weight_ih"], (da @ p["weight_hh"], dc * f)


state = (np.zeros((B, H), f32), np.zeros((B, H), f32))
ys, saves = [], []
for t in range(T):
    state, saved = cell(x[t], state)
    ys.append(state[0])
    saves.append(saved)
out = {k: np.zeros_like(v) for k, v in p.items()}
dx, dstate = np.zeros_like(x), (np.zeros((B, H), f32), np.zeros((B, H), f32))
for t in reversed(range(T)):
    dx[t], dstate = cell_back((dstate[0] + dy[t], dstate[1]), saves[t], out)
case = {"weights": p, "grads": out | {"x": dx}, "x": x, "dy": dy, "y": np.stack(ys)}
