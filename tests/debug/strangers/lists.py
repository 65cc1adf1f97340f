"""No arrays at all: lists and loops, one sample, weights (4H, I) in the order i f c o."""

import math
import random

random.seed(4)
T, I, H = 4, 2, 3
W = [[random.gauss(0, 0.7) for _ in range(I)] for _ in range(4 * H)]
U = [[random.gauss(0, 0.7) for _ in range(H)] for _ in range(4 * H)]
B = [random.gauss(0, 0.3) for _ in range(4 * H)]
X = [[random.gauss(0, 1) for _ in range(I)] for _ in range(T)]
DY = [[random.gauss(0, 1) for _ in range(H)] for _ in range(T)]


def sg(v):
    return 1 / (1 + math.exp(-v))


hs, cs, gs = [[0.0] * H], [[0.0] * H], []
for t in range(T):
    a = [
        B[r] + sum(W[r][k] * X[t][k] for k in range(I)) + sum(U[r][k] * hs[t][k] for k in range(H))
        for r in range(4 * H)
    ]
    i, f = [sg(v) for v in a[:H]], [sg(v) for v in a[H : 2 * H]]
    g, o = [math.tanh(v) for v in a[2 * H : 3 * H]], [sg(v) for v in a[3 * H :]]
    c = [f[j] * cs[t][j] + i[j] * g[j] for j in range(H)]
    gs.append((i, f, g, o))
    cs.append(c)
    hs.append([o[j] * math.tanh(c[j]) for j in range(H)])

dW = [[0.0] * I for _ in range(4 * H)]
dU = [[0.0] * H for _ in range(4 * H)]
dB = [0.0] * (4 * H)
dh, dc = [0.0] * H, [0.0] * H
for t in range(T - 1, -1, -1):
    i, f, g, o = gs[t]
    da = [0.0] * (4 * H)
    for j in range(H):
        s = dh[j] + DY[t][j]
        tc = math.tanh(cs[t + 1][j])
        e = dc[j] + s * o[j] * (1 - tc * tc)
        da[j] = e * g[j] * i[j] * (1 - i[j])
        da[H + j] = e * cs[t][j] * f[j] * (1 - f[j])
        da[2 * H + j] = e * i[j] * (1 - g[j] ** 2)
        da[3 * H + j] = s * tc * o[j] * (1 - o[j])
        dc[j] = e * f[j]
    for r in range(4 * H):
        dB[r] += da[r]
        for k in range(I):
            dW[r][k] += da[r] * X[t][k]
        for k in range(H):
            dU[r][k] += da[r] * hs[t][k]
    dh = [sum(U[r][k] * da[r] for r in range(4 * H)) for k in range(H)]

case = {
    "weights": {"W": W, "U": U, "b": B},
    "grads": {"dW": dW, "dU": dU, "db": dB},
    "x": [[v] for v in X],
    "dy": [[v] for v in DY],
    "y": [[v] for v in hs[1:]],
}
