"""One sample, column vectors, a matrix per gate over [h; x], lists of arrays: the style of textbooks."""

import numpy as np

rng = np.random.default_rng(1)
T, n_x, n_h = 5, 3, 4


def sigmoid(z):
    return 1.0 / (1.0 + np.exp(-z))


Wf, Wi, Wc, Wo = (0.6 * rng.standard_normal((n_h, n_h + n_x)) for _ in range(4))
bf, bi, bc, bo = (0.3 * rng.standard_normal((n_h, 1)) for _ in range(4))
xs = [rng.standard_normal((n_x, 1)) for _ in range(T)]
dhs = [rng.standard_normal((n_h, 1)) for _ in range(T)]

h, c = np.zeros((n_h, 1)), np.zeros((n_h, 1))
memory = []
for t in range(T):
    z = np.vstack((h, xs[t]))
    f = sigmoid(np.dot(Wf, z) + bf)
    i = sigmoid(np.dot(Wi, z) + bi)
    c_bar = np.tanh(np.dot(Wc, z) + bc)
    o = sigmoid(np.dot(Wo, z) + bo)
    c_old = c
    c = f * c_old + i * c_bar
    h = o * np.tanh(c)
    memory.append((z, f, i, c_bar, o, c_old, c, h))

dWf, dWi, dWc, dWo = (np.zeros_like(W) for W in (Wf, Wi, Wc, Wo))
dbf, dbi, dbc, dbo = (np.zeros_like(b) for b in (bf, bi, bc, bo))
dxs = [None] * T
dh_next, dc_next = np.zeros_like(h), np.zeros_like(c)
dhist, dchist = [None] * T, [None] * T
for t in reversed(range(T)):
    z, f, i, c_bar, o, c_old, c, h = memory[t]
    dh = dhs[t] + dh_next
    do = dh * np.tanh(c)
    da_o = do * o * (1 - o)
    dc = dh * o * (1 - np.tanh(c) ** 2)
    dc = dc + dc_next
    da_c = dc * i * (1 - c_bar**2)
    da_i = dc * c_bar * i * (1 - i)
    da_f = dc * c_old * f * (1 - f)
    dWf += np.dot(da_f, z.T)
    dWi += np.dot(da_i, z.T)
    dWc += np.dot(da_c, z.T)
    dWo += np.dot(da_o, z.T)
    dbf += da_f
    dbi += da_i
    dbc += da_c
    dbo += da_o
    dz = np.dot(Wf.T, da_f) + np.dot(Wi.T, da_i) + np.dot(Wc.T, da_c) + np.dot(Wo.T, da_o)
    dh_next = dz[:n_h]
    dxs[t] = dz[n_h:]
    dc_next = f * dc

case = {
    "weights": {"Wf": Wf, "Wi": Wi, "Wc": Wc, "Wo": Wo, "bf": bf, "bi": bi, "bc": bc, "bo": bo},
    "grads": {
        "dWf": dWf,
        "dWi": dWi,
        "dWc": dWc,
        "dWo": dWo,
        "dbf": dbf,
        "dbi": dbi,
        "dbc": dbc,
        "dbo": dbo,
        "x": np.array(dxs),
    },
    "x": np.array(xs),
    "dy": np.array(dhs),
    "y": np.array([m[7] for m in memory]),
}
