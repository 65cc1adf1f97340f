"""Characters as one-hot columns, dicts by time, W over [h; x], a softmax on top: dy is what the program has of it."""

import numpy as np

np.random.seed(204)
H, V, T = 5, 4, 8
z_size = H + V
W_f, W_i, W_C, W_o = (np.random.randn(H, z_size) * 0.6 for _ in range(4))
b_f, b_i, b_C, b_o = (np.random.randn(H, 1) * 0.3 for _ in range(4))
W_v, b_v = np.random.randn(V, H), np.zeros((V, 1))
chars = [0, 1, 0, 2, 1, 3, 0, 1, 2]
inputs, targets = chars[:-1], chars[1:]
sigmoid = lambda v: 1 / (1 + np.exp(-v))
dsigmoid = lambda y: y * (1 - y)
dtanh = lambda y: 1 - y * y
xs, zs, fs, is_, Cbs, Cs, os_, hs, ys = {}, {}, {}, {}, {}, {-1: np.zeros((H, 1))}, {}, {-1: np.zeros((H, 1))}, {}
for t in range(T):
    xs[t] = np.zeros((V, 1))
    xs[t][inputs[t]] = 1
    zs[t] = np.vstack((hs[t - 1], xs[t]))
    fs[t], is_[t] = sigmoid(W_f @ zs[t] + b_f), sigmoid(W_i @ zs[t] + b_i)
    Cbs[t] = np.tanh(W_C @ zs[t] + b_C)
    Cs[t] = fs[t] * Cs[t - 1] + is_[t] * Cbs[t]
    os_[t] = sigmoid(W_o @ zs[t] + b_o)
    hs[t] = os_[t] * np.tanh(Cs[t])
    v = W_v @ hs[t] + b_v
    ys[t] = np.exp(v) / np.sum(np.exp(v))
names = [k + g for g in "fiCo" for k in ("W_", "b_")]
d = {k: np.zeros_like(globals()[k]) for k in names}
dh_next, dC_next, dhs = np.zeros((H, 1)), np.zeros((H, 1)), []
seen = []
for t in reversed(range(T)):
    dv = np.copy(ys[t])
    dv[targets[t]] -= 1
    dhs.insert(0, np.dot(W_v.T, dv))
    dh = np.dot(W_v.T, dv) + dh_next
    do = dsigmoid(os_[t]) * dh * np.tanh(Cs[t])
    dC = np.copy(dC_next)
    dC += dh * os_[t] * dtanh(np.tanh(Cs[t]))
    dC_bar = dtanh(Cbs[t]) * dC * is_[t]
    di = dsigmoid(is_[t]) * dC * Cbs[t]
    df = dsigmoid(fs[t]) * dC * Cs[t - 1]
    seen.insert(0, {"dh": dh, "dc": dC, "da_f": df, "da_i": di, "da_g": dC_bar, "da_o": do})
    for g, a in (("f", df), ("i", di), ("C", dC_bar), ("o", do)):
        d["W_" + g] += np.dot(a, zs[t].T)
        d["b_" + g] += a
    dz = np.dot(W_f.T, df) + np.dot(W_i.T, di) + np.dot(W_C.T, dC_bar) + np.dot(W_o.T, do)
    dh_next, dC_next = dz[:H, :], fs[t] * dC
line = lambda v: np.hstack([v[t] for t in range(T)]).T
case = {
    "weights": {k: globals()[k] for k in names},
    "grads": d,
    "x": line(xs),
    "dy": np.hstack(dhs).T,
    "y": line(hs),
}
steps = {k: np.hstack([step[k] for step in seen]).T for k in seen[0]}
