"""The one place where the batch may come first: a wrapper around a model whose arrays are time-major."""

from typing import NamedTuple

from lstmcore.arrays import Array, Maybe, State, is_array, namespace
from lstmcore.layers.layer import Layer, Rng
from lstmcore.layers.params import joined
from lstmcore.shapes import check_cache, check_parts


class BatchFirstCache(NamedTuple):
    parts: tuple[object]
    owner: "BatchFirst"


class BatchFirst(Layer):
    """The model for x (B, T, I) and mask (B, T): y (B, T, O), or (B, O) where the model gives final states.

    Keys of params "model.W_ih", ...; state: (the model's,), whose arrays are (B, H) as everywhere. Nothing is copied.
    Raises what the model raises, in its own time-major letters.
    """

    def __init__(self, model: Layer):
        self.model = model
        self.parts = {"model": model}
        self.params = joined(self.parts)

    def forward(
        self,
        x: Array,
        state: State | None = None,
        mask: Array | None = None,
        rng: Rng = None,
        reuse: BatchFirstCache | None = None,
    ) -> tuple[Array, State, BatchFirstCache]:
        (given,) = check_parts("state", state, 1, "BatchFirst")
        if reuse is not None:
            check_cache(reuse, self)
        y, last, cache = self.model.forward(swapped(x), given, swapped(mask), rng, reuse and reuse.parts[0])
        return _output(y), (last,), BatchFirstCache((cache,), self)

    def backward(
        self, dy: Array | None, cache: BatchFirstCache, dstate: State | None = None
    ) -> tuple[Array | None, State, dict[str, Array]]:
        check_cache(cache, self)
        (given,) = check_parts("dstate", dstate, 1, "BatchFirst")
        dx, dstate0, grads = self.model.backward(_output(dy), cache.parts[0], given)
        return swapped(dx), (dstate0,), {f"model.{name}": g for name, g in grads.items()}

    def predict(self, x: Array, state: State | None = None, mask: Array | None = None) -> tuple[Array, State]:
        (given,) = check_parts("state", state, 1, "BatchFirst")
        y, last = self.model.predict(swapped(x), given, swapped(mask))
        return _output(y), (last,)

    def step(self, x: Array, state: State | None = None) -> tuple[Array, State]:
        (given,) = check_parts("state", state, 1, "BatchFirst")
        y, last = self.model.step(x, given)
        return y, (last,)

    def __repr__(self) -> str:
        return f"BatchFirst({self.model!r})"


def swapped(a: Maybe) -> Maybe:
    """Batch and time exchanged, as a view. What has no two axes, the model refuses."""
    if a is None or not is_array(a) or a.ndim < 2:
        return a
    return namespace(a).permute_dims(a, (1, 0, *range(2, a.ndim)))


def _output(y: Maybe) -> Maybe:
    """Outputs over time exchanged; a final state (B, H) has no time."""
    return swapped(y) if y is not None and y.ndim > 2 else y
