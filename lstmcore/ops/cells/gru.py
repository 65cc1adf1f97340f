"""The GRU step and its undoing (Cho et al. 2014), with the reset gate applied after the recurrent product.

This is the form of cuDNN, PyTorch and Keras (reset_after=True): the candidate's recurrent part m = h_prev W_hn + b_hn
(116) is a block of its own, which W_ih does not feed; the other pre-activations are (113) to (115). Numbers in brackets
are the equations of docs/derivation.md.
"""

from lstmcore.ops.cells.cell import Cell, Maths, Steps


def make_step(maths: Maths) -> Steps:
    """The pair (step_forward, step_backward), over whatever `maths` computes on: arrays (B, H) or single numbers."""
    sigmoid, tanh, one = maths

    def step_forward(a_r, a_z, a_n, m, h_prev):
        r = sigmoid(a_r)  # (26) how much of m the candidate sees
        z = sigmoid(a_z)  # (27) how much of the old state stays
        n = tanh(a_n + r * m)  # (28) the candidate
        h = (one - z) * n + z * h_prev  # (29)
        return r, z, n, m, h

    def step_backward(dh, r, z, n, m, h_prev):
        dh_prev = dh * z  # (30) undoes (29), from its last factor to its first
        dz = dh * (h_prev - n)  # (31)
        dn = dh * (one - z)  # (32)
        da_n = dn * (one - n * n)  # (33) undoes (28)
        dm = da_n * r  # (34)
        dr = da_n * m  # (35)
        da_z = dz * z * (one - z)  # (36) undoes (27)
        da_r = dr * r * (one - r)  # (37) undoes (26)
        return da_r, da_z, da_n, dm, dh_prev

    return step_forward, step_backward


gru: Cell = Cell(
    name="gru",
    states=("h",),
    gates=("r", "z", "n", "m"),
    input_blocks=(0, 1, 2),
    recurrent_blocks=(0, 1, 3),
    biases={"b": (0, 1, 2), "b_hn": (3,)},
    previous=("h",),
    current=(),
    make_step=make_step,
    words={"r": "reset gate", "z": "update gate", "n": "candidate", "m": "recurrent part of the candidate"},
)
