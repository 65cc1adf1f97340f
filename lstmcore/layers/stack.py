"""Layers one after the other. The container is itself a layer."""

from collections.abc import Mapping
from typing import NamedTuple

from lstmcore.arrays import Array, State
from lstmcore.layers.layer import Layer, Rng
from lstmcore.layers.params import Params, joined
from lstmcore.shapes import check_cache, check_layer, check_parts


class StackCache(NamedTuple):
    parts: tuple[object, ...]  # the cache of each part
    owner: "Stack"


class Stack(Layer):
    """x goes through the parts in order; params keys are "0.W_ih", ..., state is a tuple with one entry per part.

    The mask goes along as long as there is a time axis: after a part that gives final states only, none is passed on.
    A Stack of Bidirectional layers is PyTorch's interleaved topology; a Bidirectional of two Stacks is TensorFlow 1's
    two independent towers.
    """

    def __init__(self, layers: list[Layer] | tuple[Layer, ...]):
        self.layers: tuple[Layer, ...] = tuple(layers)
        if not self.layers:
            raise ValueError("`layers` should hold at least one layer; got none")
        seen: set[int] = set()
        for k, layer in enumerate(self.layers):
            check_layer(f"layers[{k}]", layer, "forward", "lc.Stack([lc.LSTM(I, H), lc.LSTM(H, H)])")
            if id(layer) in seen:
                raise ValueError(f"`layers` should hold each layer once; {layer!r} at {k} stands there twice")
            seen.add(id(layer))
        self.parts: Mapping[str, Layer] = {str(k): layer for k, layer in enumerate(self.layers)}
        self.params: Params = joined(self.parts)

    def forward(
        self,
        x: Array,
        state: State | None = None,
        mask: Array | None = None,
        rng: Rng = None,
        reuse: StackCache | None = None,
    ) -> tuple[Array, State, StackCache]:
        given = check_parts("state", state, len(self.layers), "Stack")
        if reuse is not None:
            check_cache(reuse, self)
        caches, states = [], []
        for k, layer in enumerate(self.layers):
            x, s, cache = layer.forward(x, given[k], mask, rng, reuse and reuse.parts[k])
            mask = mask if x.ndim > 2 else None
            caches.append(cache)
            states.append(s)
        return x, tuple(states), StackCache(tuple(caches), self)

    def backward(
        self, dy: Array | None, cache: StackCache, dstate: State | None = None
    ) -> tuple[Array | None, State, dict[str, Array]]:
        check_cache(cache, self)
        given = check_parts("dstate", dstate, len(self.layers), "Stack")
        dstates: list[State | None] = [None] * len(self.layers)
        grads: list[dict[str, Array]] = [{}] * len(self.layers)
        for k in reversed(range(len(self.layers))):
            dy, dstates[k], grads[k] = self.layers[k].backward(dy, cache.parts[k], given[k])
        named = {f"{k}.{name}": g for k, part in enumerate(grads) for name, g in part.items()}
        return dy, tuple(dstates), named

    def predict(self, x: Array, state: State | None = None, mask: Array | None = None) -> tuple[Array, State]:
        given = check_parts("state", state, len(self.layers), "Stack")
        states = []
        for k, layer in enumerate(self.layers):
            x, s = layer.predict(x, given[k], mask)
            mask = mask if x.ndim > 2 else None
            states.append(s)
        return x, tuple(states)

    def step(self, x: Array, state: State | None = None) -> tuple[Array, State]:
        given = check_parts("state", state, len(self.layers), "Stack")
        states = []
        for k, layer in enumerate(self.layers):
            x, s = layer.step(x, given[k])
            states.append(s)
        return x, tuple(states)
