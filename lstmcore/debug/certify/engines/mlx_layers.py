"""MLX: mlx.nn.LSTM, GRU and RNN, by mx.vjp, on the CPU; they know no masks and no directions."""

import importlib.metadata
from functools import partial
from types import ModuleType

import numpy as np

from lstmcore.arrays import Plain
from lstmcore.debug.certify.engines import Run, Theirs
from lstmcore.debug.certify.engines.weights import dy, on_host, only, ours, states, theirs
from lstmcore.debug.certify.pack import Golden
from lstmcore.debug.certify.verdict import Refused

KINDS = {"lstm": "LSTM", "gru": "GRU", "rnn": "RNN"}


def engine(kind: str, dtype: str) -> tuple[str, Run]:
    import mlx.core as mx
    import mlx.nn as nn

    mx.set_default_device(mx.cpu)
    return importlib.metadata.version("mlx"), partial(_run, mx, nn, dtype)


def _run(mx: ModuleType, nn: ModuleType, dtype: str, case: Golden) -> dict[str, object]:
    only(case, "bias", *(["activation"] if case.cell == "rnn" else []))
    for refused, why in (
        (case.mask is not None or case.direction != "forward" or case.layers > 1, "no masks, directions, stacks here"),
        (case.options.get("activation", "relu") != "relu", "no such activation"),
    ):
        if refused:
            raise Refused(why)
    (place,) = case.places
    told: Plain = {"bias": case.options.get("bias", True)}
    if case.options.get("activation"):
        told["nonlinearity"] = nn.relu
    layer = getattr(nn, KINDS[case.cell])(case.I, case.H, **told)
    weights = theirs(case, place, "mlx")
    names = list(weights)
    kind = getattr(mx, dtype)
    host = on_host(dtype)
    given = [case.x.swapaxes(0, 1), *(s[0] for s in states(case, "state0", host)), *weights.values()]

    def pure(x: Theirs, *rest: Theirs) -> Theirs:
        begin, arrays = rest[: len(case.states)], rest[len(case.states) :]
        layer.update(dict(zip(names, arrays)))
        every = layer(x, *begin)  # all h, or all h and all c: (B, T, H)
        every = every if isinstance(every, tuple) else (every,)
        return [every[0], *(part[:, -1] for part in every)]

    upstream = [dy(case, host).swapaxes(0, 1), *(s[0] for s in states(case, "dstate", host))]
    outputs, gradients = mx.vjp(
        pure, [mx.array(np.ascontiguousarray(a)).astype(kind) for a in given],
        [mx.array(np.ascontiguousarray(a)).astype(kind) for a in upstream],
    )  # fmt: skip
    y, *end = (np.array(a.astype(getattr(mx, host))) for a in outputs)
    dx, *rest = (np.array(a.astype(getattr(mx, host))) for a in gradients)
    found: dict[str, object] = {"y": y.swapaxes(0, 1), "dx": dx.swapaxes(0, 1)}
    found |= {f"state/{place}.{s}": a for s, a in zip(case.states, end)}
    found |= {f"dstate0/{place}.{s}": a for s, a in zip(case.states, rest)}
    return found | ours(case, place, "mlx", dict(zip(names, rest[len(case.states) :])))
