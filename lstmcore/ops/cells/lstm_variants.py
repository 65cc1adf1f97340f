"""The LSTM step with what others add to it or take from it; lstm.py is the step without any of that.

    peepholes      the gates see the state (Gers & Schmidhuber 2000): i and f the old one, o the new one
    coupled        one gate is made of the other (Greff et al. 2017): "f" is 1 - i, or "i" is 1 - f
    clip_c         the state is held within +-clip_c
    proj_size      h is projected to so many numbers by W_hr (Sak, Senior & Beaufays 2014): a second product in the step
    clip_a         so are the inputs of the gates and of the candidate, within +-clip_a

and other activations. Peepholes are blocks that no product feeds: their bias is the weight, (H,) for each gate.
"""

from dataclasses import dataclass, replace

from lstmcore.ops.cells.activations import Activation, Spec, activation, checked
from lstmcore.ops.cells.cell import Cell, Maths, Steps
from lstmcore.ops.cells.lstm import lstm
from lstmcore.ops.cells.lstm_layer_norm import lstm_layer_norm
from lstmcore.ops.cells.symbol import Number

GATES, PEEPHOLES = ("i", "f", "g", "o"), ("p_i", "p_f", "p_o")


@dataclass(frozen=True)
class LSTMStep:
    """Makes the step of these options."""

    peepholes: bool
    coupled: str | None
    clip_c: float | None
    clip_a: float | None
    proj_size: int | None
    activation: Spec
    gate_activation: Spec
    cell_activation: Spec

    @property
    def blocks(self) -> tuple[str, ...]:
        """The blocks that there are."""
        every = (*GATES, *PEEPHOLES) if self.peepholes else GATES
        return tuple(name for name in every if name not in (self.coupled, f"p_{self.coupled}"))

    def __call__(self, maths: Maths, W_hr: Number = None) -> Steps:
        one, zero, where_less = maths.one, maths.number(0.0), maths.where_less
        sigma, gate_slope = activation(maths, self.gate_activation, self.clip_a)
        phi, slope = activation(maths, self.activation, self.clip_a)
        psi, cell_slope = activation(maths, self.cell_activation)
        peepholes, f_is_rest, i_is_rest = self.peepholes, self.coupled == "f", self.coupled == "i"
        clipped, limit = self.clip_c is not None, self.clip_c or 0.0
        bottom, top = maths.number(-limit), maths.number(limit)

        # What is left out stands in no argument: `full` puts any other in its place, which is not looked at.
        K, every = len(self.blocks), (*GATES, *PEEPHOLES)
        places = tuple(self.blocks.index(name) if name in self.blocks else 0 for name in every)
        there = tuple(every.index(name) for name in self.blocks)
        full, full_and_both, kept = maths.pick((*places, K)), maths.pick((*places, K, K + 1)), maths.pick(there)

        def step_forward(*given):
            a_i, a_f, a_g, a_o, p_i, p_f, p_o, c_prev = full(given)
            if peepholes:
                a_i = a_i + p_i * c_prev  # (78)
                a_f = a_f + p_f * c_prev  # (79)
            i = sigma(a_i)  # (2)
            f = sigma(a_f)  # (3)
            if f_is_rest:
                f = one - i  # (80)
            if i_is_rest:
                i = one - f  # (81)
            g = phi(a_g)  # (4)
            c = f * c_prev + i * g  # (6)
            if clipped:
                c = where_less(c, bottom, bottom, c)  # (82)
                c = where_less(top, c, top, c)
            if peepholes:
                a_o = a_o + p_o * c  # (83)
            o = sigma(a_o)  # (5)
            h = o * psi(c)  # (7)
            return kept((i, f, g, o, p_i, p_f, p_o)) + (h, c)

        def step_backward(dh, dc, *saved):
            i, f, g, o, p_i, p_f, p_o, c_prev, c = full_and_both(saved)
            if f_is_rest:
                f = one - i
            if i_is_rest:
                i = one - f
            psi_c = psi(c)
            dc = dc + dh * o * cell_slope(psi_c)  # (8) undoes (7)
            do = dh * psi_c  # (9)
            da_o = do * gate_slope(o)  # (14) undoes (5)
            dp_o = da_o * c  # (84) undoes (83)
            if peepholes:
                dc = dc + da_o * p_o  # (85)
            if clipped:
                dc = dc * where_less(bottom, c, one, zero) * where_less(c, top, one, zero)  # (86) undoes (82)
            dg = dc * i  # (10) undoes (6)
            di = dc * g  # (11)
            dc_prev = dc * f  # (12)
            df = dc * c_prev  # (13)
            da_g = dg * slope(g)  # (15) undoes (4)
            if i_is_rest:
                df = df - di  # (87) undoes (81)
            if f_is_rest:
                di = di - df  # (88) undoes (80)
            da_f = df * gate_slope(f)  # (16) undoes (3)
            da_i = di * gate_slope(i)  # (17) undoes (2)
            dp_f = da_f * c_prev  # (89) undoes (79)
            dp_i = da_i * c_prev  # (90) undoes (78)
            if peepholes and not f_is_rest:
                dc_prev = dc_prev + da_f * p_f  # (91)
            if peepholes and not i_is_rest:
                dc_prev = dc_prev + da_i * p_i
            return kept((da_i, da_f, da_g, da_o, dp_i, dp_f, dp_o)) + (dc_prev,)

        if self.proj_size is None:
            return step_forward, step_backward
        at_o = self.blocks.index("o")

        def projected_forward(*given):
            *gates, m, c = step_forward(*given)
            h = m @ W_hr  # (92) m is what (7) calls h
            return *gates, h, c

        def projected_backward(dh, dc, *saved):
            m = saved[at_o] * psi(saved[-1])
            dm = dh @ W_hr.T  # (93) undoes (92)
            dW_hr = m.T @ dh  # (94)
            return *step_backward(dm, dc, *saved), dW_hr

        return projected_forward, projected_backward


def lstm_variant(
    peepholes: bool = False,
    coupled: str | None = None,
    clip_c: float | None = None,
    clip_a: float | None = None,
    activation: Activation = "tanh",
    gate_activation: Activation = "sigmoid",
    cell_activation: Activation = "tanh",
    proj_size: int | None = None,
    layer_norm: bool = False,
) -> Cell:
    if layer_norm:
        given = (peepholes, coupled, clip_c, clip_a, activation, gate_activation, cell_activation, proj_size)
        if given != (False, None, None, None, "tanh", "sigmoid", "tanh", None):
            raise ValueError("`layer_norm` goes with no other option: its step normalises what those would change")
        return lstm_layer_norm
    if coupled not in (None, "f", "i"):
        raise ValueError(f'`coupled` should be "f" (f = 1 - i), "i" (i = 1 - f) or None; got {coupled!r}')
    if proj_size is not None and (type(proj_size) is not int or proj_size < 1):
        raise ValueError(f"`proj_size` should be a whole number above 0, or None; got {proj_size!r}")
    names = {"activation": activation, "gate_activation": gate_activation, "cell_activation": cell_activation}
    made_by = [checked(name, spec) for name, spec in names.items()]
    make_step = LSTMStep(peepholes, coupled, clip_c, clip_a, proj_size, *made_by)
    fed = tuple(range(4 - (coupled is not None)))
    words = {**lstm.words, **{f"p_{gate}": f"peephole of the {lstm.words[gate]}" for gate in "ifo"}}
    return replace(
        lstm,
        gates=make_step.blocks,
        input_blocks=fed,
        recurrent_blocks=fed,
        biases={"b": fed} | ({"p": tuple(range(len(fed), len(make_step.blocks)))} if peepholes else {}),
        make_step=make_step,
        words={name: words[name] for name in make_step.blocks},
        initial_biases={} if coupled == "f" else lstm.initial_biases,
        weights=() if proj_size is None else ("W_hr",),
        width=proj_size,
    )
