"""A stack with dropout between its layers, the masks as they were drawn: here too a line can be got wrong."""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from lstmcore.arrays import Array, State, namespace
from lstmcore.layers import Layer, Stack
from lstmcore.layers.layer import Rng
from lstmcore.layers.params import Params


class Dropped(Layer):
    """A layer whose outputs are multiplied by the mask of its place, scales[at] (T, B, H): 0 or 1 / (1 - p)."""

    def __init__(self, layer: Layer, scales: tuple[np.ndarray, ...], at: int):
        self.layer: Layer = layer
        self.params: Params = layer.params
        self.scales: tuple[np.ndarray, ...] = scales
        self.at: int = at
        self.scale: np.ndarray = scales[at]

    def forward(
        self, x: Array, state: State | None = None, mask: Array | None = None, rng: Rng = None, reuse: object = None
    ) -> tuple[Array, State | None, Any]:
        y, last, cache = self.layer.forward(x, state, mask)
        return times(y, self.scale), last, cache

    def backward(
        self, dy: Array | None, cache: Any, dstate: State | None = None
    ) -> tuple[Array | None, State | None, dict[str, Array]]:
        return self.layer.backward(None if dy is None else times(dy, self.scale), cache, dstate)

    def __repr__(self) -> str:
        return f"{self.layer!r}, dropped as drawn"


class DroppedStack(Stack):
    """scales: the mask of each layer but the top one; after them may come that of the outputs, which is not used."""

    def __init__(self, layers: tuple[Layer, ...], scales: tuple[np.ndarray, ...]):
        super().__init__(layers)
        self.scales: tuple[np.ndarray, ...] = scales
        self.layers = (*(Dropped(layer, scales, k) for k, layer in enumerate(layers[:-1])), layers[-1])

    def rebuilt(self, parts: Mapping[str, Layer]) -> Self:
        return type(self)(tuple(parts.values()), self.scales)

    def __repr__(self) -> str:
        return f"Stack({list(self.layers)!r})"  # each says that it is dropped; the masks would fill a page


def times(a: Array, scale: np.ndarray) -> Array:
    """a o scale, of the kind of a."""
    return a * namespace(a).asarray(scale, dtype=a.dtype)
