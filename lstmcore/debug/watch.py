"""A look into a living LSTM of PyTorch or Keras: one training step, and whether the framework's gradients are right.

While the watch is on, hooks note what the layer was given (input, initial state, mask), what came back to it (the
upstream gradient) and what the framework made of it (the gradients of weights, input and initial state). Afterwards
the same layer is built in lstmcore from the framework's own weights, so that every tool of this package can look at
the step: by gate, by path and by time step, which fused kernels never show.

    with lc.debug.watch(model.lstm) as seen:
        criterion(model(x), targets).backward()
    print(seen)                       # do the framework's gradients agree?
    print(seen.show(lc.debug.ledger)) # any tool that takes (layer, x, dy, state=, mask=, dstate=)
    print(seen.diagnose())            # which known mistake gives just these gradients?

lstmcore itself imports no framework; the parts that speak to one (watch_torch.py, watch_keras.py) are loaded when such
a layer is handed over.
"""

import importlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import numpy as np

from lstmcore.debug.diagnose import Diagnosis, diagnose
from lstmcore.debug.gradcheck import ROUNDINGS
from lstmcore.debug.tables import table
from lstmcore.debug.trees import leaves, state_names
from lstmcore.interop import to_lstmcore
from lstmcore.layers import Layer, from_config

FRAMEWORKS = {"torch": "lstmcore.debug.watch_torch", "keras": "lstmcore.debug.watch_keras"}


class Call(NamedTuple):
    """One call of the watched layer, told in lstmcore's terms: time-major host arrays in float64."""

    x: np.ndarray  # (T, B, I)
    state: Any  # as the lstmcore layer takes it, or None
    mask: np.ndarray | None  # (T, B) bool
    y: np.ndarray  # the framework's own output, zero at padded steps
    dy: np.ndarray  # as y; zero where nothing arrived
    dstate: Any
    dx: np.ndarray | None  # the framework's own; None where it wanted none
    dstate0: Any


class Seen(NamedTuple):
    """What a recorder brings back."""

    layout: str  # a row of interop's table
    cell: str
    weights: Mapping[str, np.ndarray]  # under that layout's keys
    grads: Mapping[str, np.ndarray]  # the framework's, of those weights that wanted one
    calls: tuple[Call, ...]
    return_sequences: bool
    eps: float  # the rounding unit of the framework's dtype
    notes: tuple[str, ...]  # what is worth knowing
    obstacles: tuple[str, ...]  # what cannot be replayed, and why: then nothing is compared


class Recorder(Protocol):
    """What watch_torch.py and watch_keras.py give: the hooks of one framework."""

    def attach(self) -> None: ...

    def detach(self) -> None: ...

    def seen(self) -> Seen: ...


class Row(NamedTuple):
    """One array of the comparison."""

    name: str
    shape: tuple[int, ...]
    error: float  # max |theirs - ours| / max |ours|
    at: tuple[int, ...]  # where they differ most
    theirs: float
    ours: float


class Watch:
    """What was seen. Filled when the `with` block ends; prints as a table.

    seen: all of it under the framework's own names; layer: the same layer in lstmcore, in float64; calls: every call of
    it in the step; rows: the comparison of outputs and gradients in the names of lstmcore, gradients of weights summed
    over the calls; notes, obstacles: in words.
    """

    seen: Seen
    layer: Layer
    calls: tuple[Call, ...]
    rows: tuple[Row, ...]
    tolerance: float
    notes: tuple[str, ...]
    obstacles: tuple[str, ...]

    @property
    def ok(self) -> bool | None:
        """True if every array agrees; None if the step cannot be replayed, so that nothing was compared."""
        return None if self.obstacles else all(row.error <= self.tolerance for row in self.rows)  # a NaN does not

    def show(self, tool: Callable, call: int = 0, **options: Any) -> Any:
        """What a tool of lstmcore.debug says of one call: tool(layer, x, dy, state=, mask=, dstate=, **options).

        Raises RuntimeError if the step cannot be replayed.
        """
        if self.obstacles:
            raise RuntimeError(f"this step cannot be replayed: {'; '.join(self.obstacles)}")
        c = self.calls[call]
        return tool(self.layer, c.x, c.dy, state=c.state, mask=c.mask, dstate=c.dstate, **options)

    def diagnose(self) -> Diagnosis:
        """Which known mistake gives the framework's gradients, as `lc.debug.diagnose` finds it.

        Raises RuntimeError if the step cannot be replayed, or called the layer more than once.
        """
        if self.obstacles or len(self.calls) > 1:
            reason = (
                "; ".join(self.obstacles) or f"the layer was called {len(self.calls)} times, with one sum of gradients"
            )
            raise RuntimeError(f"this step cannot be diagnosed: {reason}")
        seen, c = self.seen, self.calls[0]
        grads = {**seen.grads, **dict(leaves(c.dstate0, state_names(self.layer)))}
        if c.dx is not None:
            grads["x"] = c.dx
        return diagnose(
            seen.weights, c.x, c.dy, grads,
            state=c.state, mask=c.mask, dstate=c.dstate, layout=seen.layout, cell=seen.cell,
        )  # fmt: skip

    def __str__(self) -> str:
        T, B, I = self.calls[0].x.shape
        calls = f"{len(self.calls)} call{'s' if len(self.calls) > 1 else ''}"
        lines = [f"{self.layer!r}, {calls}, x (T, B, I) = ({T}, {B}, {I})"]
        if not self.obstacles:
            cells = [
                [r.name, str(r.shape), f"{r.error:.1e}", str(list(r.at)), f"{r.theirs:+.6e}", f"{r.ours:+.6e}",
                 "" if r.error <= self.tolerance else "WRONG"]
                for r in self.rows
            ]  # fmt: skip
            lines.append(table(["array", "shape", "error", "worst at", "theirs", "lstmcore's", ""], cells))
            wrong = [r.name for r in self.rows if not r.error <= self.tolerance]
            verdict = f"differ in {', '.join(wrong)}" if wrong else "agree"
            lines.append(
                f"the framework's outputs and gradients {verdict} (allowed: {self.tolerance:.1e} of the largest entry)"
            )
        lines += [f"cannot be replayed: {text}" for text in self.obstacles] + [f"note: {text}" for text in self.notes]
        return "\n".join(lines)

    def fill(self, seen: Seen) -> None:
        """Builds the layer, and compares."""
        config, params = to_lstmcore(seen.weights, seen.layout, seen.cell)
        config |= {} if seen.return_sequences else {"return_sequences": False}
        layer = from_config(config, "reference").to(dtype="float64")
        for name, value in params.items():
            layer.params[name] = value.astype(np.float64)
        self.seen, self.layer, self.calls = seen, layer, seen.calls
        self.notes, self.obstacles = seen.notes, seen.obstacles
        self.tolerance = ROUNDINGS * seen.eps
        self.rows = () if seen.obstacles else tuple(_rows(layer, seen))


@contextmanager
def watch(module: Any) -> Iterator[Watch]:
    """Watches a torch.nn.LSTM (GRU, RNN) or a Keras 3 LSTM through one training step, forward and backward.

    torch: all layers, directions, biases, batch_first, packed and unbatched input. Keras: the torch and jax backends;
    a function that JAX compiled before the watch began has no hooks in it and must be compiled anew (for a model that
    was fitted already: model.make_train_function(force=True)). Every gradient is taken at the layer itself, whatever
    else the input is used for; but what the loss says about the weights directly, such as a penalty on their norm, is
    part of the framework's gradients and shows as a difference. The tolerance is that of `gradcheck`: 4096 units of
    rounding of the framework's dtype. Raises TypeError for another kind of module, ValueError for options that lstmcore
    does not have (projections, other activations), RuntimeError if no forward or no backward pass happened.
    """
    library = _library(module)
    if library is None:
        raise TypeError(f"`module` should be a torch.nn.LSTM or a Keras 3 LSTM layer; got {type(module).__name__}")
    recorder: Recorder = importlib.import_module(FRAMEWORKS[library]).Recorder(module)
    watched = Watch()
    recorder.attach()
    try:
        yield watched
    finally:
        recorder.detach()
    watched.fill(recorder.seen())


def _library(module: Any) -> str | None:
    """The framework that a layer belongs to, subclasses of its classes included."""
    bases = (base.__module__.split(".")[0] for base in type(module).__mro__)
    return next((base for base in bases if base in FRAMEWORKS), None)


def _gradient_of(name: str) -> str:
    """The name of a parameter's gradient: "0.fw.W_hh" -> "0.fw.dW_hh"."""
    head, dot, last = name.rpartition(".")
    return f"{head}{dot}d{last}"


def _rows(layer: Layer, seen: Seen) -> Iterator[Row]:
    """The comparison of every gradient that the framework has."""
    total: dict[str, Any] = {}
    others = []  # (name, theirs, ours) of what belongs to one call
    for k, call in enumerate(seen.calls):
        y, _, cache = layer.forward(call.x, call.state, call.mask)
        dx, dstate0, grads = layer.backward(call.dy, cache, call.dstate)
        total = {name: total.get(name, 0) + value for name, value in grads.items()}
        suffix = f" (call {k})" if len(seen.calls) > 1 else ""
        others.append((f"y{suffix}", call.y, y))
        if call.dx is not None:
            others.append((f"dx{suffix}", call.dx, dx))
        own = dict(leaves(dstate0, state_names(layer)))
        initial = leaves(call.dstate0, state_names(layer))
        others += [(_gradient_of(name) + suffix, gradient, own[name]) for name, gradient in initial]
    # A frozen weight has no gradient: ones and zeros, sent the same way, tell which of lstmcore's arrays are whole.
    gradients = {key: seen.grads.get(key, np.zeros_like(value)) for key, value in seen.weights.items()}
    whole = {key: np.full_like(value, key in seen.grads) for key, value in seen.weights.items()}
    _, theirs_all = to_lstmcore(gradients, seen.layout, seen.cell, gradients=True)
    _, whole_all = to_lstmcore(whole, seen.layout, seen.cell, gradients=True)
    pairs = [(name, theirs, total[name.split(" ")[0]]) for name, theirs in theirs_all.items() if whole_all[name].all()]
    # A second bias stands beside the first; a GRU's has no block n, which is the last of the first one's blocks.
    pairs = [(_gradient_of(name), theirs, ours[: len(theirs)]) for name, theirs, ours in pairs]
    for name, theirs, ours in others + pairs:
        difference = np.abs(theirs - ours)
        at = tuple(map(int, np.unravel_index(np.argmax(difference), difference.shape)))
        scale = float(np.max(np.abs(ours)))
        error = float(difference[at]) / scale if scale > 0 else 0.0 if difference[at] == 0 else np.inf
        yield Row(name, tuple(ours.shape), error, at, float(theirs[at]), float(ours[at]))
