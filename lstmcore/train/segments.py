"""A batch of long sequences in segments: backpropagation through all of its time, with one segment in memory.

Forward goes through the segments once and keeps the state and the outputs; backward takes the last one first, runs it
forward once more from its state, and goes back, so that the gradient of its first state is that of the last state of
the segment before. Nothing is cut off, as it would be between the batches of `carry_state`.
Shapes: T time, B batch.
"""

import copy
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, NamedTuple, cast

from lstmcore.arrays import Array, State, namespace
from lstmcore.layers import BatchFirst, Dropout, Last, Layer, RecurrentDropout
from lstmcore.layers.layer import Rng
from lstmcore.layers.tree import walk
from lstmcore.layers.without_dx import without_dx
from lstmcore.ops.recurrence.recomputed import cuts_of


class Begun(NamedTuple):
    """Where a segment begins."""

    first: int  # its steps
    end: int
    state: State | None
    draws: Mapping[str, object] | None  # the state of the generator of dropout masks


class SegmentsCache(NamedTuple):
    x: Array  # (T, B, ...)
    mask: Array | None
    rng: Rng
    begun: tuple[Begun, ...]
    parts: tuple[object]  # the cache of the last segment, whose memory the next batch uses again


class Segments:
    """The model, run by segments of k steps, True for near sqrt(T); the first one of a batch may be shorter.

    Raises ValueError for a model that does not read time step by step, from its first axis, and for one that draws a
    mask for a whole sequence.
    """

    def __init__(self, model: Layer, k: int | bool):
        for name, layer in walk(model):
            where = f"`segments` need a model that reads time step by step; {layer!r} at {name!r} "
            if getattr(layer, "flipped", ()):
                raise ValueError(f"{where}reads it from its end (give its layers recompute=True instead)")
            if isinstance(layer, Last):
                raise ValueError(f"{where}looks for the last step (use return_sequences=False of the layer before it)")
            if isinstance(layer, BatchFirst):
                raise ValueError(f"{where}has the batch first (hand over its model and time-major arrays)")
            own = isinstance(layer, RecurrentDropout) and (layer.h or layer.W_hh)
            if own or (isinstance(layer, Dropout) and layer.per_sequence):
                raise ValueError(f"{where}draws a mask for a whole sequence, and would draw one for each segment")
        self.model: Layer = model
        self.k: int | bool = k

    def forward(
        self, x: Array, state: State | None = None, mask: Array | None = None, rng: Rng = None, reuse: Any = None
    ) -> tuple[Array, State | None, SegmentsCache]:
        """As `Layer.forward`."""
        begun: list[Begun] = []
        kept = reuse and reuse.parts[0]
        y = None
        for first, end in self._segments(x):
            begun.append(Begun(first, end, state, None if rng is None else rng.bit_generator.state))
            piece, state, kept = self.model.forward(x[first:end, ...], state, _cut(mask, first, end), rng, kept)
            y = _put(y, piece, first, len(x))
        return cast(Array, y), state, SegmentsCache(x, mask, rng, tuple(begun), (kept,))

    def backward(
        self, dy: Array, cache: SegmentsCache, dstate: State | None = None
    ) -> tuple[None, State | None, dict[str, Array]]:
        """As `Layer.backward`, but without dx. Gradients are added, those of the last segment first."""
        sums: dict[str, Array] = {}
        kept, rng = None, copy.deepcopy(cache.rng)  # that of the run has moved on
        for first, end, state, draws in reversed(cache.begun):
            if rng is not None and draws is not None:
                rng.bit_generator.state = draws
            _, _, kept = self.model.forward(cache.x[first:end, ...], state, _cut(cache.mask, first, end), rng, kept)
            last = dy if end == len(cache.x) else None  # without a time axis the outputs are those of the last segment
            upstream = dy[first:end, ...] if dy.ndim >= 3 else last
            _, dstate, grads = self.model.backward(upstream, without_dx(self.model, kept), dstate)
            sums = {name: sums[name] + g if sums else g for name, g in grads.items()}
        return None, dstate, sums

    def predict(self, x: Array, state: State | None = None, mask: Array | None = None) -> tuple[Array, State | None]:
        """As `Layer.predict`."""
        y = None
        for first, end in self._segments(x):
            piece, state = self.model.predict(x[first:end, ...], state, _cut(mask, first, end))
            y = _put(y, piece, first, len(x))
        return cast(Array, y), state

    def _segments(self, x: Array) -> Iterator[tuple[int, int]]:
        return pairwise(cuts_of(len(x), self.k))


def _put(y: Array | None, piece: Array, first: int, T: int) -> Array:
    """The outputs of a segment at their place among those of all T steps; the last ones where they have no time."""
    if piece.ndim < 3:
        return namespace(piece).asarray(piece, copy=True)  # its memory may be the next segment's
    if y is None:
        y = namespace(piece).empty((T, *piece.shape[1:]), dtype=piece.dtype)
    y[first : first + len(piece), ...] = piece
    return y


def _cut(mask: Array | None, first: int, end: int) -> Array | None:
    return None if mask is None else mask[first:end, ...]
