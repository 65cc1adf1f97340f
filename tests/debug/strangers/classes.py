"""A class with one W and one U per gate, rows as samples, time first, the bias beside the input matrix."""

import numpy as np


class Cell:
    def __init__(self, n_in, n_out, rng):
        for k in "ifog":
            setattr(self, "W_" + k, rng.normal(0, 0.6, (n_in, n_out)))
            setattr(self, "U_" + k, rng.normal(0, 0.6, (n_out, n_out)))
            setattr(self, "b_" + k, rng.normal(0, 0.3, n_out))
        self.grads = {}

    def act(self, k, x, h):
        a = x @ getattr(self, "W_" + k) + h @ getattr(self, "U_" + k) + getattr(self, "b_" + k)
        return np.tanh(a) if k == "g" else 1 / (1 + np.exp(-a))

    def forward(self, x):
        T, B, n = len(x), x.shape[1], self.U_i.shape[0]
        self.x, self.h, self.c = x, np.zeros((T + 1, B, n)), np.zeros((T + 1, B, n))
        self.act_of = {k: np.zeros((T, B, n)) for k in "ifog"}
        for t in range(T):
            for k in "ifog":
                self.act_of[k][t] = self.act(k, x[t], self.h[t])
            i, f, o, g = (self.act_of[k][t] for k in "ifog")
            self.c[t + 1] = f * self.c[t] + i * g
            self.h[t + 1] = o * np.tanh(self.c[t + 1])
        return self.h[1:]

    def backward(self, dout):
        T = len(dout)
        for k in "ifog":
            for m in "WUb":
                self.grads[f"{m}_{k}"] = np.zeros_like(getattr(self, f"{m}_{k}"))
        dx, dh, dc = np.zeros_like(self.x), np.zeros_like(self.h[0]), np.zeros_like(self.c[0])
        for t in reversed(range(T)):
            i, f, o, g = (self.act_of[k][t] for k in "ifog")
            dh = dh + dout[t]
            th = np.tanh(self.c[t + 1])
            dc = dc + o * dh * (1 - th**2)
            d = {
                "i": dc * g * i * (1 - i),
                "f": dc * self.c[t] * f * (1 - f),
                "o": dh * th * o * (1 - o),
                "g": dc * i * (1 - g**2),
            }
            dc = dc * f
            dh = np.zeros_like(dh)
            for k in "ifog":
                self.grads["W_" + k] += self.x[t].T @ d[k]
                self.grads["U_" + k] += self.h[t].T @ d[k]
                self.grads["b_" + k] += d[k].sum(0)
                dx[t] += d[k] @ getattr(self, "W_" + k).T
                dh += d[k] @ getattr(self, "U_" + k).T
        return dx, dh, dc


rng = np.random.default_rng(3)
cell = Cell(3, 4, rng)
x, dout = rng.normal(size=(6, 2, 3)), rng.normal(size=(6, 2, 4))
y = cell.forward(x)
dx, dh0, dc0 = cell.backward(dout)
case = {
    "weights": {name: value for name, value in vars(cell).items() if name[:2] in ("W_", "U_", "b_")},
    "grads": cell.grads | {"x": dx, "h0": dh0, "c0": dc0},
    "x": x,
    "dy": dout,
    "y": y,
}
