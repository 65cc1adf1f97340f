"""TensorFlow 1's style by hand: one matrix over [x, h], batch first, float32, a mean over the batch in no place."""

import numpy as np

rng = np.random.default_rng(5)
B, T, I, H = 3, 5, 2, 4
f32 = np.float32
kernel = (0.6 * rng.standard_normal((I + H, 4 * H))).astype(f32)
bias = (0.3 * rng.standard_normal(4 * H)).astype(f32)
inputs = rng.standard_normal((B, T, I)).astype(f32)
upstream = rng.standard_normal((B, T, H)).astype(f32)


def logistic(v):
    return (np.tanh(v / 2) + f32(1)) / 2


state, output = np.zeros((B, H), f32), np.zeros((B, H), f32)
tape, outputs = [], np.zeros((B, T, H), f32)
for t in range(T):
    xh = np.concatenate([inputs[:, t], output], axis=1)
    j, i, f, o = np.split(xh @ kernel + bias, 4, axis=1)
    j, i, f, o = np.tanh(j), logistic(i), logistic(f), logistic(o)
    new_state = state * f + i * j
    output = np.tanh(new_state) * o
    tape.append((xh, j, i, f, o, state, new_state))
    outputs[:, t] = output
    state = new_state

d_kernel, d_bias, d_inputs = np.zeros_like(kernel), np.zeros_like(bias), np.zeros_like(inputs)
d_output, d_state = np.zeros((B, H), f32), np.zeros((B, H), f32)
for t in range(T)[::-1]:
    xh, j, i, f, o, state, new_state = tape[t]
    d_output = d_output + upstream[:, t]
    squashed = np.tanh(new_state)
    d_new = d_state + d_output * o * (1 - squashed**2)
    d_o = d_output * squashed * o * (1 - o)
    d_f = d_new * state * f * (1 - f)
    d_i = d_new * j * i * (1 - i)
    d_j = d_new * i * (1 - j**2)
    d_a = np.concatenate([d_j, d_i, d_f, d_o], axis=1)
    d_kernel += xh.T @ d_a
    d_bias += d_a.sum(axis=0)
    d_xh = d_a @ kernel.T
    d_inputs[:, t], d_output = d_xh[:, :I], d_xh[:, I:]
    d_state = d_new * f

case = {
    "weights": {"kernel": kernel, "bias": bias},
    "grads": {"kernel": d_kernel, "bias": d_bias, "x": d_inputs},
    "x": inputs,
    "dy": upstream,
    "y": outputs,
}
