"""The LSTM step with layer normalisation (Ba, Kiros & Hinton 2016, their 20 to 22; the form of haste's LayerNormLSTM).

Both products and the state that is shown are normalised over their units, row by row, with gains of their own:

    a = gamma_x * normalised(x W_ih) + gamma_h * normalised(h_prev W_hh) + b
    h = o * tanh(gamma_c * normalised(c) + beta_c)

Each product has blocks of its own, so that the step sees it before it is added, and each gain is a block that no
product feeds. What is saved for a product is the product. A normalisation is a sum over units, so this step runs on the
reference engine.
"""

from dataclasses import replace

from lstmcore.arrays import Array, namespace
from lstmcore.ops import gates
from lstmcore.ops.cells.cell import Cell, Maths, Steps
from lstmcore.ops.cells.lstm import lstm

EPS = 1e-5  # beside the variance, as in haste and torch
GATES = lstm.gates
PARTS = {"x": "input's part", "h": "recurrent part", "": "", "gamma_x": "gain of the input", "gamma_h": "gain of h"}


def normalise_forward(*parts: Array) -> tuple[Array, Array]:
    """The parts (..., H) side by side as (..., n), with mean 0 and variance 1 over the last axis; and 1 / deviation."""
    xp = namespace(parts[0])
    v = xp.concat(parts, axis=-1)
    v = v - _mean(v)
    r = 1 / xp.sqrt(_mean(v * v) + EPS)
    return v * r, r  # (99)


def normalise_backward(dn: Array, n: Array, r: Array) -> Array:
    """The gradient of what was normalised, all (..., n) but for r (..., 1): mean and deviation depend on every unit."""
    return r * (dn - _mean(dn) - n * _mean(dn * n))  # (104) for (99)


def _mean(v: Array) -> Array:
    xp = namespace(v)
    return xp.reshape(xp.sum(v, axis=-1), (*v.shape[:-1], 1)) / v.shape[-1]


def _four(v: Array) -> tuple[Array, ...]:
    """(..., 4H) as four (..., H)."""
    return tuple(gates.split(v, 4)[..., k, :] for k in range(4))


def make_step(maths: Maths) -> Steps:
    sigmoid, tanh, one = maths

    def step_forward(*given: Array) -> tuple[Array, ...]:
        x, h, b, gamma_x, gamma_h = (given[k : k + 4] for k in range(0, 20, 4))
        gamma_c, beta_c, c_prev = given[20:]
        n_x, n_h = _four(normalise_forward(*x)[0]), _four(normalise_forward(*h)[0])
        a_i, a_f, a_g, a_o = (b[k] + gamma_x[k] * n_x[k] + gamma_h[k] * n_h[k] for k in range(4))  # (100)
        i, f, g, o = sigmoid(a_i), sigmoid(a_f), tanh(a_g), sigmoid(a_o)  # (2) (3) (4) (5)
        c = f * c_prev + i * g  # (6)
        m = gamma_c * normalise_forward(c)[0] + beta_c  # (101)
        h_new = o * tanh(m)  # (102)
        return *x, *h, i, f, g, o, *gamma_x, *gamma_h, gamma_c, beta_c, h_new, c

    def step_backward(dh: Array, dc: Array, *saved: Array) -> tuple[Array, ...]:
        x, h, (i, f, g, o), gamma_x, gamma_h = (saved[k : k + 4] for k in range(0, 20, 4))
        gamma_c, beta_c, c_prev, c = saved[20:]
        n_c, r_c = normalise_forward(c)
        tanh_m = tanh(gamma_c * n_c + beta_c)
        do = dh * tanh_m  # (103) undoes (102)
        dm = dh * o * (one - tanh_m * tanh_m)
        dc = dc + normalise_backward(dm * gamma_c, n_c, r_c)  # (105) undoes (101)
        di, df, dg, dc_prev = dc * g, dc * c_prev, dc * i, dc * f  # (11) (13) (10) (12)
        da = di * i * (one - i), df * f * (one - f), dg * (one - g * g), do * o * (one - o)  # (17) (16) (15) (14)
        parts: list[Array] = []
        gains: list[Array] = []
        for products, gamma in ((x, gamma_x), (h, gamma_h)):
            n, r = normalise_forward(*products)
            gains += [d * part for d, part in zip(da, _four(n))]  # (106) undoes (100)
            dn = namespace(n).concat([d * gain for d, gain in zip(da, gamma)], axis=-1)
            parts += _four(normalise_backward(dn, n, r))
        return *parts, *da, *gains, dm * n_c, dm, dc_prev

    return step_forward, step_backward


lstm_layer_norm: Cell = replace(
    lstm,
    gates=(*(f"{part}_{gate}".lstrip("_") for part in PARTS for gate in GATES), "gamma_c", "beta_c"),
    input_blocks=(0, 1, 2, 3),
    recurrent_blocks=(4, 5, 6, 7),
    biases={"b": (8, 9, 10, 11), "gamma": tuple(range(12, 20)), "gamma_c": (20,), "beta_c": (21,)},
    make_step=make_step,
    words={
        **{f"{part}_{gate}".lstrip("_"): f"{lstm.words[gate]}, {PARTS[part]}" if part else lstm.words[gate]
           for part in PARTS for gate in GATES},
        "gamma_c": "gain of the state", "beta_c": "bias of the state",
    },
    initial_biases={
        "f": 1.0, "gamma_c": 1.0,
        **{f"gamma_{part}_{gate}": 1.0 for part in ("x", "h") for gate in GATES},
    },
)  # fmt: skip
