"""What a backward pass relies on: that the inputs, the weights and the cache are those that the forward pass saw.

Arrays can be written to at any time, and a gradient taken with other weights than those of the forward pass is the
gradient of nothing. So `forward` takes a print of each array, and `backward` compares. A print is a sample: all of a
small array, a little of a large one. An optimizer's step, a scaled matrix or a buffer filled anew changes nearly every
number; to find a single changed one, `with strict():` compares all of them.
"""

import contextlib
import functools
import hashlib
import math
from collections.abc import Callable, Hashable, Iterator
from contextvars import ContextVar
from typing import NamedTuple

import numpy as np

from lstmcore.arrays import Array, to_numpy
from lstmcore.layers.params import Params

WHOLE = 128  # numbers: arrays up to this size are compared in full
LARGE = 1 << 16  # of larger weights some 64 numbers are sampled, since a pass takes milliseconds then; else one

Prints = list[Hashable]


def samples(x: Array, params: Params) -> Prints:
    """A print of each array on the host; None for one on a GPU, where reading a number means waiting for it.

    Of x, (T, B, I), it is one step of all rows, so that it holds ones of one-hot vectors too.
    """
    if type(x) is not np.ndarray:
        return [None]
    few = x.size <= WHOLE
    prints: Prints = [(x if few else x[len(x) // 2] if x.ndim == 3 else x[:: -(-len(x) // 8)]).tobytes()]
    for w, place in zip(params.values(), _places(params.sizes)):  # twice in every training step of every layer
        prints.append(w.tobytes() if place is None else w.item(place) if place else _spread(w))
    return prints


def _spread(w: Array) -> bytes:
    """Some 64 numbers of a large array."""
    return w.ravel("K")[:: _stride(w.shape)].tobytes()


def whole(x: Array, params: Params) -> Prints:
    """Prints in which every bit counts."""
    return [hashlib.sha256(np.ascontiguousarray(to_numpy(a)).tobytes()).digest() for a in (x, *params.values())]


@functools.lru_cache(maxsize=256)
def _places(sizes: tuple[int, ...]) -> tuple[int | None, ...]:
    """Which number of each array is looked at, about a quarter of the way; None: every one; 0: some 64."""
    return tuple(None if n <= WHOLE else n * 61 >> 8 | 1 if n < LARGE else 0 for n in sizes)


@functools.lru_cache(maxsize=256)
def _stride(shape: tuple[int, ...]) -> int:
    """How far apart 64 numbers of an array lie. It has no divisor in common with a row, or they would share columns."""
    stride = math.prod(shape) // 64
    while stride > 1 and math.gcd(stride, shape[-1]) > 1:
        stride -= 1
    return stride


_taken: ContextVar[Callable[[Array, Params], Prints]] = ContextVar("print", default=samples)


@contextlib.contextmanager
def strict() -> Iterator[None]:
    """Within it every number of the inputs and weights is compared, by `forward` and by `backward`, on a GPU too.

        with lc.debug.strict():
            y, state, cache = model.forward(x)
            ...
            dx, dstate, grads = model.backward(dy, cache)  # raises ValueError if any number has changed

    It costs one read of x and of all weights in each pass.
    """
    token = _taken.set(whole)
    try:
        yield
    finally:
        _taken.reset(token)


class Seen(NamedTuple):
    """What a forward pass has seen."""

    x: Array  # as it was given
    taken: Callable[[Array, Params], Prints]  # how the prints were taken
    prints: Prints  # of x, and of each parameter
    memory: list[int]  # [how often the buffers of the cache were handed on to a later one]
    turn: int  # how often that was when this cache got them


def look(x: Array, params: Params, before: "Seen | None" = None) -> Seen:
    """For the cache of a forward pass. before: that of the cache whose buffers it takes over."""
    taken = _taken.get()
    prints = taken(x, params)
    if before is None:
        return Seen(x, taken, prints, [0], 0)
    before.memory[0] += 1
    return Seen(x, taken, prints, before.memory, before.memory[0])


def check_memory(seen: Seen) -> None:
    """Raises ValueError if a later forward pass has written over the cache."""
    if seen.turn != seen.memory[0]:
        raise ValueError(
            "`cache` was overwritten: it was handed to a later forward(..., reuse=cache), which put its own numbers "
            "into the same memory (call backward before that, or leave `reuse` out)"
        )


def check(seen: Seen, params: Params) -> None:
    """Raises ValueError if x, a parameter or the cache is not what the forward pass has seen."""
    check_memory(seen)
    params.check_shapes()
    prints = seen.taken(seen.x, params)
    if prints == seen.prints:
        return
    for name, before, now in zip(("x", *params), seen.prints, prints):
        if not _same(before, now):
            raise ValueError(
                "`x` has changed since `forward`: this would be the gradient of something else (a buffer that was "
                "filled again? hand a copy to `forward`, or call `backward` first)"
                if name == "x"
                else f"parameter {name!r} has changed since `forward`: this would be the gradient of something else "
                "(an optimizer's step, or an assignment? first `backward`, then the change; or call `forward` again)"
            )


def _same(before: object, now: object) -> bool:
    """Equal, where NaN equals NaN."""
    return bool(before == now or (before != before and now != now))


def read_only(y: Array) -> Array:
    """y, a view of a cache, made read-only. Other array libraries have no such thing."""
    if type(y) is np.ndarray:
        y.setflags(write=False)
    return y
