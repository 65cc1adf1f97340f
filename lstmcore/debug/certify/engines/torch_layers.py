"""torch.nn.LSTM, GRU and RNN, with packed sequences, by torch's own autograd."""

from functools import partial
from types import ModuleType

import numpy as np

from lstmcore.arrays import Plain
from lstmcore.debug.certify.engines import Run, Theirs
from lstmcore.debug.certify.engines.weights import dy, on_host, only, ours, states, theirs
from lstmcore.debug.certify.pack import Golden
from lstmcore.debug.certify.verdict import Refused


def engine(kind: str, dtype: str) -> tuple[str, Run]:
    import torch

    torch.set_num_threads(1)
    return torch.__version__, partial(_run, torch, dtype)


def _run(torch: ModuleType, dtype: str, case: Golden) -> dict[str, object]:
    only(case, "bias", "proj_size", *(["activation"] if case.cell == "rnn" else []))
    for refused, why in (
        (case.direction == "reverse", "no layer that runs backwards alone"),
        (case.topology == "towers", "no independent towers"),
        (case.mask is not None and case.lengths is None, "no mask with gaps"),
        (case.lengths is not None and 0 in case.lengths, "no row of length 0"),
        (case.options.get("activation", "tanh") not in ("tanh", "relu"), "no such activation"),
    ):
        if refused:
            raise Refused(why)
    both = case.direction == "bidirectional"
    told: Plain = {"num_layers": case.layers, "bidirectional": both, "bias": case.options.get("bias", True)}
    if case.options.get("proj_size"):
        told["proj_size"] = case.options["proj_size"]
    if case.options.get("activation"):
        told["nonlinearity"] = case.options["activation"]
    module = getattr(torch.nn, case.cell.upper())(case.I, case.H, dtype=getattr(torch, dtype), **told)
    names = {}
    for place in case.places:
        layer, way = place.split(".")
        ending = f"_l{layer}" + ("_reverse" if way == "bw" else "")
        names[place] = {f"{key.removesuffix('_l0')}{ending}": key for key in theirs(case, place, "torch")}
        with torch.no_grad():
            for there, key in names[place].items():
                getattr(module, there).copy_(torch.from_numpy(theirs(case, place, "torch")[key]))
    host, kind = on_host(dtype), getattr(torch, dtype)
    x = torch.tensor(case.x.astype(host), dtype=kind, requires_grad=True)
    state = [torch.tensor(s, dtype=kind, requires_grad=True) for s in states(case, "state0", host)]
    given = tuple(state) if case.cell == "lstm" else state[0]
    pack, pad = torch.nn.utils.rnn.pack_padded_sequence, torch.nn.utils.rnn.pad_packed_sequence
    fed = x if case.lengths is None else pack(x, case.lengths, enforce_sorted=False)
    y, last = module(fed, given)
    y = y if case.lengths is None else pad(y, total_length=case.T)[0]
    last = last if case.cell == "lstm" else (last,)
    upstream = [torch.from_numpy(a).to(kind) for a in (dy(case, host), *states(case, "dstate", host))]
    torch.autograd.backward([y, *last], upstream)

    def array(tensor: Theirs) -> np.ndarray:
        return tensor.detach().to(getattr(torch, host)).numpy()

    found: dict[str, object] = {"y": array(y), "dx": array(x.grad)}
    for k, place in enumerate(case.places):
        for s, end, begin in zip(case.states, last, state):
            found |= {f"state/{place}.{s}": array(end[k]), f"dstate0/{place}.{s}": array(begin.grad[k])}
        gradients = {key: array(getattr(module, there).grad) for there, key in names[place].items()}
        found |= ours(case, place, "torch", gradients)
    return found
