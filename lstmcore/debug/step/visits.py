"""One training step of any layer, with what every leaf inside it was given and gave back.

The tools of this package look at the leaves of a model (a recurrent layer, a head). Its containers are built again
around leaves that note their arguments. So whatever a container does to time, masks and gradients, the tools see the
truth and need to know nothing of it.
"""

import copy
from collections.abc import Callable
from typing import Any, NamedTuple, TypedDict

import numpy as np

from lstmcore.arrays import Array, Plain, State, namespace
from lstmcore.layers import Layer, Recurrent
from lstmcore.layers.layer import Rng
from lstmcore.layers.recurrent import running
from lstmcore.layers.tree import dotted, is_flipped, replaced, with_params
from lstmcore.ops.cells import Cell
from lstmcore.ops.recurrence import Cache

Upstream = (
    Array | Callable[[Array], tuple[Array | float, Array]] | None
)  # dy, or loss(y) -> (value, dy), or None: random


class StepOptions(TypedDict, total=False):
    """What tools that watch one training step take beside the layer, x (T, B, I) and dy; each may be left out.

    x may hold integers, for an Embedding. dy is as y, or a loss `y -> (value, dy)`, or None: standard normal numbers
    drawn from `seed`, 0 by default.
    """

    state: State | None  # the initial state, as for the layer; zeros by default
    mask: Array | None  # (T, B) bool, true on real steps
    dstate: State | None  # the gradient of the final state; zeros by default
    dropout_seed: int | None  # draw dropout masks from this seed; by default there is no dropout
    seed: int | None


class Visit(NamedTuple):
    """One leaf in one training step. Arrays stand in the layer's own time; see `step`."""

    name: str  # where it stands, as in the names of its parameters: "", "0", "0.fw"
    layer: Layer
    flipped: bool  # True if it runs in flipped time, as the backward direction of a Bidirectional does
    x: Array
    state: tuple[Array, ...] | None  # the initial state it was given
    mask: Array | None
    y: Array
    final: tuple[Array, ...] | None  # the final state
    cache: Any
    dy: Array | None = None
    dstate: tuple[Array, ...] | None = None  # the gradient of its final state
    dx: Array | None = None
    dstate0: tuple[Array, ...] | None = None
    grads: dict[str, Array] = {}  # noqa: RUF012  (a default of a NamedTuple, never written to)

    @property
    def recurrent(self) -> bool:
        """True for a layer that runs a cell: LSTM, GRU, RNN, or one's own."""
        return isinstance(self.layer, Recurrent)

    def as_recurrent(self) -> tuple[Recurrent, Cache]:
        """The layer and its cache, where `recurrent` is true."""
        assert isinstance(self.layer, Recurrent)
        return self.layer, self.cache

    @property
    def direction(self) -> str:
        """The direction in which it reads the input."""
        return "backward in time" if self.flipped else "forward in time"

    def key(self, weight: str) -> str:
        """The full name of one of its parameters."""
        return dotted(self.name, weight)

    def step(self, t: int) -> int:
        """Its step t as a step of the input."""
        return len(self.x) - 1 - t if self.flipped else t

    def in_time(self, array: Array) -> Array:
        """An array over its steps, turned into the order of the input."""
        return array[::-1, ...] if self.flipped else array

    def upstream(self) -> tuple[Array | None, tuple[Array, ...]]:
        """What its engine is given, for a recurrent layer: dy (T, B, H) or None, and dstate, never None."""
        layer, cache = self.as_recurrent()
        dstate = self.dstate
        if dstate is None:
            dstate = tuple(namespace(s).zeros_like(s[-1, ...]) for s in cache.states)
        if layer.return_sequences or self.dy is None:
            return self.dy, tuple(dstate)
        return None, (dstate[0] + self.dy, *dstate[1:])


class Run(NamedTuple):
    """One forward and one backward pass."""

    layer: Layer
    x: Array
    mask: Array | None
    y: Array
    state: State | None
    dy: Array
    dx: Array | None
    dstate0: State | None
    grads: dict[str, Array]
    loss: Array | float | None  # the value of the loss, if there is one
    visits: tuple[Visit, ...]  # in the order of the forward pass
    back: tuple[int, ...]  # indices into `visits`, in the order of the backward pass

    @property
    def own(self) -> tuple[str, ...]:
        """The weights that belong to containers themselves."""
        inside = {visit.key(name) for visit in self.visits for name in visit.layer.params}
        return tuple(name for name in self.layer.params if name not in inside)

    @property
    def unseen(self) -> tuple[str, ...]:
        """In words: layers with a state that run no cell, so that no tool sees their steps."""
        return tuple(
            f"{visit.name or 'the layer'}, {visit.layer!r}: its steps are not seen, for it is no Recurrent with a cell"
            for visit in self.visits
            if visit.final is not None and not visit.recurrent
        )


def run_step(
    layer: Layer,
    x: Array,
    dy: Upstream = None,
    *,
    state: State | None = None,
    mask: Array | None = None,
    dstate: State | None = None,
    dropout_seed: int | None = None,
    seed: int | None = 0,
) -> Run:
    """Runs `layer` forward and backward on its own engine, and notes every leaf's part in it.

    Arguments as StepOptions tells them. Raises whatever the layer raises for bad input. What overflows is not warned
    of: tools look for it themselves.
    """
    notes: list[Plain] = []
    back: list[int] = []
    watched = replaced(layer, lambda name, leaf: _Watched(_keeping(leaf), name, is_flipped(layer, name), notes, back))
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
    visits = tuple(Visit(**note) for note in notes)
    return Run(layer, x, mask, y, final, upstream, dx, dstate0, grads, loss, visits, tuple(back))


def _keeping(leaf: Layer) -> Layer:
    """The leaf, or its twin that keeps every step: tools look at them."""
    if not getattr(leaf, "recompute", False):
        return leaf
    twin = copy.copy(leaf)
    vars(twin)["recompute"] = False
    return twin


class _Watched(Layer):
    """A leaf that notes what it is given and what it gives."""

    def __init__(self, layer: Layer, name: str, flipped: bool, notes: list[Plain], back: list[int]):
        vars(self).update(vars(layer))  # a container may ask for them
        self.params = layer.params
        self._layer, self._notes, self._back = layer, notes, back
        self._place = {"name": name, "layer": layer, "flipped": flipped}

    def __getattr__(self, name: str) -> object:
        if name == "_layer" or name.startswith("__"):  # a copy under way
            raise AttributeError(name)
        return getattr(self._layer, name)

    def forward(
        self,
        x: Array,
        state: State | None = None,
        mask: Array | None = None,
        rng: Rng = None,
        reuse: object = None,
    ) -> tuple[Array, State | None, object]:
        layer = self._layer  # or its twin, where a container runs it over other weights, or by another step
        layer = layer if self.params is layer.params else with_params(layer, self.params)
        cell = getattr(self, "cell", None)
        if isinstance(layer, Recurrent) and isinstance(cell, Cell) and cell is not layer.cell:
            layer = running(layer, cell)
        y, final, cache = layer.forward(x, state, mask, rng)
        noted = {"layer": layer, "x": x, "state": state, "mask": mask, "y": y, "final": final, "cache": cache}
        self._notes.append(self._place | noted)
        return y, final, cache

    def backward(
        self, dy: Array | None, cache: object, dstate: State | None = None
    ) -> tuple[Array | None, State | None, dict[str, Array]]:
        at = next(k for k, note in enumerate(self._notes) if note["cache"] is cache)
        dx, dstate0, grads = self._notes[at]["layer"].backward(dy, cache, dstate)
        self._notes[at] |= {"dy": dy, "dstate": dstate, "dx": dx, "dstate0": dstate0, "grads": grads}
        self._back.append(at)
        return dx, dstate0, grads
