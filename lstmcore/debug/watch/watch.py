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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import numpy as np

from lstmcore.debug.diagnose.diagnose import Diagnosis, diagnose
from lstmcore.debug.show.tables import table
from lstmcore.debug.trees import named
from lstmcore.debug.watch.agreement import Row, agreement
from lstmcore.debug.watch.seen import Call, Recorder, Seen
from lstmcore.interop import to_lstmcore
from lstmcore.layers import Layer, from_config
from lstmcore.layers.tree import state_names

Answer = TypeVar("Answer")

CHAOS = 0.1  # where this much of a gradient may be rounding, nothing can be told
FRAMEWORKS = {"torch": "lstmcore.debug.watch.torch_recorder", "keras": "lstmcore.debug.watch.keras_recorder"}


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
    notes: tuple[str, ...]
    obstacles: tuple[str, ...]

    @property
    def ok(self) -> bool | None:
        """True if every array agrees; None if the step cannot be replayed, so that nothing was compared."""
        return None if self.obstacles else all(row.error <= row.allowed for row in self.rows)  # a NaN is not

    def show(self, tool: Callable[..., Answer], call: int = 0, **options: object) -> Answer:
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
        grads = {**seen.grads, **named(c.dstate0, state_names(self.layer))}
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
                [r.name, str(r.shape), f"{r.error:.1e}", f"{r.allowed:.1e}", str(list(r.at)), f"{r.theirs:+.6e}",
                 f"{r.ours:+.6e}", "" if r.error <= r.allowed else "WRONG"]
                for r in self.rows
            ]  # fmt: skip
            lines.append(table(["array", "shape", "error", "allowed", "worst at", "theirs", "lstmcore's", ""], cells))
            wrong = [r.name for r in self.rows if not r.error <= r.allowed]
            lines.append(
                f"the framework's outputs and gradients {'differ in ' + ', '.join(wrong) if wrong else 'agree'}"
            )
            if max(r.allowed for r in self.rows) > CHAOS:
                lines.append(
                    "note: this recurrence is chaotic: rounding alone changes its gradients beyond recognition, so "
                    "that neither agreement nor difference means much"
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
        self.rows = () if seen.obstacles else tuple(agreement(layer, seen))


@contextmanager
def watch(module: object) -> Iterator[Watch]:
    """Watches a torch.nn.LSTM (GRU, RNN) or a Keras 3 LSTM through one training step, forward and backward.

    torch: all layers, directions, biases, batch_first, packed and unbatched input. Keras: the torch and jax backends;
    a function that JAX compiled before the watch began has no hooks in it and must be compiled anew (for a model that
    was fitted already: model.make_train_function(force=True)). Every gradient is taken at the layer itself, whatever
    else the input is used for; but what the loss says about the weights directly, such as a penalty on their norm, is
    part of the framework's gradients and shows as a difference.

    Allowed are 4096 units of rounding of the framework's dtype, as in `gradcheck`, and 4 times what a change of every
    weight by one rounding does to the array: where the recurrence is chaotic, everybody's rounding grows. Raises
    TypeError for another kind of module, ValueError for options that lstmcore does not have (projections, other
    activations), RuntimeError if no forward or no backward pass happened.
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


def _library(module: object) -> str | None:
    """The framework that a layer belongs to, subclasses of its classes included."""
    bases = (base.__module__.split(".")[0] for base in type(module).__mro__)
    return next((base for base in bases if base in FRAMEWORKS), None)
