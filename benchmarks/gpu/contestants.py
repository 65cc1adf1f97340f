"""One forward and backward pass of a layer, by lstmcore and by torch.nn.LSTM, on the same numbers."""

import sys
from collections.abc import Callable, Mapping
from typing import NamedTuple

import cupy
import numpy as np
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import lstmcore as lc
from lstmcore.interop.convert import from_lstmcore
from lstmcore.ops.gpu.graph import Graph
from lstmcore.ops.recurrence import ENGINES

Results = Mapping[str, np.ndarray]


class Shape(NamedTuple):
    name: str
    T: int
    B: int
    I: int
    H: int
    both: bool = False  # directions
    padded: bool = False  # rows of every length, from one step to T
    precisions: tuple[str, ...] = ("ieee", "tf32")


class Problem:
    """Random numbers for a shape, on the host. Weights as a trained layer has them: sums of size 1."""

    def __init__(self, shape: Shape):
        rng, (T, B, I, H) = np.random.default_rng(0), shape[1:5]
        self.shape, width = shape, 2 * H if shape.both else H

        def layer() -> lc.layers.Recurrent:
            return lc.LSTM(I, H, seed=rng)

        self.model = lc.Bidirectional(layer(), layer()) if shape.both else layer()
        self.x = rng.normal(size=(T, B, I)).astype("float32")
        self.dy = rng.normal(size=(T, B, width)).astype("float32")
        self.lengths = np.linspace(T, 1, B).round().astype(int) if shape.padded else None
        self.mask = None if self.lengths is None else np.arange(T)[:, None] < self.lengths
        if self.mask is not None:
            self.dy[~self.mask] = 0


class Contestant(NamedTuple):
    name: str
    version: str
    call: Callable[[], object]
    results: Callable[[], Results]  # of one more call: y, dx and the gradients, named as torch does


def ours(problem: Problem, precision: str, graph: bool = False) -> Contestant:
    """The engine as people use it, through the layer; a cache's buffers are used again, as in training. graph: the pass
    is recorded once and replayed, as torch's."""
    engine = "fused-gpu" if precision == "ieee" else f"fused-gpu-{precision}"
    model = problem.model.to(engine=engine, array="cupy")
    x, dy = cupy.asarray(problem.x), cupy.asarray(problem.dy)
    mask = None if problem.mask is None else cupy.asarray(problem.mask)
    held: dict[str, object] = {"cache": None}

    def call() -> tuple:
        y, _, cache = model.forward(x, mask=mask, reuse=held["cache"])
        held["cache"] = cache
        dx, _, grads = model.backward(dy, cache)
        return y, dx, grads

    call()
    recorded = Graph(call) if graph else None

    def results() -> Results:
        if recorded is not None:
            recorded.launch()
        y, dx, grads = call() if recorded is None else recorded.result
        named = from_lstmcore({name: g.get() for name, g in grads.items()}, "torch", gradients=True)
        return {"y": y.get(), "dx": dx.get(), **named}

    cache = held["cache"]
    kernel = getattr(cache.parts[0] if problem.shape.both else cache, "private", None)
    assert engine in ENGINES
    name = f"lstmcore {kernel}{'' if recorded is None else ' recorded'}"
    return Contestant(name, lc.__version__, call if recorded is None else recorded.launch, results)


def torchs(
    problem: Problem,
    precision: str,
    graph: bool = False,
    dtype: torch.dtype = torch.float32,
    device: str = "cuda",
) -> Contestant:
    """torch.nn.LSTM: cuDNN. graph: the pass is recorded once and replayed, which takes the host out of it."""
    allowed = precision == "tf32"
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = allowed
    shape = problem.shape
    lstm = torch.nn.LSTM(shape.I, shape.H, bidirectional=shape.both).to(device, dtype)
    weights = from_lstmcore({name: np.asarray(w) for name, w in problem.model.params.items()}, "torch")
    with torch.no_grad():
        for name, parameter in lstm.named_parameters():
            parameter.copy_(torch.from_numpy(np.ascontiguousarray(weights[name])))
    x = torch.from_numpy(problem.x).to(device, dtype).requires_grad_()
    dy = torch.from_numpy(problem.dy).to(device, dtype)
    lengths = None if problem.lengths is None else torch.from_numpy(problem.lengths)
    values = [x, *lstm.parameters()]
    held: dict[str, torch.Tensor] = {}

    def eager() -> None:
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = allowed
        for value in values:
            value.grad = None
        if lengths is None:
            y, _ = lstm(x)
        else:
            packed, _ = lstm(pack_padded_sequence(x, lengths))
            y, _ = pad_packed_sequence(packed, total_length=shape.T)
        y.backward(dy)
        held["y"] = y

    call = eager
    if graph:
        side = torch.cuda.Stream()
        with torch.cuda.stream(side):
            for _ in range(3):
                eager()
        torch.cuda.synchronize()
        recorded = torch.cuda.CUDAGraph()
        with torch.cuda.graph(recorded):
            eager()
        call = recorded.replay

    def results() -> Results:
        call()
        grads = {name: p.grad.cpu().numpy() for name, p in lstm.named_parameters()}
        return {"y": held["y"].detach().cpu().numpy(), "dx": x.grad.cpu().numpy(), **grads}

    return Contestant(f"torch {'graph' if graph else 'eager'}", torch.__version__, call, results)


def errors(got: Results, truth: Results) -> dict[str, float]:
    """The largest error of each array, relative to its largest entry."""
    return {
        name: float(np.max(np.abs(got[name] - want)) / max(np.max(np.abs(want)), sys.float_info.min))
        for name, want in truth.items()
    }
