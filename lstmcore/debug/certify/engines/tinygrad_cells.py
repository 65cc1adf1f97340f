"""tinygrad: tinygrad.nn.LSTMCell, stepped, by Tensor.gradient; it knows no masks, no directions and no other cell."""

import importlib.metadata
import shutil
from functools import partial
from types import ModuleType

import numpy as np

from lstmcore.debug.certify.engines import Run, Theirs
from lstmcore.debug.certify.engines.weights import dy, only, ours, states, theirs
from lstmcore.debug.certify.pack import Golden
from lstmcore.debug.certify.verdict import Refused


def engine(kind: str, dtype: str) -> tuple[str, Run]:
    import tinygrad
    from tinygrad.helpers import DEV

    DEV.value = "CPU" if shutil.which("clang") else "PYTHON"  # which computes without a compiler
    return importlib.metadata.version("tinygrad"), partial(_run, tinygrad, dtype)


def _run(tinygrad: ModuleType, dtype: str, case: Golden) -> dict[str, object]:
    only(case, "bias")
    if case.cell != "lstm" or case.mask is not None or case.direction != "forward" or case.layers > 1:
        raise Refused("an LSTM's cell: no masks, no directions, no stacks, no other cell")
    (place,) = case.places

    def tensor(a: np.ndarray) -> Theirs:
        return tinygrad.Tensor(np.ascontiguousarray(a.astype(dtype)))

    cell = tinygrad.nn.LSTMCell(case.I, case.H, bias=case.options.get("bias", True))
    weights = {key: tensor(a) for key, a in theirs(case, place, "torch").items()}
    for key, value in weights.items():
        setattr(cell, key.removesuffix("_l0"), value)
    x, begin = tensor(case.x), [tensor(s[0]) for s in states(case, "state0", dtype)]
    state, outputs = tuple(begin), []
    for t in range(case.T):
        state = cell(x[t], state)
        outputs.append(state[0])
    y = tinygrad.Tensor.stack(*outputs)
    upstream = [dy(case, dtype), *(s[0] for s in states(case, "dstate", dtype))]
    loss = sum((tensor(g) * a).sum() for g, a in zip(upstream, (y, *state)))
    dx, *rest = loss.gradient(x, *begin, *weights.values())
    found: dict[str, object] = {"y": y.numpy(), "dx": dx.numpy()}
    found |= {f"state/{place}.{s}": a.numpy() for s, a in zip(case.states, state)}
    found |= {f"dstate0/{place}.{s}": a.numpy() for s, a in zip(case.states, rest)}
    return found | ours(case, place, "torch", {key: a.numpy() for key, a in zip(weights, rest[2:])})
