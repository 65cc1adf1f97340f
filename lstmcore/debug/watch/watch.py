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

lstmcore itself imports no framework; the recorders that speak to one are loaded when such a layer is handed over.
"""

import importlib
import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import numpy as np

from lstmcore.debug.diagnose.diagnose import Diagnosis, diagnose
from lstmcore.debug.show.page import notebook
from lstmcore.debug.show.tables import table
from lstmcore.debug.trees import named
from lstmcore.debug.watch.agreement import Row, agreement
from lstmcore.debug.watch.replay import Replay
from lstmcore.debug.watch.seen import PRECISIONS, Call, Recorder, Seen
from lstmcore.layers import Layer
from lstmcore.layers.tree import state_names

Answer = TypeVar("Answer")

CHAOS = 0.1  # where this much of a gradient may be rounding, nothing can be told
MANY = 8  # calls: of more the worst of each kind is printed, and what is wrong
FRAMEWORKS = {"torch": "lstmcore.debug.watch.torch_recorder", "keras": "lstmcore.debug.watch.keras_recorder"}


class Watch:
    """What was seen. Filled when the `with` block ends; prints as a table.

    seen: all of it under the framework's own names; layer: the same layer in lstmcore, in float64; calls: every call of
    it in the step, steps of a cell that hand on their state joined to one; rows: the comparison of outputs and
    gradients in the names of lstmcore, gradients of weights summed over the calls; precision: the format that it was
    computed in; notes, obstacles: in words, and cuts: where a state was handed on and its gradient was not.
    """

    seen: Seen
    layer: Layer
    calls: tuple[Call, ...]
    rows: tuple[Row, ...]
    precision: str
    notes: tuple[str, ...]
    cuts: tuple[str, ...]
    obstacles: tuple[str, ...]

    @property
    def ok(self) -> bool | None:
        """True if every array agrees; None if the step cannot be replayed, so that nothing was compared."""
        return None if self.obstacles else all(row.ok for row in self.rows)

    def show(self, tool: Callable[..., Answer], call: int = 0, **options: object) -> Answer:
        """What a tool of lstmcore.debug says of one call: tool(layer, x, dy, state=, mask=, dstate=, **options).

        Raises RuntimeError if the step cannot be replayed.
        """
        if self.obstacles:
            raise RuntimeError(f"this step cannot be replayed: {'; '.join(self.obstacles)}")
        c = self.calls[call]
        return tool(self.replay.at(c), c.x, c.dy, state=c.state, mask=c.mask, dstate=c.dstate, **options)

    def diagnose(self) -> Diagnosis:
        """Which known mistake gives the framework's gradients, as `lc.debug.diagnose` finds it.

        Raises RuntimeError if the step cannot be replayed, called the layer more than once, was computed more coarsely
        than in float32, or has what `diagnose` does not know: options of a cell, a mask of its own for each direction.
        """
        seen, c = self.seen, self.seen.calls[0]
        dropout = {str(int(at) - 1) if at.isdigit() else at or "x": self._whole(at, c) for at in c.drawn}
        own = [name for name in dropout if name != "x" and not name.isdigit()]
        reasons = [
            *self.obstacles,
            *([f"the layer was called {n} times, with one sum of gradients"] if (n := len(self.calls)) > 1 else []),
            *([f"mistakes are not searched with {', '.join(seen.options)}"] if seen.options else []),
            *([f"mistakes are not searched with dropout of {' and '.join(own)} alone"] if own else []),
            *([f"{seen.precision} is too coarse to tell mistakes apart"] if _is_coarse(seen) else []),
        ]
        if reasons:
            raise RuntimeError(f"this step cannot be diagnosed: {'; '.join(reasons)}")
        grads = {**seen.grads, **named(c.dstate0, state_names(self.replay.layer))}
        if c.dx is not None:
            grads["x"] = c.dx
        return diagnose(
            seen.weights, c.x, c.dy, grads,
            state=c.state, mask=c.mask, dstate=c.dstate, layout=seen.layout, cell=seen.cell, dropout=dropout,
        )  # fmt: skip

    def _whole(self, at: str, call: Call) -> np.ndarray:
        """What dropout drew before a part; of one that drops all a single number is known."""
        drawn = call.drawn[at]
        if drawn.ndim > 0:
            return drawn
        widths = [W.shape[0] for name, W in self.replay.layer.parts[at].params.items() if name.endswith("W_ih")]
        return np.full((call.x.shape[1], widths[0]), drawn)

    def __str__(self) -> str:
        T, B, I = self.calls[0].x.shape
        calls = f"{len(self.calls)} call{'s' if len(self.calls) > 1 else ''}"
        lines = [f"{self.layer!r}, {calls}, x (T, B, I) = ({T}, {B}, {I}), {self.precision}"]
        if not self.obstacles:
            cells = [
                [r.name, str(r.shape), f"{r.error:.1e}", f"{r.allowed:.1e}", str(list(r.at)), f"{r.theirs:+.6e}",
                 f"{r.ours:+.6e}", "" if r.ok else "WRONG"]
                for r in self._printed()
            ]  # fmt: skip
            lines.append(table(["array", "shape", "error", "allowed", "worst at", "theirs", "lstmcore's", ""], cells))
            wrong = [r.name for r in self.rows if not r.ok]
            lines.append(
                f"the framework's outputs and gradients {'differ in ' + ', '.join(wrong) if wrong else 'agree'}"
            )
            if not all(math.isfinite(r.theirs) for r in self.rows):
                lines.append(
                    "note: where numbers are not finite nothing agrees; seen.show(lc.debug.tripwire) names the first"
                )
            elif not _is_coarse(self.seen) and max(r.allowed for r in self.rows) > CHAOS:
                lines.append(
                    "note: this recurrence is chaotic: rounding alone changes its gradients beyond recognition, so "
                    "that neither agreement nor difference means much"
                )
        if self.cuts:
            more = f"; and {len(self.cuts) - MANY} more" if len(self.cuts) > MANY else ""
            lines.append(
                f"DETACHED: {'; '.join(self.cuts[:MANY])}{more}: what came later taught nothing before (if that is not "
                "meant, hand the state on as it is)"
            )
        lines += [f"cannot be replayed: {text}" for text in self.obstacles] + [f"note: {text}" for text in self.notes]
        return "\n".join(lines)

    _repr_html_ = notebook

    def _printed(self) -> list[Row]:
        """All rows; of many calls what is wrong, and the worst of each kind."""
        if len(self.calls) <= MANY:
            return list(self.rows)
        worst: dict[str, Row] = {}
        for row in self.rows:
            kind = re.sub(r" \(call \d+\)", "", row.name)
            worst[kind] = max(worst.get(kind, row), row, key=lambda r: r.error / r.allowed)
        return [row for row in self.rows if not row.ok or row in worst.values()]

    def fill(self, seen: Seen) -> None:
        """Builds the layer, and compares."""
        self.replay = Replay(seen)
        placed = self.replay.placed
        self.calls = tuple(
            c._replace(state=placed(c.state), dstate=placed(c.dstate), dstate0=placed(c.dstate0)) for c in seen.calls
        )
        self.seen, self.layer, self.precision = seen, self.replay.at(self.calls[0]), seen.precision
        self.notes, self.cuts, self.obstacles = seen.notes, seen.cuts, seen.obstacles
        self.rows = () if seen.obstacles else agreement(self.replay, self.calls)


def _is_coarse(seen: Seen) -> bool:
    return PRECISIONS[seen.precision].eps > PRECISIONS["float32"].eps


@contextmanager
def watch(module: object) -> Iterator[Watch]:
    """Watches a torch.nn.LSTM, GRU, RNN or a cell of these, or a recurrent Keras 3 layer, through one training step.

    torch: every option of these, packed and unbatched input, dropout between layers (the factors that it drew are seen,
    but not those of cuDNN), cells called step by step, weights computed by weight_norm and the like, checkpoints,
    DataParallel, autocast. Keras: LSTM, GRU, SimpleRNN, RNN around one of their cells, Bidirectional, on the torch and
    jax backends; a function that JAX compiled before the watch began has no hooks in it and must be compiled anew (for
    a model that was fitted already: model.make_train_function(force=True)). Every gradient is taken at the layer
    itself, whatever else its input and its weights are used for. A state that went from call to call without its
    gradient is named.

    Allowed are 4096 units of rounding of the coarsest format that the framework computed in, as in `gradcheck` (below
    float32 8 + sqrt(T) units), and 4 times what a change of every weight by one rounding does to the array: where the
    recurrence is chaotic, everybody's rounding grows. Raises TypeError for another kind of module, ValueError for
    options that lstmcore does not have, by their names, RuntimeError if no forward or no backward pass happened.
    """
    library = _library(module)
    if library is None:
        raise TypeError(
            "`module` should be a torch.nn.LSTM, GRU or RNN, a cell of these, or a recurrent Keras 3 layer; got "
            f"{type(module).__name__}"
        )
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
