"""JavaScript-like: everything nested lists, one sequence, numbers printed in full, objects per gate."""

import math
import random

random.seed(114)
T, I, H = 5, 3, 3
mat = lambda r, c: [[random.gauss(0, 0.6) for _ in range(c)] for _ in range(r)]
m = {}
for g in ("input", "forget", "output", "cell"):
    m[g + "Matrix"], m[g + "Hidden"], m[g + "Bias"] = mat(H, I), mat(H, H), [[random.gauss(0, 0.3)] for _ in range(H)]
x, dy = mat(T, I), mat(T, H)
s = lambda v: 1 / (1 + math.exp(-v))
h, c, K = [[0.0] * H], [[0.0] * H], []
for t in range(T):
    pre = {
        g: [
            sum(m[g + "Matrix"][j][k] * x[t][k] for k in range(I))
            + sum(m[g + "Hidden"][j][k] * h[t][k] for k in range(H))
            + m[g + "Bias"][j][0]
            for j in range(H)
        ]
        for g in ("input", "forget", "output", "cell")
    }
    a = {g: [(math.tanh if g == "cell" else s)(v) for v in pre[g]] for g in pre}
    c.append([a["forget"][j] * c[t][j] + a["input"][j] * a["cell"][j] for j in range(H)])
    h.append([a["output"][j] * math.tanh(c[t + 1][j]) for j in range(H)])
    K.append(a)
d = {k: [[0.0] * len(r) for r in v] for k, v in m.items()}
dx = [[0.0] * I for _ in range(T)]
dh, dc = [0.0] * H, [0.0] * H
for t in range(T - 1, -1, -1):
    a = K[t]
    e = {g: [0.0] * H for g in a}
    for j in range(H):
        q = dh[j] + dy[t][j]
        th = math.tanh(c[t + 1][j])
        p = dc[j] + q * a["output"][j] * (1 - th * th)
        e["output"][j] = q * th * a["output"][j] * (1 - a["output"][j])
        e["cell"][j] = p * a["input"][j] * (1 - a["cell"][j] ** 2)
        e["input"][j] = p * a["cell"][j] * a["input"][j] * (1 - a["input"][j])
        e["forget"][j] = p * c[t][j] * a["forget"][j] * (1 - a["forget"][j])
        dc[j] = p * a["forget"][j]
    dh = [0.0] * H
    for g in e:
        for j in range(H):
            for k in range(I):
                d[g + "Matrix"][j][k] += e[g][j] * x[t][k]
                dx[t][k] += m[g + "Matrix"][j][k] * e[g][j]
            for k in range(H):
                d[g + "Hidden"][j][k] += e[g][j] * h[t][k]
                dh[k] += m[g + "Hidden"][j][k] * e[g][j]
            d[g + "Bias"][j][0] += e[g][j]
case = {"weights": m, "grads": {**d, "x": dx}, "x": x, "dy": dy, "y": h[1:]}
