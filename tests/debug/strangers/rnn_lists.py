"""A plain RNN without any library: nested lists, zip and sum, U W V as in an old tutorial (V is the head)."""

import math
import random

rnd = random.Random(33)
T, I, H = 5, 2, 3
U = [[rnd.uniform(-1, 1) for _ in range(I)] for _ in range(H)]
W = [[rnd.uniform(-1, 1) for _ in range(H)] for _ in range(H)]
x = [[rnd.gauss(0, 1) for _ in range(I)] for _ in range(T)]
delta = [[rnd.gauss(0, 1) for _ in range(H)] for _ in range(T)]
dot = lambda a, b: sum(p * q for p, q in zip(a, b))
s = [[0.0] * H]
for t in range(T):
    s.append([math.tanh(dot(U[j], x[t]) + dot(W[j], s[t])) for j in range(H)])
dU, dW = [[0.0] * I for _ in range(H)], [[0.0] * H for _ in range(H)]
carried = [0.0] * H
for t in range(T, 0, -1):
    e = [(delta[t - 1][j] + carried[j]) * (1 - s[t][j] ** 2) for j in range(H)]
    dU = [[g + e[j] * x[t - 1][k] for k, g in enumerate(dU[j])] for j in range(H)]
    dW = [[g + e[j] * s[t - 1][k] for k, g in enumerate(dW[j])] for j in range(H)]
    carried = [sum(W[j][k] * e[j] for j in range(H)) for k in range(H)]
case = {"weights": {"U": U, "W": W}, "grads": {"dU": dU, "dW": dW}, "x": x, "dy": delta, "y": s[1:]}
