"""Another function: hard sigmoids, clip(0.2 a + 0.5, 0, 1), in the three gates, for a small machine."""

import numpy as np

rng = np.random.default_rng(36)
T, B, I, H = 5, 3, 3, 4
W, U, b = rng.normal(0, 0.6, (I, 4 * H)), rng.normal(0, 0.6, (H, 4 * H)), rng.normal(0, 0.3, 4 * H)
x, dy = rng.normal(size=(T, B, I)), rng.normal(size=(T, B, H))
hard, inside = lambda v: np.clip(0.2 * v + 0.5, 0, 1), lambda s: 0.2 * ((s > 0) & (s < 1))
h, c, kept = [np.zeros((B, H))], [np.zeros((B, H))], []
for t in range(T):
    a = (x[t] @ W + h[-1] @ U + b).reshape(B, 4, H)
    i, f, g, o = hard(a[:, 0]), hard(a[:, 1]), np.tanh(a[:, 2]), hard(a[:, 3])
    c.append(f * c[-1] + i * g)
    h.append(o * np.tanh(c[-1]))
    kept.append((i, f, g, o))
dW, dU, db, dx = np.zeros_like(W), np.zeros_like(U), np.zeros_like(b), np.zeros_like(x)
dh = dc = np.zeros((B, H))
for t in reversed(range(T)):
    i, f, g, o = kept[t]
    dh = dh + dy[t]
    dc = dc + dh * o * (1 - np.tanh(c[t + 1]) ** 2)
    da = [dc * g * inside(i), dc * c[t] * inside(f), dc * i * (1 - g**2), dh * np.tanh(c[t + 1]) * inside(o)]
    da = np.concatenate(da, axis=1)
    dW += x[t].T @ da
    dU += h[t].T @ da
    db += da.sum(0)
    dx[t] = da @ W.T
    dh, dc = da @ U.T, dc * f
case = {"weights": {"W": W, "U": U, "b": b}, "grads": {"W": dW, "U": dU, "b": db, "x": dx}, "x": x, "dy": dy}
case["y"] = np.array(h[1:])
