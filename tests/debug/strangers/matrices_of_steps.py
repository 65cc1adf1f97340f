"""As MATLAB: columns are steps, (I, T) and (H, T), 1-based; a matrix per gate, bias columns."""

import numpy as np

rng = np.random.default_rng(102)
T, I, H = 7, 3, 5
M = {}
for k in ("i", "f", "c", "o"):
    M["Wx" + k], M["Wh" + k], M["b" + k] = (
        rng.normal(0, 0.6, (H, I)),
        rng.normal(0, 0.6, (H, H)),
        rng.normal(0, 0.3, (H, 1)),
    )
X, DH = rng.normal(size=(I, T)), rng.normal(size=(H, T))
s = lambda v: 1 / (1 + np.exp(-v))
Hs, Cs = np.zeros((H, T + 1)), np.zeros((H, T + 1))
A = {k: np.zeros((H, T)) for k in "ifco"}
for t in range(1, T + 1):
    xt, hp, cp = X[:, t - 1 : t], Hs[:, t - 1 : t], Cs[:, t - 1 : t]
    z = {k: M["Wx" + k] @ xt + M["Wh" + k] @ hp + M["b" + k] for k in "ifco"}
    for k in "ifo":
        A[k][:, t - 1 : t] = s(z[k])
    A["c"][:, t - 1 : t] = np.tanh(z["c"])
    Cs[:, t : t + 1] = A["f"][:, t - 1 : t] * cp + A["i"][:, t - 1 : t] * A["c"][:, t - 1 : t]
    Hs[:, t : t + 1] = A["o"][:, t - 1 : t] * np.tanh(Cs[:, t : t + 1])
g = {"d" + k: np.zeros_like(v) for k, v in M.items()}
dX = np.zeros_like(X)
dhn, dcn = np.zeros((H, 1)), np.zeros((H, 1))
for t in range(T, 0, -1):
    i, f, c_, o = (A[k][:, t - 1 : t] for k in "ifco")
    dh = DH[:, t - 1 : t] + dhn
    dc = dcn + dh * o * (1 - np.tanh(Cs[:, t : t + 1]) ** 2)
    d = {
        "i": dc * c_ * i * (1 - i),
        "f": dc * Cs[:, t - 1 : t] * f * (1 - f),
        "c": dc * i * (1 - c_**2),
        "o": dh * np.tanh(Cs[:, t : t + 1]) * o * (1 - o),
    }
    dhn = 0
    dx = 0
    for k in "ifco":
        g["dWx" + k] += d[k] @ X[:, t - 1 : t].T
        g["dWh" + k] += d[k] @ Hs[:, t - 1 : t].T
        g["db" + k] += d[k]
        dhn = dhn + M["Wh" + k].T @ d[k]
        dx = dx + M["Wx" + k].T @ d[k]
    dX[:, t - 1 : t] = dx
    dcn = dc * f
case = {"weights": M, "grads": {**g, "x": dX}, "x": X, "dy": DH, "y": Hs[:, 1:]}
