"""A tree of objects: gates that know their activation, a cell of gates, a network of cells; names are paths."""

import numpy as np

rng = np.random.default_rng(205)


class Gate:
    def __init__(self, n, k, squash):
        self.W, self.U, self.b = rng.normal(0, 0.6, (k, n)), rng.normal(0, 0.6, (k, k)), rng.normal(0, 0.3, k)
        self.squash, self.stack = squash, []
        self.dW, self.dU, self.db = 0 * self.W, 0 * self.U, 0 * self.b

    def __call__(self, x, h):
        a = x @ self.W.T + h @ self.U.T + self.b
        out = np.tanh(a) if self.squash == "tanh" else 1 / (1 + np.exp(-a))
        self.stack.append((x, h, out))
        return out

    def back(self, grad):
        x, h, out = self.stack.pop()
        grad = grad * ((1 - out * out) if self.squash == "tanh" else out * (1 - out))
        self.dW += grad.T @ x
        self.dU += grad.T @ h
        self.db += grad.sum(0)
        return grad @ self.W, grad @ self.U


class Cell:
    def __init__(self, n, k):
        self.forget, self.input, self.output = (Gate(n, k, "sigmoid") for _ in range(3))
        self.candidate, self.stack = Gate(n, k, "tanh"), []

    def step(self, x, h, c):
        f, i, o, g = self.forget(x, h), self.input(x, h), self.output(x, h), self.candidate(x, h)
        new = f * c + i * g
        self.stack.append((c, f, i, o, g, np.tanh(new)))
        return o * np.tanh(new), new

    def back(self, dh, dc):
        c, f, i, o, g, tanh_c = self.stack.pop()
        dc = dc + dh * o * (1 - tanh_c**2)
        parts = [
            self.forget.back(dc * c),
            self.input.back(dc * g),
            self.output.back(dh * tanh_c),
            self.candidate.back(dc * i),
        ]
        return sum(p[0] for p in parts), sum(p[1] for p in parts), dc * f


B, T, I, H = 2, 6, 3, 4
cell = Cell(I, H)
x, dy = rng.normal(size=(T, B, I)), rng.normal(size=(T, B, H))
h, c, ys = np.zeros((B, H)), np.zeros((B, H)), []
for x_t in x:
    h, c = cell.step(x_t, h, c)
    ys.append(h)
dh, dc, dxs = 0, 0, []
for dy_t in dy[::-1]:
    dx, dh, dc = cell.back(dh + dy_t, dc)
    dxs.append(dx)
gates = ("forget", "input", "output", "candidate")
case = {
    "weights": {f"net.cell.{g}.{p}": getattr(getattr(cell, g), p) for g in gates for p in "WUb"},
    "grads": {f"net.cell.{g}.d{p}": getattr(getattr(cell, g), "d" + p) for g in gates for p in "WUb"},
    "x": x,
    "dy": dy,
    "y": np.array(ys),
}
case["grads"]["x"] = np.array(dxs[::-1])
