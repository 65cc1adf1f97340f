"""A deque of named tuples that is filled going forward and emptied going back; the gates are objects of their own."""

from collections import deque, namedtuple

import numpy as np

rng = np.random.default_rng(14)
n_in, n_out, batch, length = 3, 4, 3, 5
Step = namedtuple("Step", "x h c i f g o tanh_c")


class Gate:
    def __init__(self, squash, slope):
        self.W = rng.uniform(-0.8, 0.8, (n_in + n_out, n_out))
        self.b = rng.uniform(-0.4, 0.4, n_out)
        self.dW, self.db = np.zeros_like(self.W), np.zeros_like(self.b)
        self.squash, self.slope = squash, slope

    def __call__(self, x, h):
        return self.squash(np.hstack((x, h)) @ self.W + self.b)

    def back(self, grad, value, x, h):
        grad = grad * self.slope(value)
        self.dW += np.hstack((x, h)).T @ grad
        self.db += grad.sum(axis=0)
        return np.hsplit(grad @ self.W.T, [n_in])


logistic = (lambda v: 1 / (1 + np.exp(-v)), lambda s: s * (1 - s))
gates = {"input": Gate(*logistic), "forget": Gate(*logistic), "cell": Gate(np.tanh, lambda s: 1 - s**2)}
gates["output"] = Gate(*logistic)
X, D = rng.normal(size=(length, batch, n_in)), rng.normal(size=(length, batch, n_out))
h, c, tape, Y = np.zeros((batch, n_out)), np.zeros((batch, n_out)), deque(), []
for x in X:
    i, f, g, o = (gate(x, h) for gate in gates.values())
    new = f * c + i * g
    tape.append(Step(x, h, c, i, f, g, o, np.tanh(new)))
    h, c = o * np.tanh(new), new
    Y.append(h)
dh, dc, dX = 0, 0, deque()
for d in D[::-1]:
    s = tape.pop()
    dh = dh + d
    dc = dc + dh * s.o * (1 - s.tanh_c**2)
    grads = {
        "input": (dc * s.g, s.i),
        "forget": (dc * s.c, s.f),
        "cell": (dc * s.i, s.g),
        "output": (dh * s.tanh_c, s.o),
    }
    dx, dh = 0, 0
    for name, (grad, value) in grads.items():
        to_x, to_h = gates[name].back(grad, value, s.x, s.h)
        dx, dh = dx + to_x, dh + to_h
    dc = dc * s.f
    dX.appendleft(dx)
case = {
    "weights": {f"{name}_gate.{k}": getattr(gate, k) for name, gate in gates.items() for k in "Wb"},
    "grads": {f"{name}_gate.d{k}": getattr(gate, "d" + k) for name, gate in gates.items() for k in "Wb"},
    "x": X,
    "dy": D,
    "y": np.array(Y),
}
case["grads"]["x"] = np.array(dX)
