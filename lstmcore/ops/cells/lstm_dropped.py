"""The LSTM step with dropout on what enters the state (Semeniuta, Severyn & Barth 2016): what is held stays held.

d (B, H), 0 or 1 / (1 - p), multiplies the candidate alone, so nothing that c remembers is lost. It comes along as a
state, which the step gives on as it is: so engines need not know of it.
"""

from dataclasses import replace

from lstmcore.ops.cells.cell import Cell, Maths, Steps
from lstmcore.ops.cells.lstm import lstm


def make_step(maths: Maths) -> Steps:
    sigmoid, tanh, one = maths

    def step_forward(a_i, a_f, a_g, a_o, d, c_prev):
        i = sigmoid(a_i)  # (2)
        f = sigmoid(a_f)  # (3)
        g = tanh(a_g)  # (4)
        o = sigmoid(a_o)  # (5)
        c = f * c_prev + i * (d * g)  # (121) in place of (6)
        h = o * tanh(c)  # (7)
        return i, f, g, o, h, d, c

    def step_backward(dh, dd, dc, i, f, g, o, d, c_prev, c):
        tanh_c = tanh(c)
        dc = dc + dh * o * (one - tanh_c * tanh_c)  # (8) undoes (7)
        do = dh * tanh_c  # (9)
        dg = dc * i * d  # (122) undoes (121), in place of (10)
        di = dc * (d * g)  # (123) in place of (11)
        dd_prev = dd + dc * i * g
        dc_prev = dc * f  # (12)
        df = dc * c_prev  # (13)
        da_o = do * o * (one - o)  # (14) undoes (5)
        da_g = dg * (one - g * g)  # (15) undoes (4)
        da_f = df * f * (one - f)  # (16) undoes (3)
        da_i = di * i * (one - i)  # (17) undoes (2)
        return da_i, da_f, da_g, da_o, dd_prev, dc_prev

    return step_forward, step_backward


def lstm_dropped(cell: Cell) -> Cell:
    """The cell, an LSTM without options but for its biases, with d between its states h and c."""
    return replace(cell, states=("h", "d", "c"), previous=("d", "c"), current=("c",), make_step=make_step)


def has_dropped(cell: Cell) -> bool:
    """Whether there is such a form of it."""
    return cell.make_step is lstm.make_step
