"""The LSTM step and its undoing (Hochreiter & Schmidhuber 1997; forget gate: Gers, Schmidhuber & Cummins 2000).

Numbers in brackets are the equations of docs/derivation.md. Pre-activations: a = x W_ih + h_prev W_hh + b (1).
"""

from lstmcore.ops.cells.cell import Cell, Maths, Steps


def make_step(maths: Maths) -> Steps:
    """The pair (step_forward, step_backward), over whatever `maths` computes on: arrays (B, H) or single numbers."""
    sigmoid, tanh, one = maths

    def step_forward(a_i, a_f, a_g, a_o, c_prev):
        i = sigmoid(a_i)  # (2) how much of the candidate enters
        f = sigmoid(a_f)  # (3) how much of the old state stays
        g = tanh(a_g)  # (4) the candidate
        o = sigmoid(a_o)  # (5) how much of the state is shown
        c = f * c_prev + i * g  # (6)
        h = o * tanh(c)  # (7)
        return i, f, g, o, h, c

    def step_backward(dh, dc, i, f, g, o, c_prev, c):
        tanh_c = tanh(c)
        dc = dc + dh * o * (one - tanh_c * tanh_c)  # (8) undoes (7); dc came along c from step t+1
        do = dh * tanh_c  # (9) undoes (7)
        dg = dc * i  # (10) undoes (6), from its last factor to its first
        di = dc * g  # (11)
        dc_prev = dc * f  # (12)
        df = dc * c_prev  # (13)
        da_o = do * o * (one - o)  # (14) undoes (5): sigmoid' = s (1 - s)
        da_g = dg * (one - g * g)  # (15) undoes (4): tanh' = 1 - tanh^2
        da_f = df * f * (one - f)  # (16) undoes (3)
        da_i = di * i * (one - i)  # (17) undoes (2)
        return da_i, da_f, da_g, da_o, dc_prev

    return step_forward, step_backward


lstm: Cell = Cell(
    name="lstm",
    states=("h", "c"),
    gates=("i", "f", "g", "o"),
    input_blocks=(0, 1, 2, 3),
    recurrent_blocks=(0, 1, 2, 3),
    biases={"b": (0, 1, 2, 3)},
    previous=("c",),
    current=("c",),
    make_step=make_step,
    words={"i": "input gate", "f": "forget gate", "g": "candidate", "o": "output gate"},
    initial_biases={"f": 1.0},  # open at first, or nothing is remembered (Gers et al. 2000; Jozefowicz et al. 2015)
)
