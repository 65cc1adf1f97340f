"""One layer in flipped time: a backward direction by itself."""

from collections.abc import Collection, Mapping
from typing import NoReturn

from lstmcore.arrays import Array, Maybe, State
from lstmcore.layers.batch_first import check_time_first
from lstmcore.layers.bidirectional import turned
from lstmcore.layers.inside import Turning
from lstmcore.layers.layer import Layer
from lstmcore.layers.params import Params, joined


class Reversed(Turning):
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

    def step(self, x: Array, state: State | None = None) -> NoReturn:
        raise TypeError("a Reversed layer cannot step: it starts at the end of the sequence")

    def _turned(self, a: Maybe) -> Maybe:
        return turned(a)
