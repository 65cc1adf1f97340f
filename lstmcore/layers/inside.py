"""What every layer around one other layer does: its state is a tuple of the inner one's, its keys have a prefix.

Each function is the method of that name: it checks the arguments of the outer layer, and calls the inner one.
"""

from typing import Any, NamedTuple, Protocol

from lstmcore.arrays import Array, Maybe, State
from lstmcore.layers.layer import Layer, Rng
from lstmcore.shapes import check_cache, check_parts


class CacheAround(Protocol):
    @property
    def parts(self) -> tuple[object, ...]: ...


class InsideCache(NamedTuple):
    """The cache of a layer that keeps nothing of its own."""

    parts: tuple[object]  # the cache of the layer inside
    owner: Layer


def state_inside(outside: Layer, name: str, state: State | None) -> State | None:
    """The state of the layer inside; name: what the argument is called."""
    (given,) = check_parts(name, state, 1, type(outside).__name__)
    return given


def forward_inside(
    outside: Layer, x: Array, state: State | None, mask: Array | None, rng: Rng, reuse: CacheAround | None
) -> tuple[Array, State, InsideCache]:
    (inside,) = outside.parts.values()
    given = state_inside(outside, "state", state)
    if reuse is not None:
        check_cache(reuse, outside)
    y, last, cache = inside.forward(x, given, mask, rng, reuse and reuse.parts[0])
    return y, (last,), InsideCache((cache,), outside)


def backward_inside(
    outside: Layer, dy: Array | None, cache: CacheAround, dstate: State | None
) -> tuple[Array | None, State, dict[str, Array]]:
    check_cache(cache, outside)
    ((name, inside),) = outside.parts.items()
    dx, dstate0, grads = inside.backward(dy, cache.parts[0], state_inside(outside, "dstate", dstate))
    return dx, (dstate0,), {f"{name}.{key}": g for key, g in grads.items()}


def predict_inside(outside: Layer, x: Array, state: State | None, mask: Array | None) -> tuple[Array, State]:
    (inside,) = outside.parts.values()
    y, last = inside.predict(x, state_inside(outside, "state", state), mask)
    return y, (last,)


def step_inside(outside: Layer, x: Array, state: State | None) -> tuple[Array, State]:
    (inside,) = outside.parts.values()
    y, last = inside.step(x, state_inside(outside, "state", state))
    return y, (last,)


class Turning(Layer):
    """A layer that turns x and mask, and turns the outputs of the layer inside back. Each turn undoes itself."""

    def forward(
        self, x: Array, state: State | None = None, mask: Array | None = None, rng: Rng = None, reuse: Any = None
    ) -> tuple[Array, State, InsideCache]:
        y, last, cache = forward_inside(self, self._turned(x), state, self._turned(mask), rng, reuse)
        return self._back(y), last, cache

    def backward(
        self, dy: Array | None, cache: InsideCache, dstate: State | None = None
    ) -> tuple[Array | None, State, dict[str, Array]]:
        dx, dstate0, grads = backward_inside(self, self._back(dy), cache, dstate)
        return self._turned(dx), dstate0, grads

    def predict(self, x: Array, state: State | None = None, mask: Array | None = None) -> tuple[Array, State]:
        y, last = predict_inside(self, self._turned(x), state, self._turned(mask))
        return self._back(y), last

    def _turned(self, a: Maybe) -> Maybe:
        """x, mask or dx (T, B, ...) the other way round, None as None."""
        raise NotImplementedError

    def _back(self, y: Maybe) -> Maybe:
        """y or dy (T, B, ...) likewise; a final state (B, H) has no time."""
        return self._turned(y) if y is not None and y.ndim > 2 else y
