"""The LSTM step with layer normalisation, in the forms that people write; with the gains that they have, or none.

    sum     a = gamma_x normalised(x W_ih + h W_hh [+ b]) + beta [+ b], over all four gates
    gate    the same, each gate by itself
    apart   a = gamma_x normalised(x W_ih) + gamma_h normalised(h W_hh) + b + beta

and c as it is, normalised where it is shown, or normalised and carried so, by gamma_c and beta_c. Each gain is a block
that no product feeds, as in lstmcore's own step, which is the form "apart" that shows c normalised. Numbers in
brackets are the equations of docs/derivation.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from typing import NamedTuple

import numpy as np

from lstmcore.arrays import Array, namespace
from lstmcore.layers import LSTM, Layer
from lstmcore.layers.params import Params
from lstmcore.ops import gates
from lstmcore.ops.cells import Cell
from lstmcore.ops.cells.cell import Maths, Steps
from lstmcore.ops.cells.lstm import lstm
from lstmcore.ops.cells.lstm_layer_norm import normalise_backward

OVER = {"sum": "the sum of both products", "gate": "the sum of both products", "apart": "each product"}
STATE = {"": "", "shown": ", and of c where it is shown", "carried": ", and of c, which is carried so"}
EPS = (1e-5, 1e-6, 1e-8, 1e-3, 1e-12, 0.0)
GAINS = ("gamma_x", "gamma_h", "beta", "gamma_c", "beta_c")
Four = tuple[Array, ...]
Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Form:
    """Makes the step of one form."""

    over: str
    inside: bool  # the bias is a part of what is normalised
    state: str
    eps: float

    def __str__(self) -> str:
        bias = " and the bias" if self.inside else ""
        each = ", gate by gate" if self.over == "gate" else ""
        return f"an LSTM with layer norm (of {OVER[self.over]}{bias}{each}{STATE[self.state]}; eps {self.eps:g})"

    def normalised(self, v: Array) -> tuple[Array, Array]:
        """With mean 0 and variance 1 over the last axis; and 1 / deviation."""
        xp = namespace(v)
        v = v - _mean(v)
        r = 1 / xp.sqrt(_mean(v * v) + self.eps)
        return v * r, r  # (99)

    def four(self, v: Four) -> Four:
        """The four gates (B, H) normalised: together, or each by itself."""
        if self.over == "gate":
            return tuple(self.normalised(part)[0] for part in v)
        return _apart(self.normalised(_beside(v))[0])

    def four_backward(self, dn: Four, v: Four) -> Four:
        """Undoes `four`."""
        if self.over == "gate":
            return tuple(normalise_backward(d, *self.normalised(part)) for d, part in zip(dn, v))
        return _apart(normalise_backward(_beside(dn), *self.normalised(_beside(v))))

    def __call__(self, maths: Maths) -> Steps:
        sigma, phi, one = maths
        apart = self.over == "apart"

        def fed(x: Four, h: Four) -> Four:
            return x if apart else tuple(x_k + h_k for x_k, h_k in zip(x, h))

        def gate_slope(s: Array) -> Array:
            return s * (one - s)

        def slope(g: Array) -> Array:
            return one - g * g

        def step_forward(*given: Array) -> tuple[Array, ...]:
            x, h, b, gamma_x, gamma_h, beta = (given[k : k + 4] for k in range(0, 24, 4))
            gamma_c, beta_c, c_prev = given[24:]
            if self.inside:
                x, b = tuple(x_k + b_k for x_k, b_k in zip(x, b)), tuple(0 * b_k for b_k in b)
            n_x, n_h = self.four(fed(x, h)), self.four(h) if apart else h
            parts = [gamma_x[k] * n_x[k] + b[k] + beta[k] for k in range(4)]
            a_i, a_f, a_g, a_o = (a + gamma_h[k] * n_h[k] if apart else a for k, a in enumerate(parts))  # (100)
            i = sigma(a_i)  # (2)
            f = sigma(a_f)  # (3)
            g = phi(a_g)  # (4)
            o = sigma(a_o)  # (5)
            c = f * c_prev + i * g  # (6)
            m = gamma_c * self.normalised(c)[0] + beta_c if self.state else c  # (101)
            h_new = o * phi(m)  # (102)
            state = m if self.state == "carried" else c
            return *x, *h, i, f, g, o, *gamma_x, *gamma_h, *beta, gamma_c, beta_c, h_new, state

        def step_backward(dh: Array, dc: Array, *saved: Array) -> tuple[Array, ...]:
            x, h, (i, f, g, o), gamma_x, gamma_h, _ = (saved[k : k + 4] for k in range(0, 24, 4))
            gamma_c, beta_c, c_prev, c = saved[24:]
            made = f * c_prev + i * g  # c, but where it is carried normalised
            n_c, r_c = self.normalised(made)
            psi_c = phi(gamma_c * n_c + beta_c) if self.state else phi(c)
            dm = dh * o * slope(psi_c)
            if self.state == "carried":
                dm, dc = dm + dc, 0 * dc
            dc = dc + (normalise_backward(dm * gamma_c, n_c, r_c) if self.state else dm)  # (105) undoes (101)
            do = dh * psi_c  # (103) undoes (102)
            dg = dc * i  # (10) undoes (6)
            di = dc * g  # (11)
            dc_prev = dc * f  # (12)
            df = dc * c_prev  # (13)
            da_o = do * gate_slope(o)  # (14) undoes (5)
            da_g = dg * slope(g)  # (15) undoes (4)
            da_f = df * gate_slope(f)  # (16) undoes (3)
            da_i = di * gate_slope(i)  # (17) undoes (2)
            da = (da_i, da_f, da_g, da_o)
            n_x, n_h = self.four(fed(x, h)), self.four(h) if apart else h
            dx = self.four_backward(tuple(d * gamma for d, gamma in zip(da, gamma_x)), fed(x, h))
            dh_part = self.four_backward(tuple(d * gamma for d, gamma in zip(da, gamma_h)), h) if apart else dx
            gains = [d * n for parts in (n_x, n_h) for d, n in zip(da, parts)]  # (106) undoes (100)
            gains = gains if apart else [*gains[:4], *(0 * d for d in da)]
            of_c = (dm * n_c, dm) if self.state else (0 * dm, 0 * dm)
            return *dx, *dh_part, *(dx if self.inside else da), *gains, *da, *of_c, dc_prev

        return step_forward, step_backward


FORMS = tuple(
    Form(over, inside, state, eps)
    for eps, state, (over, inside) in product(
        EPS, STATE, (("sum", True), ("sum", False), ("gate", True), ("gate", False), ("apart", False))
    )
)


class Norm(NamedTuple):
    """Which form it is, and which of a program's arrays are its gains; what has no array is 1, or 0."""

    form: Form
    gains: Mapping[str, str]  # key -> one of GAINS

    @property
    def cell(self) -> Cell:
        """The LSTM of this form."""
        return _cell(self.form)

    def layer(self, I: int, H: int) -> Layer:
        """A layer of it, whose parameters are yet to come."""
        layer = LSTM(I, H, dtype="float64", seed=0, engine="reference")
        layer.cell = self.cell
        layer.params = Params({name: np.zeros(shape) for name, shape in self.cell.shapes(I, H).items()})
        return layer

    def others(self, weights: Arrays) -> dict[str, np.ndarray]:
        """The arrays that a plain LSTM has too."""
        return {key: a for key, a in weights.items() if key not in self.gains}

    def params(self, weights: Arrays, H: int) -> dict[str, np.ndarray]:
        """The gains by lstmcore's names."""
        shapes = {name: ((1 if name.endswith("_c") else 4) * H,) for name in GAINS}
        found = {name: np.full(shape, float(name.startswith("gamma"))) for name, shape in shapes.items()}
        for name in set(self.gains.values()):
            found[name] = np.sum([weights[key].reshape(-1) for key, role in self.gains.items() if role == name], axis=0)
        return found


@cache
def _cell(form: Form) -> Cell:
    parts = [f"{part}{gate}" for part in ("x_", "h_", "", "gamma_x_", "gamma_h_", "beta_") for gate in lstm.gates]
    blocks = {"b": tuple(range(8, 12)), "gamma_x": tuple(range(12, 16)), "gamma_h": tuple(range(16, 20))}
    return replace(
        lstm,
        gates=(*parts, "gamma_c", "beta_c"),
        input_blocks=(0, 1, 2, 3),
        recurrent_blocks=(4, 5, 6, 7),
        biases={**blocks, "beta": tuple(range(20, 24)), "gamma_c": (24,), "beta_c": (25,)},
        make_step=form,
    )


def _mean(v: Array) -> Array:
    xp = namespace(v)
    return xp.reshape(xp.sum(v, axis=-1), (*v.shape[:-1], 1)) / v.shape[-1]


def _beside(v: Four) -> Array:
    return namespace(v[0]).concat(v, axis=-1)


def _apart(v: Array) -> Four:
    parts = gates.split(v, 4)
    return tuple(parts[..., k, :] for k in range(4))
