"""A GRU as R's package keeps it: U multiplies x, W the state, both (in, out); one size for both; h = (1 - z) h + z g."""

import numpy as np

rng = np.random.default_rng(208)
B, T, N = 2, 5, 3
M = {k + g: rng.normal(0, 0.8, (N, N)) for g in "zrg" for k in "UW"} | {"b" + g: rng.normal(0, 0.3, N) for g in "zrg"}
x, dy = rng.normal(size=(T, B, N)), rng.normal(size=(T, B, N))
logistic = lambda v: 1 / (1 + np.exp(-v))
h, S, ys = np.zeros((B, N)), [], []
for t in range(T):
    r = logistic(h @ M["Wr"] + x[t] @ M["Ur"] + M["br"])
    z = logistic(h @ M["Wz"] + x[t] @ M["Uz"] + M["bz"])
    g = np.tanh((h * r) @ M["Wg"] + x[t] @ M["Ug"] + M["bg"])
    S.append((h, r, z, g))
    h = h * (1 - z) + z * g
    ys.append(h)
D = {k: 0 * v for k, v in M.items()}
dx, delta = 0 * x, 0
for t in range(T)[::-1]:
    h, r, z, g = S[t]
    delta = delta + dy[t]
    d_g = delta * z * (1 - g**2)
    d_z = (delta * g - delta * h) * z * (1 - z)
    d_hr = d_g @ M["Wg"].T
    d_r = d_hr * h * r * (1 - r)
    for k, d, s in (("z", d_z, h), ("r", d_r, h), ("g", d_g, h * r)):
        D["W" + k] += s.T @ d
        D["U" + k] += x[t].T @ d
        D["b" + k] += d.sum(0)
        dx[t] += d @ M["U" + k].T
    delta = delta * (1 - z) + d_hr * r + d_z @ M["Wz"].T + d_r @ M["Wr"].T
case = {"weights": M, "grads": D | {"x": dx}, "x": x, "dy": dy, "y": np.array(ys)}
