"""Do a framework's outputs and gradients agree with lstmcore's, as far as rounding allows?"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from lstmcore.debug.gradcheck.gradcheck import ROUNDINGS
from lstmcore.debug.trees import gradient_of, named
from lstmcore.debug.watch.seen import Call, Seen
from lstmcore.interop import to_lstmcore
from lstmcore.layers import Layer
from lstmcore.layers.tree import state_names

DRAWS, SLACK = 8, 4.0  # how often the weights are shaken, and how much more than that rounding may do


class Row(NamedTuple):
    """One array of the comparison."""

    name: str
    shape: tuple[int, ...]
    error: float  # max |theirs - ours| / max |ours|
    allowed: float
    at: tuple[int, ...]  # where they differ most
    theirs: float
    ours: float


def agreement(layer: Layer, seen: Seen) -> Iterator[Row]:
    """The comparison of every output and gradient that the framework has."""
    theirs, ours = _theirs(layer, seen), _ours(layer, seen.calls)
    rng = np.random.default_rng(0)
    shaken = [_ours(_shaken(layer, seen.eps, rng), seen.calls) for _ in range(DRAWS)]
    for name, array in theirs.items():
        key = name.split(" (bias")[0]  # a second bias has the gradient of the first
        error, at = _distance(array, ours[key][: len(array)])  # but a GRU's has no block n, which is the last
        allowed = ROUNDINGS * seen.eps + SLACK * max(_distance(other[key], ours[key])[0] for other in shaken)
        yield Row(name, tuple(array.shape), error, allowed, at, float(array[at]), float(ours[key][at]))


def _shaken(layer: Layer, eps: float, rng: np.random.Generator) -> Layer:
    """The layer with every weight up or down by one rounding: what that does to a gradient, rounding may do."""
    twin = layer.to()
    for name, value in layer.params.items():
        twin.params[name] = value * (1 + eps * rng.choice([-1.0, 1.0], value.shape))
    return twin


def _ours(layer: Layer, calls: tuple[Call, ...]) -> dict[str, np.ndarray]:
    """lstmcore's own outputs and gradients, those of the weights summed over the calls."""
    answers: dict[str, np.ndarray] = {}
    for k, call in enumerate(calls):
        y, _, cache = layer.forward(call.x, call.state, call.mask)
        dx, dstate0, grads = layer.backward(call.dy, cache, call.dstate)
        own = {"y": y} if dx is None else {"y": y, "dx": dx}
        own |= {gradient_of(name): d for name, d in named(dstate0, state_names(layer)).items()}
        answers |= {name + _suffix(k, calls): value for name, value in own.items()}
        for name, gradient in grads.items():
            key = gradient_of(name)
            answers[key] = answers[key] + gradient if key in answers else gradient
    return answers


def _theirs(layer: Layer, seen: Seen) -> dict[str, np.ndarray]:
    """The framework's, under the same names; what it has not is left out."""
    answers: dict[str, np.ndarray] = {}
    for k, call in enumerate(seen.calls):
        own = {"y": call.y} if call.dx is None else {"y": call.y, "dx": call.dx}
        own |= {gradient_of(name): d for name, d in named(call.dstate0, state_names(layer)).items()}
        answers |= {name + _suffix(k, seen.calls): value for name, value in own.items()}
    # A frozen weight has no gradient: ones and zeros, sent the same way, tell which of lstmcore's arrays are whole.
    gradients = {key: seen.grads.get(key, np.zeros_like(value)) for key, value in seen.weights.items()}
    there = {key: np.full_like(value, key in seen.grads) for key, value in seen.weights.items()}
    _, converted = to_lstmcore(gradients, seen.layout, seen.cell, gradients=True)
    _, whole = to_lstmcore(there, seen.layout, seen.cell, gradients=True)
    return answers | {gradient_of(name): value for name, value in converted.items() if whole[name].all()}


def _distance(a: np.ndarray, b: np.ndarray) -> tuple[float, tuple[int, ...]]:
    """max |a - b| / max |b|, and where; nothing beside nothing is no distance."""
    difference = np.abs(a - b)
    at = tuple(map(int, np.unravel_index(np.argmax(difference), difference.shape)))
    scale = float(np.max(np.abs(b)))
    return (float(difference[at]) / scale if scale > 0 else 0.0 if difference[at] == 0 else np.inf), at


def _suffix(k: int, calls: tuple[Call, ...]) -> str:
    return f" (call {k})" if len(calls) > 1 else ""
