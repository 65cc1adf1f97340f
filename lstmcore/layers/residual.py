"""A way around a layer (He et al. 2016): what it learns is what it adds."""

from collections.abc import Mapping
from typing import NamedTuple

from lstmcore.arrays import Array, State
from lstmcore.layers.inside import backward_inside, forward_inside, predict_inside, step_inside
from lstmcore.layers.layer import Layer, Rng
from lstmcore.layers.params import Params, joined
from lstmcore.ops.masking import kept, masking_backward, masking_forward


class ResidualCache(NamedTuple):
    parts: tuple[object]
    mask: Array | None
    owner: "Residual"


class Residual(Layer):
    """y = x + layer(x), zero at masked steps; `layer` gives outputs as wide as x.

    Keys of params "layer.W_ih", ...; state: (the layer's,). Raises ValueError where the widths differ, and where the
    layer gives final states only.
    """

    def __init__(self, layer: Layer):
        self.layer = layer
        self.parts: Mapping[str, Layer] = {"layer": layer}
        self.params: Params = joined(self.parts)

    def forward(
        self,
        x: Array,
        state: State | None = None,
        mask: Array | None = None,
        rng: Rng = None,
        reuse: ResidualCache | None = None,
    ) -> tuple[Array, State, ResidualCache]:
        y, last, cache = forward_inside(self, x, state, mask, rng, reuse)
        return self._around(x, y, mask), last, ResidualCache(cache.parts, kept(mask), self)

    def backward(
        self, dy: Array | None, cache: ResidualCache, dstate: State | None = None
    ) -> tuple[Array | None, State, dict[str, Array]]:
        dx, dstate0, grads = backward_inside(self, dy, cache, dstate)
        if dy is not None and dx is not None:
            dx = dx + masking_backward(dy, cache.mask)  # (98) undoes (97): x is used twice
        return dx, dstate0, grads

    def predict(self, x: Array, state: State | None = None, mask: Array | None = None) -> tuple[Array, State]:
        y, last = predict_inside(self, x, state, mask)
        return self._around(x, y, mask), last

    def step(self, x: Array, state: State | None = None) -> tuple[Array, State]:
        y, last = step_inside(self, x, state)
        return self._around(x, y, None), last

    def _around(self, x: Array, y: Array, mask: Array | None) -> Array:
        if x.shape != y.shape:
            raise ValueError(
                f"`layer` of a Residual should give as much as it reads, {tuple(x.shape)}; {self.layer!r} gives "
                f"{tuple(y.shape)} (another width, or the final state alone?)"
            )
        return masking_forward(x, mask) + y  # (97)
