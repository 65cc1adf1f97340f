"""Column-major arrays, one matrix (4H, I+H) over [x; h] in the order i f o g, the batch in columns, views of one da."""

import numpy as np

rng = np.random.default_rng(16)
T, B, I, H = 5, 3, 2, 4
order = {k: slice(n * H, (n + 1) * H) for n, k in enumerate("ifog")}
W = np.asfortranarray(rng.normal(0, 0.5, (4 * H, I + H)))
b = np.asfortranarray(rng.normal(0, 0.3, (4 * H, 1)))
X, DY = np.asfortranarray(rng.normal(size=(I, B, T))), np.asfortranarray(rng.normal(size=(H, B, T)))
A, C, Hs = (np.zeros(shape, order="F") for shape in ((4 * H, B, T), (H, B, T + 1), (H, B, T + 1)))
Z = np.zeros((I + H, B, T), order="F")
for t in range(T):
    Z[:I, :, t], Z[I:, :, t] = X[..., t], Hs[..., t]
    A[..., t] = W @ Z[..., t] + b
    A[: 3 * H, :, t] = 1 / (1 + np.exp(-A[: 3 * H, :, t]))
    A[3 * H :, :, t] = np.tanh(A[3 * H :, :, t])
    C[..., t + 1] = A[order["f"], :, t] * C[..., t] + A[order["i"], :, t] * A[order["g"], :, t]
    Hs[..., t + 1] = A[order["o"], :, t] * np.tanh(C[..., t + 1])
dW, db, dX = np.zeros_like(W), np.zeros_like(b), np.zeros_like(X)
dC, dH = np.zeros((H, B), order="F"), np.zeros((H, B), order="F")
for t in range(T - 1, -1, -1):
    i, f, o, g = (A[order[k], :, t] for k in "ifog")
    tc, dA = np.tanh(C[..., t + 1]), np.zeros((4 * H, B), order="F")
    dH += DY[..., t]
    dC += dH * o * (1 - tc**2)
    dA[order["i"]] = dC * g * i * (1 - i)
    dA[order["f"]] = dC * C[..., t] * f * (1 - f)
    dA[order["o"]] = dH * tc * o * (1 - o)
    dA[order["g"]] = dC * i * (1 - g**2)
    dC *= f
    dW += dA @ Z[..., t].T
    db += dA.sum(axis=1, keepdims=True)
    dZ = W.T @ dA
    dX[..., t], dH = dZ[:I], dZ[I:]
case = {"weights": {"W": W, "b": b}, "grads": {"dW": dW, "db": db, "x": dX}, "x": X, "dy": DY, "y": Hs[..., 1:]}
