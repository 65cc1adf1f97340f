"""Haiku's cells in hk.dynamic_unroll; they know no masks and no directions.

Its LSTM adds 1 to the forget gate's argument, its GRU resets before the product and has h = (1 - z) h_prev + z n, so
that the block of z is the other way around; its VanillaRNN has relu.
"""

from functools import partial
from types import ModuleType

import numpy as np

from lstmcore.arrays import Plain
from lstmcore.debug.certify.engines import Run, Theirs
from lstmcore.debug.certify.engines.weights import dy, only, ours, states, theirs
from lstmcore.debug.certify.pack import Golden
from lstmcore.debug.certify.verdict import Refused
from lstmcore.interop.layouts import Layout, Part

LAYOUT = Layout(
    "https://github.com/google-deepmind/dm-haiku haiku/_src/recurrent.py: LSTM, GRU, VanillaRNN",
    {
        "lstm": (Part("lstm/linear/w", "xh", "igfo"), Part("lstm/linear/b", "b", "igfo")),
        "gru": (Part("gru/w_i", "x", "zrn"), Part("gru/w_h", "h", "zrm"), Part("gru/b", "b", "zrn")),
        "rnn": (
            Part("vanilla_rnn/linear/w", "x", "n"),
            Part("vanilla_rnn/linear_1/w", "h", "n"),
            Part("vanilla_rnn/linear/b", "b", "n"),
            Part("vanilla_rnn/linear_1/b", "b", "n"),
        ),
    },
    forget_bias=1.0,
)
KINDS = {"lstm": "LSTM", "gru": "GRU", "rnn": "VanillaRNN"}


def engine(kind: str, dtype: str) -> tuple[str, Run]:
    import haiku
    import jax

    jax.config.update("jax_enable_x64", True)
    return haiku.__version__, partial(_run, haiku, jax, dtype)


def _run(haiku: ModuleType, jax: ModuleType, dtype: str, case: Golden) -> dict[str, object]:
    only(case, *{"lstm": (), "gru": ("reset",), "rnn": ("activation",)}[case.cell])
    for refused, why in (
        (case.mask is not None or case.direction != "forward" or case.layers > 1, "no masks, directions, stacks here"),
        (case.cell == "gru" and case.options.get("reset") != "before", "no reset gate after the product"),
        (case.cell == "rnn" and case.options.get("activation") != "relu", "no activation but relu"),
    ):
        if refused:
            raise Refused(why)
    (place,) = case.places

    def unrolled(x: Theirs, state: Theirs) -> Theirs:
        core = getattr(haiku, KINDS[case.cell])(case.H)
        begin = haiku.LSTMState(*state) if case.cell == "lstm" else state[0]
        y, end = haiku.dynamic_unroll(core, x, begin)
        return y, (tuple(end) if case.cell == "lstm" else (end,))

    pure = haiku.without_apply_rng(haiku.transform(unrolled))
    x, state = case.x.astype(dtype), tuple(s[0] for s in states(case, "state0", dtype))
    weights = {k: jax.numpy.asarray(_turned(case, a).astype(dtype)) for k, a in theirs(case, place, LAYOUT).items()}
    with jax.disable_jit():  # every case has shapes of its own, and would be compiled for seconds

        def run(x: Theirs, state: Theirs, weights: Theirs) -> Theirs:
            made: Plain = {}
            for key, value in weights.items():
                path, _, name = key.rpartition("/")
                made.setdefault(path, {})[name] = value
            return pure.apply(made, x, state)

        (y, end), back = jax.vjp(run, x, state, weights)
        dstate = tuple(jax.numpy.asarray(s[0]) for s in states(case, "dstate", dtype))
        dx, dstate0, dweights = back((jax.numpy.asarray(dy(case, dtype)), dstate))
    found: dict[str, object] = {"y": np.asarray(y), "dx": np.asarray(dx)}
    found |= {f"state/{place}.{s}": np.asarray(a) for s, a in zip(case.states, end)}
    found |= {f"dstate0/{place}.{s}": np.asarray(a) for s, a in zip(case.states, dstate0)}
    return found | ours(case, place, LAYOUT, {key: _turned(case, np.asarray(a)) for key, a in dweights.items()})


def _turned(case: Golden, a: np.ndarray) -> np.ndarray:
    """1 - sigmoid(a) is sigmoid(-a): a GRU's block of z, which comes first, with the other sign."""
    return np.concatenate([-a[..., : case.H], a[..., case.H :]], -1) if case.cell == "gru" else a
