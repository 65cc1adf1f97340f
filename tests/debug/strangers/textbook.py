"""A textbook's from-scratch model: W_xi, W_hi, b_i ... as a list of parameters, batch in rows, states as a tuple."""

import numpy as np

rng = np.random.default_rng(28)
num_steps, batch, vocab, hiddens = 5, 2, 3, 4


def three():
    return rng.normal(0, 0.5, (vocab, hiddens)), rng.normal(0, 0.5, (hiddens, hiddens)), rng.normal(0, 0.2, hiddens)


params = [*three(), *three(), *three(), *three()]
names = [name + gate for gate in "ifoc" for name in ("W_x", "W_h", "b_")]
inputs, upstream = rng.normal(size=(num_steps, batch, vocab)), rng.normal(size=(num_steps, batch, hiddens))


def lstm(inputs, state, params):
    W_xi, W_hi, b_i, W_xf, W_hf, b_f, W_xo, W_ho, b_o, W_xc, W_hc, b_c = params
    (H, C), outputs, cache = state, [], []
    for X in inputs:
        I = 1 / (1 + np.exp(-(X @ W_xi + H @ W_hi + b_i)))
        F = 1 / (1 + np.exp(-(X @ W_xf + H @ W_hf + b_f)))
        O = 1 / (1 + np.exp(-(X @ W_xo + H @ W_ho + b_o)))
        C_tilda = np.tanh(X @ W_xc + H @ W_hc + b_c)
        H_old, C_old = H, C
        C = F * C + I * C_tilda
        H = O * np.tanh(C)
        outputs.append(H)
        cache.append((X, H_old, C_old, I, F, O, C_tilda, C))
    return np.stack(outputs), cache


def lstm_grad(upstream, cache, params):
    W_xi, W_hi, b_i, W_xf, W_hf, b_f, W_xo, W_ho, b_o, W_xc, W_hc, b_c = params
    sums, dH, dC, dX, inner = [np.zeros_like(p) for p in params], 0, 0, [], []
    for dY, (X, H, C_old, I, F, O, C_tilda, C) in zip(upstream[::-1], cache[::-1]):
        dH = dH + dY
        dC = dC + dH * O * (1 - np.tanh(C) ** 2)
        dI = dC * C_tilda * I * (1 - I)
        dF = dC * C_old * F * (1 - F)
        dO = dH * np.tanh(C) * O * (1 - O)
        dT = dC * I * (1 - C_tilda**2)
        inner.insert(0, (dH, dC, dI, dF, dO, dT))
        for k, d in enumerate((dI, dF, dO, dT)):
            sums[3 * k] += X.T @ d
            sums[3 * k + 1] += H.T @ d
            sums[3 * k + 2] += d.sum(axis=0)
        dX.insert(0, dI @ W_xi.T + dF @ W_xf.T + dO @ W_xo.T + dT @ W_xc.T)
        dH = dI @ W_hi.T + dF @ W_hf.T + dO @ W_ho.T + dT @ W_hc.T
        dC = dC * F
    return sums, np.stack(dX), inner


y, cache = lstm(inputs, (np.zeros((batch, hiddens)), np.zeros((batch, hiddens))), params)
sums, dX, inner = lstm_grad(upstream, cache, params)
case = {"weights": dict(zip(names, params)), "grads": dict(zip(names, sums)) | {"x": dX}}
case |= {"x": inputs, "dy": upstream, "y": y}
steps = {
    name: np.stack([row[k] for row in inner]) for k, name in enumerate(("dh", "dc", "da_i", "da_f", "da_o", "da_g"))
}
