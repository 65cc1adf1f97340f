"""What every layer around one other layer does: its state is a tuple of the inner one's, its keys have a prefix.

Each function is the method of that name: it checks the arguments of the outer layer, and calls the inner one.
"""

from typing import NamedTuple, Protocol

from lstmcore.arrays import Array, State
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
