"""Index notation: weights (4, H, I) and (4, H, H), every product an einsum, one pass over the finished da at the end."""

import numpy as np

rng = np.random.default_rng(13)
G, H, I, B, T = 4, 4, 3, 2, 6
W, U, b = rng.normal(0, 0.5, (G, H, I)), rng.normal(0, 0.5, (G, H, H)), rng.normal(0, 0.3, (G, H))
x, dy = rng.normal(size=(T, B, I)), rng.normal(size=(T, B, H))
h, c, act = np.zeros((T + 1, B, H)), np.zeros((T + 1, B, H)), np.zeros((T, G, B, H))
fx = np.einsum("ghi,tbi->tgbh", W, x) + b[None, :, None, :]
for t in range(T):
    a = fx[t] + np.einsum("ghk,bk->gbh", U, h[t])
    act[t, :3] = 0.5 * (1 + np.tanh(0.5 * a[:3]))  # i f o
    act[t, 3] = np.tanh(a[3])
    i, f, o, g = act[t]
    c[t + 1] = f * c[t] + i * g
    h[t + 1] = o * np.tanh(c[t + 1])
da, dhs, dcs = np.zeros_like(act), np.zeros((T, B, H)), np.zeros((T, B, H))
dh, dc = np.zeros((B, H)), np.zeros((B, H))
slope = np.concatenate([act[:, :3] * (1 - act[:, :3]), 1 - act[:, 3:] ** 2], axis=1)
for t in range(T)[::-1]:
    i, f, o, g = act[t]
    s = np.tanh(c[t + 1])
    dh = dh + dy[t]
    dc = dc + dh * o * (1 - s**2)
    dhs[t], dcs[t] = dh, dc
    da[t] = np.stack([dc * g, dc * c[t], dh * s, dc * i]) * slope[t]
    dc = dc * f
    dh = np.einsum("gbh,ghk->bk", da[t], U)
grads = {
    "W": np.einsum("tgbh,tbi->ghi", da, x),
    "U": np.einsum("tgbh,tbk->ghk", da, h[:-1]),
    "b": np.einsum("tgbh->gh", da),
    "x": np.einsum("tgbh,ghi->tbi", da, W),
    "h0": dh,
    "c0": dc,
}
case = {"weights": {"W": W, "U": U, "b": b}, "grads": grads, "x": x, "dy": dy, "y": h[1:]}
steps = {"dh": dhs, "dc": dcs} | {"da_" + k: da[:, n] for n, k in enumerate("ifog")}
