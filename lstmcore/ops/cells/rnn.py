"""The plain (Elman 1990) recurrent step with tanh, and its undoing. Numbers: equations of docs/derivation.md."""

from lstmcore.ops.cells.cell import Cell, Maths, Steps


def make_step(maths: Maths) -> Steps:
    """The pair (step_forward, step_backward), over whatever `maths` computes on: arrays (B, H) or single numbers."""
    _, tanh, one = maths

    def step_forward(a_n):
        n = tanh(a_n)  # (38)
        h = n  # (39)
        return n, h

    def step_backward(dh, n):
        dn = dh  # (40) undoes (39)
        da_n = dn * (one - n * n)  # (41) undoes (38)
        return (da_n,)

    return step_forward, step_backward


rnn: Cell = Cell(
    name="rnn",
    states=("h",),
    gates=("n",),
    input_blocks=(0,),
    recurrent_blocks=(0,),
    biases={"b": (0,)},
    previous=(),
    current=(),
    make_step=make_step,
    words={"n": "candidate"},
)
