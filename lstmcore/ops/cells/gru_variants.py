"""The GRU step with the reset gate before or after the product, and with other activations.

Before the product (Cho et al. 2014; ONNX's linear_before_reset = 0, Keras's reset_after=False) the candidate sees
(r * h_prev) W_hn: a second product inside the step, which takes this cell to the reference engine.
"""

from dataclasses import dataclass, replace

from lstmcore.ops.cells.activations import Activation, Spec, activation, checked
from lstmcore.ops.cells.cell import Cell, Maths, Steps
from lstmcore.ops.cells.gru import gru
from lstmcore.ops.cells.symbol import Number


@dataclass(frozen=True)
class ResetAfter:
    """Makes the step of gru.py with other activations."""

    activation: Spec
    gate_activation: Spec
    clip_a: float | None

    def __call__(self, maths: Maths) -> Steps:
        one = maths.one
        sigma, gate_slope = activation(maths, self.gate_activation, self.clip_a)
        phi, slope = activation(maths, self.activation, self.clip_a)

        def step_forward(a_r, a_z, a_n, m, h_prev):
            r = sigma(a_r)  # (26)
            z = sigma(a_z)  # (27)
            n = phi(a_n + r * m)  # (28)
            h = (one - z) * n + z * h_prev  # (29)
            return r, z, n, m, h

        def step_backward(dh, r, z, n, m, h_prev):
            dh_prev = dh * z  # (30) undoes (29)
            dz = dh * (h_prev - n)  # (31)
            dn = dh * (one - z)  # (32)
            da_n = dn * slope(n)  # (33) undoes (28)
            dm = da_n * r  # (34)
            dr = da_n * m  # (35)
            da_z = dz * gate_slope(z)  # (36) undoes (27)
            da_r = dr * gate_slope(r)  # (37) undoes (26)
            return da_r, da_z, da_n, dm, dh_prev

        return step_forward, step_backward


@dataclass(frozen=True)
class ResetBefore(ResetAfter):
    """Makes the step with the reset gate before the product; W_hn (H, H)."""

    def __call__(self, maths: Maths, W_hn: Number = None) -> Steps:
        one = maths.one
        sigma, gate_slope = activation(maths, self.gate_activation, self.clip_a)
        phi, slope = activation(maths, self.activation, self.clip_a)

        def step_forward(a_r, a_z, a_n, h_prev):
            r = sigma(a_r)  # (26)
            z = sigma(a_z)  # (27)
            q = r * h_prev  # (71) what the candidate sees of the old state
            n = phi(a_n + q @ W_hn)  # (72)
            h = (one - z) * n + z * h_prev  # (29)
            return r, z, n, h

        def step_backward(dh, r, z, n, h_prev):
            dh_prev = dh * z  # (30) undoes (29)
            dz = dh * (h_prev - n)  # (31)
            dn = dh * (one - z)  # (32)
            da_n = dn * slope(n)  # (73) undoes (72)
            dq = da_n @ W_hn.T  # (74)
            dW_hn = (r * h_prev).T @ da_n  # (75)
            dh_prev = dh_prev + dq * r  # (76) undoes (71)
            dr = dq * h_prev  # (77)
            da_z = dz * gate_slope(z)  # (36) undoes (27)
            da_r = dr * gate_slope(r)  # (37) undoes (26)
            return da_r, da_z, da_n, dh_prev, dW_hn

        return step_forward, step_backward


def gru_variant(
    reset: str = "after",
    activation: Activation = "tanh",
    gate_activation: Activation = "sigmoid",
    clip_a: float | None = None,
) -> Cell:
    options = checked("activation", activation), checked("gate_activation", gate_activation), clip_a
    if reset == "after":
        return replace(gru, make_step=ResetAfter(*options))
    if reset != "before":
        raise ValueError(f'`reset` should be "after" or "before" (the product); got {reset!r}')
    return replace(
        gru,
        gates=("r", "z", "n"),
        recurrent_blocks=(0, 1),
        biases={"b": (0, 1, 2)},
        make_step=ResetBefore(*options),
        words={gate: gru.words[gate] for gate in ("r", "z", "n")},
        weights=("W_hn",),
    )
