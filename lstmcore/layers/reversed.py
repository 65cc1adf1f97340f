"""One layer in flipped time: a backward direction by itself."""

from typing import NamedTuple, NoReturn

from lstmcore.arrays import Array, State
from lstmcore.layers.bidirectional import in_time, turned
from lstmcore.layers.layer import Layer, Rng
from lstmcore.layers.params import joined
from lstmcore.shapes import check_cache, check_parts


class ReversedCache(NamedTuple):
    parts: tuple[object]  # the cache of the layer, in flipped time
    owner: "Reversed"


class Reversed(Layer):
    """`bw` reads x in flipped time; its outputs stand at the step that they belong to.

    As the backward direction of a Bidirectional: each row begins at its last real step, whatever the mask. Keys of
    params "bw.W_ih", ...; state: (the layer's,), the final one that of each row's first real step.
    """

    flipped = ("bw",)

    def __init__(self, bw: Layer):
        self.bw = bw
        self.parts = {"bw": bw}
        self.params = joined(self.parts)

    def forward(
        self,
        x: Array,
        state: State | None = None,
        mask: Array | None = None,
        rng: Rng = None,
        reuse: ReversedCache | None = None,
    ) -> tuple[Array, State, ReversedCache]:
        (given,) = check_parts("state", state, 1, "Reversed")
        if reuse is not None:
            check_cache(reuse, self)
        y, last, cache = self.bw.forward(turned(x), given, turned(mask), rng, reuse and reuse.parts[0])
        return in_time(y), (last,), ReversedCache((cache,), self)

    def backward(
        self, dy: Array | None, cache: ReversedCache, dstate: State | None = None
    ) -> tuple[Array | None, State, dict[str, Array]]:
        check_cache(cache, self)
        (given,) = check_parts("dstate", dstate, 1, "Reversed")
        dx, dstate0, grads = self.bw.backward(in_time(dy), cache.parts[0], given)
        return turned(dx), (dstate0,), {f"bw.{name}": g for name, g in grads.items()}

    def predict(self, x: Array, state: State | None = None, mask: Array | None = None) -> tuple[Array, State]:
        (given,) = check_parts("state", state, 1, "Reversed")
        y, last = self.bw.predict(turned(x), given, turned(mask))
        return in_time(y), (last,)

    def step(self, x: Array, state: State | None = None) -> NoReturn:
        raise TypeError("a Reversed layer cannot step: it starts at the end of the sequence")

    def __repr__(self) -> str:
        return f"Reversed({self.bw!r})"
