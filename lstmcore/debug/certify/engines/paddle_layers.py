"""PaddlePaddle: paddle.nn.LSTM, GRU and SimpleRNN with sequence_length, by its own autograd."""

from functools import partial
from types import ModuleType

import numpy as np

from lstmcore.arrays import Plain
from lstmcore.debug.certify.engines import Run
from lstmcore.debug.certify.engines.weights import dy, only, ours, states, theirs
from lstmcore.debug.certify.pack import Golden
from lstmcore.debug.certify.verdict import Refused

KINDS = {"lstm": "LSTM", "gru": "GRU", "rnn": "SimpleRNN"}


def engine(kind: str, dtype: str) -> tuple[str, Run]:
    import paddle

    paddle.set_device("cpu")
    return paddle.__version__, partial(_run, paddle, dtype)


def _run(paddle: ModuleType, dtype: str, case: Golden) -> dict[str, object]:
    only(case, *(["activation"] if case.cell == "rnn" else []))
    for refused, why in (
        (case.direction == "reverse", "no layer that runs backwards alone"),
        (case.topology == "towers", "no independent towers"),
        (case.mask is not None and case.lengths is None, "no mask with gaps"),
        (case.options.get("activation", "tanh") not in ("tanh", "relu"), "no such activation"),
    ):
        if refused:
            raise Refused(why)
    direction = "bidirect" if case.direction == "bidirectional" else "forward"
    told: Plain = {"num_layers": case.layers, "direction": direction, "time_major": True}
    if case.cell == "rnn":
        told["activation"] = case.options.get("activation", "tanh")
    paddle.set_default_dtype(dtype)
    module = getattr(paddle.nn, KINDS[case.cell])(case.I, case.H, **told)
    names = {}
    for place in case.places:
        layer, way = place.split(".")
        ending = f"_l{layer}" + ("_reverse" if way == "bw" else "")
        weights = theirs(case, place, "torch")  # whose names and order it has
        names[place] = {f"{key.removesuffix('_l0')}{ending}": key for key in weights}
        for there, key in names[place].items():
            getattr(module, there).set_value(weights[key].astype(dtype))
    x = paddle.to_tensor(case.x.astype(dtype), stop_gradient=False)
    state = [paddle.to_tensor(s, stop_gradient=False) for s in states(case, "state0", dtype)]
    lengths = None if case.lengths is None else paddle.to_tensor(np.array(case.lengths))
    y, last = module(x, tuple(state) if case.cell == "lstm" else state[0], lengths)
    last = last if case.cell == "lstm" else (last,)
    upstream = [paddle.to_tensor(a) for a in (dy(case, dtype), *states(case, "dstate", dtype))]
    paddle.autograd.backward([y, *last], upstream)
    found: dict[str, object] = {"y": y.numpy(), "dx": x.grad.numpy()}
    for k, place in enumerate(case.places):
        for s, end, begin in zip(case.states, last, state):
            found |= {f"state/{place}.{s}": end.numpy()[k], f"dstate0/{place}.{s}": begin.grad.numpy()[k]}
        gradients = {key: getattr(module, there).grad.numpy() for there, key in names[place].items()}
        found |= ours(case, place, "torch", gradients)
    return found
