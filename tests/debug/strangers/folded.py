"""No loop is written: reduce and accumulate over tuples, nothing is changed in place, sums of lists at the end."""

from functools import reduce
from itertools import accumulate

import numpy as np

rng = np.random.default_rng(20)
W, U, b = rng.normal(0, 0.6, (3, 16)), rng.normal(0, 0.6, (4, 16)), rng.normal(0, 0.3, 16)
x, dy = rng.normal(size=(5, 2, 3)), rng.normal(size=(5, 2, 4))


def step(state, x_t):
    h, c, *_ = state
    a = np.split(x_t @ W + h @ U + b, 4, axis=1)
    f, i, o = (1 / (1 + np.exp(-v)) for v in a[:3])
    g = np.tanh(a[3])
    return o * np.tanh(f * c + i * g), f * c + i * g, (x_t, h, c, f, i, o, g)


def step_back(carried, at):
    dh, dc, das, seen = carried
    (_, new, (x_t, h, c, f, i, o, g)), d = at
    dh, t = dh + d, np.tanh(new)
    dc = dc + dh * o * (1 - t**2)
    da = np.hstack([dc * c * f * (1 - f), dc * g * i * (1 - i), dh * t * o * (1 - o), dc * i * (1 - g**2)])
    return da @ U.T, dc * f, [da, *das], [(dh, dc), *seen]


zero = np.zeros((2, 4))
states = list(accumulate(x, step, initial=(zero, zero)))[1:]
dh0, dc0, das, seen = reduce(step_back, zip(states[::-1], dy[::-1]), (zero, zero, [], []))
caches = [s[2] for s in states]
grads = {
    "W": sum(k[0].T @ da for k, da in zip(caches, das)),
    "U": sum(k[1].T @ da for k, da in zip(caches, das)),
    "b": sum(da.sum(0) for da in das),
    "x": np.array([da @ W.T for da in das]),
    "h0": dh0,
    "c0": dc0,
}
case = {"weights": {"W": W, "U": U, "b": b}, "grads": grads, "x": x, "dy": dy, "y": np.array([s[0] for s in states])}
blocks = np.array(das).reshape(5, 2, 4, 4)
steps = {"dh": np.array([s[0] for s in seen]), "dc": np.array([s[1] for s in seen])}
steps |= {"da_" + k: blocks[:, :, n] for n, k in enumerate("fiog")}
