"""MXNet: gluon.rnn.LSTM, GRU and RNN with use_sequence_length, by its own autograd, on the CPU."""

from functools import partial
from types import ModuleType

import numpy as np

from lstmcore.arrays import Plain
from lstmcore.debug.certify.engines import Run
from lstmcore.debug.certify.engines.weights import dy, only, ours, states, theirs
from lstmcore.debug.certify.pack import Golden
from lstmcore.debug.certify.verdict import Refused

NAMES = {"weight_ih": "i2h_weight", "weight_hh": "h2h_weight", "bias_ih": "i2h_bias", "bias_hh": "h2h_bias",
         "weight_hr": "h2r_weight"}  # fmt: skip


def engine(kind: str, dtype: str) -> tuple[str, Run]:
    import mxnet

    return mxnet.__version__, partial(_run, mxnet, dtype)


def _run(mxnet: ModuleType, dtype: str, case: Golden) -> dict[str, object]:
    only(case, "proj_size", *(["activation"] if case.cell == "rnn" else []))
    for refused, why in (
        (case.direction == "reverse", "no layer that runs backwards alone"),
        (case.topology == "towers", "no independent towers"),
        (case.mask is not None and case.lengths is None, "no mask with gaps"),
        (case.options.get("activation", "tanh") not in ("tanh", "relu"), "no such activation"),
    ):
        if refused:
            raise Refused(why)
    told: Plain = {"num_layers": case.layers, "bidirectional": case.direction == "bidirectional", "dtype": dtype}
    told |= {"activation": case.options.get("activation", "tanh")} if case.cell == "rnn" else {}
    told |= {"projection_size": case.options["proj_size"]} if "proj_size" in case.options else {}
    told |= {"use_sequence_length": True} if case.lengths is not None else {}
    layer = getattr(mxnet.gluon.rnn, case.cell.upper())(case.H, input_size=case.I, **told)
    layer.initialize()
    layer.cast(dtype)
    where = {}
    for place in case.places:
        number, way = place.split(".")
        for key, a in theirs(case, place, "torch").items():  # whose names, order and two biases it has
            parameter = getattr(layer, f"{'r' if way == 'bw' else 'l'}{number}_{NAMES[key.removesuffix('_l0')]}")
            parameter.set_data(mxnet.nd.array(a, dtype=dtype))
            where[place, key] = parameter
    x = mxnet.nd.array(case.x, dtype=dtype)
    begin = [mxnet.nd.array(s, dtype=dtype) for s in states(case, "state0", dtype)]
    for value in (x, *begin):
        value.attach_grad()
    upstream = [mxnet.nd.array(a, dtype=dtype) for a in (dy(case, dtype), *states(case, "dstate", dtype))]
    lengths = {} if case.lengths is None else {"sequence_length": mxnet.nd.array(case.lengths, dtype="int32")}
    with mxnet.autograd.record():
        y, end = layer(x, begin, **lengths)
        loss = sum((a * g).sum() for a, g in zip((y, *end), upstream))
    loss.backward()
    found: dict[str, object] = {"y": y.asnumpy(), "dx": x.grad.asnumpy()}
    for k, place in enumerate(case.places):
        for s, last, first in zip(case.states, end, begin):
            found |= {f"state/{place}.{s}": last.asnumpy()[k], f"dstate0/{place}.{s}": first.grad.asnumpy()[k]}
        gradients = {key: p.grad().asnumpy() for (at, key), p in where.items() if at == place}
        found |= ours(case, place, "torch", gradients)
    return {name: np.asarray(a) for name, a in found.items()}
