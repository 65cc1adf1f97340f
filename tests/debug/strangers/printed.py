"""As a C program prints it: %.6f everywhere, weights too, computed in float32; one sequence; rows i f o c."""

import numpy as np

rng = np.random.default_rng(101)
T, I, H = 6, 3, 4
F = np.float32
W, U, b = (rng.normal(0, s, sh).astype(F) for s, sh in ((0.6, (4 * H, I)), (0.6, (4 * H, H)), (0.3, (4 * H,))))
x, dy = rng.normal(size=(T, I)).astype(F), rng.normal(size=(T, H)).astype(F)
sg = lambda v: (F(1) / (F(1) + np.exp(-v))).astype(F)
h = np.zeros((T + 1, H), F)
c = np.zeros((T + 1, H), F)
G = []
for t in range(T):
    a = W @ x[t] + U @ h[t] + b
    i, f, o, g = sg(a[:H]), sg(a[H : 2 * H]), sg(a[2 * H : 3 * H]), np.tanh(a[3 * H :])
    c[t + 1] = f * c[t] + i * g
    h[t + 1] = o * np.tanh(c[t + 1])
    G.append((i, f, o, g))
dW, dU, db, dx = np.zeros_like(W), np.zeros_like(U), np.zeros_like(b), np.zeros_like(x)
dh, dc = np.zeros(H, F), np.zeros(H, F)
for t in range(T - 1, -1, -1):
    i, f, o, g = G[t]
    dh = dh + dy[t]
    tc = np.tanh(c[t + 1])
    dc = dc + dh * o * (1 - tc * tc)
    da = np.concatenate([dc * g * i * (1 - i), dc * c[t] * f * (1 - f), dh * tc * o * (1 - o), dc * i * (1 - g * g)])
    dW += np.outer(da, x[t])
    dU += np.outer(da, h[t])
    db += da
    dx[t] = W.T @ da
    dh = U.T @ da
    dc = dc * f
p = lambda v: np.array([float(f"{z:.6f}") for z in v.ravel()]).reshape(v.shape)
case = {
    "weights": {"W": p(W), "U": p(U), "b": p(b)},
    "grads": {"W": p(dW), "U": p(dU), "b": p(db), "x": p(dx)},
    "x": p(x),
    "dy": p(dy),
    "y": p(h[1:]),
}
