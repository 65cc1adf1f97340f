"""A GRU in both directions, a function per step, weights in a dict of dicts by direction; reset before."""

import numpy as np

rng = np.random.default_rng(212)
T, B, I, H = 5, 2, 3, 3
net = {
    d: {k + g: rng.normal(0, 0.6, s) for g in "zrh" for k, s in (("W", (H, I)), ("U", (H, H)), ("b", (H,)))}
    for d in ("forward", "backward")
}
x, dy = rng.normal(size=(T, B, I)), rng.normal(size=(T, B, 2 * H))
sg = lambda v: 1 / (1 + np.exp(-v))


def there(p, x):
    h, tape = np.zeros((B, H)), []
    for x_t in x:
        z = sg(x_t @ p["Wz"].T + h @ p["Uz"].T + p["bz"])
        r = sg(x_t @ p["Wr"].T + h @ p["Ur"].T + p["br"])
        n = np.tanh(x_t @ p["Wh"].T + (r * h) @ p["Uh"].T + p["bh"])
        tape.append((x_t, h, z, r, n))
        h = z * h + (1 - z) * n
        tape[-1] += (h,)
    return np.array([s[-1] for s in tape]), tape


def back(p, tape, dy):
    g, dx, dh = {k: 0 * v for k, v in p.items()}, [], 0
    for (x_t, h, z, r, n, _), dy_t in zip(tape[::-1], dy[::-1]):
        dh = dh + dy_t
        an = dh * (1 - z) * (1 - n * n)
        az = dh * (h - n) * z * (1 - z)
        rh = an @ p["Uh"]
        ar = rh * h * r * (1 - r)
        for k, a, s in (("z", az, h), ("r", ar, h), ("h", an, r * h)):
            g["W" + k] += a.T @ x_t
            g["U" + k] += a.T @ s
            g["b" + k] += a.sum(0)
        dx.append(az @ p["Wz"] + ar @ p["Wr"] + an @ p["Wh"])
        dh = dh * z + rh * r + az @ p["Uz"] + ar @ p["Ur"]
    return np.array(dx[::-1]), g


y_f, tape_f = there(net["forward"], x)
y_b, tape_b = there(net["backward"], x[::-1])
y = np.concatenate([y_f, y_b[::-1]], -1)
dx_f, g_f = back(net["forward"], tape_f, dy[..., :H])
dx_b, g_b = back(net["backward"], tape_b, dy[::-1, :, H:])
case = {
    "weights": {f"{d}.{k}": v for d in net for k, v in net[d].items()},
    "grads": {f"forward.{k}": v for k, v in g_f.items()} | {f"backward.{k}": v for k, v in g_b.items()},
    "x": x,
    "dy": dy,
    "y": y,
}
case["grads"]["x"] = dx_f + dx_b[::-1]
