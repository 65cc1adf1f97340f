"""A course's exercise: cell functions with a dictionary of parameters, examples as columns, time last: (n, m, T)."""

import numpy as np

np.random.seed(12)
n_x, n_a, m, T_x = 3, 5, 4, 6
parameters = {f"W{k}": np.random.randn(n_a, n_a + n_x) * 0.5 for k in "fico"}
parameters |= {f"b{k}": np.random.randn(n_a, 1) * 0.3 for k in "fico"}
x, da = np.random.randn(n_x, m, T_x), np.random.randn(n_a, m, T_x)


def sigmoid(v):
    return 1 / (1 + np.exp(-v))


def lstm_cell_forward(xt, a_prev, c_prev, parameters):
    concat = np.concatenate([a_prev, xt], axis=0)
    ft, it, ot = (sigmoid(parameters["W" + k] @ concat + parameters["b" + k]) for k in "fio")
    cct = np.tanh(parameters["Wc"] @ concat + parameters["bc"])
    c_next = ft * c_prev + it * cct
    a_next = ot * np.tanh(c_next)
    return a_next, c_next, (a_next, c_next, a_prev, c_prev, ft, it, cct, ot, xt, parameters)


def lstm_cell_backward(da_next, dc_next, cache):
    a_next, c_next, a_prev, c_prev, ft, it, cct, ot, xt, parameters = cache
    dot = da_next * np.tanh(c_next) * ot * (1 - ot)
    dcct = (dc_next * it + ot * (1 - np.square(np.tanh(c_next))) * it * da_next) * (1 - np.square(cct))
    dit = (dc_next * cct + ot * (1 - np.square(np.tanh(c_next))) * cct * da_next) * it * (1 - it)
    dft = (dc_next * c_prev + ot * (1 - np.square(np.tanh(c_next))) * c_prev * da_next) * ft * (1 - ft)
    concat = np.vstack([a_prev, xt])
    grads = {"dWf": dft @ concat.T, "dWi": dit @ concat.T, "dWc": dcct @ concat.T, "dWo": dot @ concat.T}
    grads |= {
        name: d.sum(axis=1, keepdims=True) for name, d in zip(("dbf", "dbi", "dbc", "dbo"), (dft, dit, dcct, dot))
    }
    W = parameters
    da_prev = W["Wf"][:, :n_a].T @ dft + W["Wi"][:, :n_a].T @ dit + W["Wc"][:, :n_a].T @ dcct + W["Wo"][:, :n_a].T @ dot
    dxt = W["Wf"][:, n_a:].T @ dft + W["Wi"][:, n_a:].T @ dit + W["Wc"][:, n_a:].T @ dcct + W["Wo"][:, n_a:].T @ dot
    dc_prev = dc_next * ft + ot * (1 - np.square(np.tanh(c_next))) * ft * da_next
    return da_prev, dc_prev, dxt, grads


a, c, caches, out = np.zeros((n_a, m)), np.zeros((n_a, m)), [], np.zeros((n_a, m, T_x))
for t in range(T_x):
    a, c, cache = lstm_cell_forward(x[:, :, t], a, c, parameters)
    out[:, :, t] = a
    caches.append(cache)
dx, da_prevt, dc_prevt = np.zeros_like(x), np.zeros((n_a, m)), np.zeros((n_a, m))
gradients = {"d" + name: np.zeros_like(value) for name, value in parameters.items()}
for t in reversed(range(T_x)):
    da_prevt, dc_prevt, dx[:, :, t], grads = lstm_cell_backward(da[:, :, t] + da_prevt, dc_prevt, caches[t])
    for name in grads:
        gradients[name] += grads[name]
case = {"weights": parameters, "grads": gradients | {"x": dx}, "x": x, "dy": da, "y": out}
