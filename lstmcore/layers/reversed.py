"""One layer in flipped time: a backward direction by itself."""

from collections.abc import Collection, Mapping
from typing import NoReturn

from lstmcore.arrays import Array, State
from lstmcore.layers.batch_first import check_time_first
from lstmcore.layers.bidirectional import in_time, turned
from lstmcore.layers.inside import InsideCache, backward_inside, forward_inside, predict_inside
from lstmcore.layers.layer import Layer, Rng
from lstmcore.layers.params import Params, joined


class Reversed(Layer):
    """`bw` reads x in flipped time; its outputs stand at the step that they belong to.

    As the backward direction of a Bidirectional: each row begins at its last real step, whatever the mask. Keys of
    params "bw.W_ih", ...; state: (the layer's,), the final one that of each row's first real step.
    """

    flipped: Collection[str] = ("bw",)

    def __init__(self, bw: Layer):
        check_time_first("Reversed", bw)
        self.bw = bw
        self.parts: Mapping[str, Layer] = {"bw": bw}
        self.params: Params = joined(self.parts)

    def forward(
        self,
        x: Array,
        state: State | None = None,
        mask: Array | None = None,
        rng: Rng = None,
        reuse: InsideCache | None = None,
    ) -> tuple[Array, State, InsideCache]:
        y, last, cache = forward_inside(self, turned(x), state, turned(mask), rng, reuse)
        return in_time(y), last, cache

    def backward(
        self, dy: Array | None, cache: InsideCache, dstate: State | None = None
    ) -> tuple[Array | None, State, dict[str, Array]]:
        dx, dstate0, grads = backward_inside(self, in_time(dy), cache, dstate)
        return turned(dx), dstate0, grads

    def predict(self, x: Array, state: State | None = None, mask: Array | None = None) -> tuple[Array, State]:
        y, last = predict_inside(self, turned(x), state, turned(mask))
        return in_time(y), last

    def step(self, x: Array, state: State | None = None) -> NoReturn:
        raise TypeError("a Reversed layer cannot step: it starts at the end of the sequence")
