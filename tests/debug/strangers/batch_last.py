"""Every step a matrix of columns (I, B): x (T, I, B), outputs (T, H, B); one W over [x; h], order i f o g."""

import numpy as np

rng = np.random.default_rng(206)
T, B, I, H = 5, 3, 2, 4
W, b = rng.normal(0, 0.6, (4 * H, I + H)), rng.normal(0, 0.3, (4 * H, 1))
X, dY = rng.normal(size=(T, I, B)), rng.normal(size=(T, H, B))
s = lambda v: 1 / (1 + np.exp(-v))
h, c, tape, Y = np.zeros((H, B)), np.zeros((H, B)), [], []
for t in range(T):
    v = np.concatenate([X[t], h])
    a = W @ v + b
    i, f, o, g = s(a[:H]), s(a[H : 2 * H]), s(a[2 * H : 3 * H]), np.tanh(a[3 * H :])
    tape.append((v, i, f, o, g, c))
    c = f * c + i * g
    h = o * np.tanh(c)
    tape[-1] += (c,)
    Y.append(h)
dW, db, dX, dh, dc = 0 * W, 0 * b, 0 * X, 0, 0
steps = {k: np.zeros_like(dY) for k in ("dh", "dc", "da_i", "da_f", "da_o", "da_g")}
for t in range(T - 1, -1, -1):
    v, i, f, o, g, c_old, c_new = tape[t]
    dh = dh + dY[t]
    dc = dc + dh * o * (1 - np.tanh(c_new) ** 2)
    parts = [dc * g * i * (1 - i), dc * c_old * f * (1 - f), dh * np.tanh(c_new) * o * (1 - o), dc * i * (1 - g**2)]
    for k, part in zip(steps, (dh, dc, *parts)):
        steps[k][t] = part
    delta = np.concatenate(parts)
    dW += delta @ v.T
    db += delta.sum(1, keepdims=True)
    dv = W.T @ delta
    dX[t], dh, dc = dv[:I], dv[I:], dc * f
case = {"weights": {"W": W, "b": b}, "grads": {"dW": dW, "db": db, "dX": dX}, "x": X, "dy": dY, "y": np.array(Y)}
case["grads"]["x"] = case["grads"].pop("dX")
