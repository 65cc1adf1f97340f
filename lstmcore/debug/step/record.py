"""One training step of any layer, with what every simple layer inside it was given and gave back.

The tools of this package look at simple layers (a recurrent layer, a head); a container is built again around the same
layers, each wrapped so that it notes its arguments. So whatever a container does to time, masks and gradients, the
tools see the truth and need to know nothing of it.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypedDict

import numpy as np

from lstmcore.arrays import Array, namespace
from lstmcore.layers import Bidirectional, Layer, Stack

Upstream = Array | Callable[[Array], tuple[Any, Array]] | None  # dy, or loss(y) -> (value, dy), or None: random


class StepOptions(TypedDict, total=False):
    """What tools that watch one training step take beside the layer, x (T, B, I) and dy; each may be left out.

    x may hold integers, for an Embedding. dy is as y, or a loss `y -> (value, dy)`, or None: standard normal numbers
    drawn from `seed`, 0 by default.
    """

    state: Any  # the initial state, as for the layer; zeros by default
    mask: Array | None  # (T, B) bool, true on real steps
    dstate: Any  # the gradient of the final state; zeros by default
    dropout_seed: int | None  # draw dropout masks from this seed; by default there is no dropout
    seed: int | None


class Visit(NamedTuple):
    """One simple layer in one training step. Arrays stand in the layer's own time; see `step`."""

    name: str  # where it stands, as in the names of its parameters: "", "0", "0.fw"
    layer: Layer
    flipped: bool  # True if it runs in flipped time, as the backward direction of a Bidirectional does
    x: Array
    state: Any  # the initial state it was given, or None
    mask: Array | None
    y: Array
    cache: Any
    dy: Array | None = None
    dstate: Any = None  # the gradient of its final state, or None
    dx: Array | None = None
    dstate0: Any = None
    grads: dict[str, Array] = {}  # noqa: RUF012  (a default of a NamedTuple, never written to)

    @property
    def recurrent(self) -> bool:
        """True for LSTM, GRU and RNN."""
        return hasattr(self.layer, "cell")

    @property
    def direction(self) -> str:
        """The direction in which it reads the input."""
        return "backward in time" if self.flipped else "forward in time"

    def key(self, weight: str) -> str:
        """The full name of one of its parameters."""
        return f"{self.name}.{weight}" if self.name else weight

    def step(self, t: int) -> int:
        """Its step t as a step of the input."""
        return len(self.x) - 1 - t if self.flipped else t

    def in_time(self, array: Array) -> Array:
        """An array over its steps, turned into the order of the input."""
        return array[::-1, ...] if self.flipped else array

    def upstream(self) -> tuple[Array | None, tuple[Array, ...]]:
        """What its engine is given, for a recurrent layer: dy (T, B, H) or None, and dstate, never None."""
        layer: Any = self.layer
        dstate = self.dstate
        if dstate is None:
            dstate = tuple(namespace(s).zeros_like(s[-1, ...]) for s in self.cache.states)
        if layer.return_sequences or self.dy is None:
            return self.dy, tuple(dstate)
        return None, (dstate[0] + self.dy, *dstate[1:])


class Run(NamedTuple):
    """One forward and one backward pass."""

    y: Array
    state: Any
    dy: Array
    dx: Array | None
    dstate0: Any
    grads: dict[str, Array]
    loss: Any  # the value of the loss, or None
    visits: tuple[Visit, ...]  # in the order of the forward pass
    back: tuple[int, ...]  # indices into `visits`, in the order of the backward pass


def record(
    layer: Layer,
    x: Array,
    dy: Upstream = None,
    *,
    state: Any = None,
    mask: Array | None = None,
    dstate: Any = None,
    dropout_seed: int | None = None,
    seed: int | None = 0,
) -> Run:
    """Runs `layer` forward and backward on its own engine, and notes every simple layer's part in it.

    Arguments as StepOptions tells them. Raises whatever the layer raises for bad input. What overflows is not warned
    of: tools look for it themselves.
    """
    notes: list[dict[str, Any]] = []
    back: list[int] = []
    watched = _watched(layer, "", False, notes, back)
    rng = None if dropout_seed is None else np.random.default_rng(dropout_seed)
    with np.errstate(all="ignore"):
        y, final, cache = watched.forward(x, state, mask, rng)
        loss = None
        if callable(dy):
            loss, upstream = dy(y)
        elif dy is None:
            upstream = namespace(y).asarray(np.random.default_rng(seed).standard_normal(y.shape), dtype=y.dtype)
        else:
            upstream = dy
        dx, dstate0, grads = watched.backward(upstream, cache, dstate)
    return Run(y, final, upstream, dx, dstate0, grads, loss, tuple(Visit(**note) for note in notes), tuple(back))


class _Watched:
    """A simple layer that notes what it is given and what it gives."""

    def __init__(self, layer: Layer, name: str, flipped: bool, notes: list, back: list):
        self.layer, self.params, self.notes, self.back = layer, layer.params, notes, back
        self.place = {"name": name, "layer": layer, "flipped": flipped}
        self.return_sequences = getattr(layer, "return_sequences", True)  # a Bidirectional asks for it

    def forward(self, x, state=None, mask=None, rng=None, reuse=None):
        y, final, cache = self.layer.forward(x, state, mask, rng)
        self.at = len(self.notes)
        self.notes.append({**self.place, "x": x, "state": state, "mask": mask, "y": y, "cache": cache})
        return y, final, cache

    def backward(self, dy, cache, dstate=None):
        dx, dstate0, grads = self.layer.backward(dy, cache, dstate)
        self.notes[self.at] |= {"dy": dy, "dstate": dstate, "dx": dx, "dstate0": dstate0, "grads": grads}
        self.back.append(self.at)
        return dx, dstate0, grads


def _watched(layer: Any, name: str, flipped: bool, notes: list, back: list) -> Any:
    """The container again, around watched layers that share their parameters with the layer's own."""
    inside = f"{name}." if name else ""
    if isinstance(layer, Stack):
        parts = [_watched(part, f"{inside}{k}", flipped, notes, back) for k, part in enumerate(layer.layers)]
        return Stack(parts)
    if isinstance(layer, Bidirectional):
        fw = _watched(layer.fw, f"{inside}fw", flipped, notes, back)
        bw = _watched(layer.bw, f"{inside}bw", not flipped, notes, back)
        return Bidirectional(fw, bw, layer.merge)
    return _Watched(layer, name, flipped, notes, back)
