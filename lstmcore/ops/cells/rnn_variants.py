"""The plain recurrent step with another activation, or with its input held within bounds."""

from dataclasses import dataclass, replace

from lstmcore.ops.cells.activations import Activation, Spec, activation, checked
from lstmcore.ops.cells.cell import Cell, Maths, Steps
from lstmcore.ops.cells.rnn import rnn


@dataclass(frozen=True)
class RNNStep:
    """Makes the step of these options."""

    activation: Spec
    clip_a: float | None

    def __call__(self, maths: Maths) -> Steps:
        phi, slope = activation(maths, self.activation, self.clip_a)

        def step_forward(a_n):
            n = phi(a_n)  # (38), phi for tanh
            h = n  # (39)
            return n, h

        def step_backward(dh, n):
            dn = dh  # (40) undoes (39)
            da_n = dn * slope(n)  # (41) undoes (38)
            return (da_n,)

        return step_forward, step_backward


def rnn_variant(activation: Activation = "tanh", clip_a: float | None = None) -> Cell:
    return replace(rnn, make_step=RNNStep(checked("activation", activation), clip_a))
