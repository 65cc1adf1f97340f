"""Directions through everything that a problem holds, for the tests of first and second derivatives along one."""

from typing import Any

import numpy as np
from cases import Problem

from lstmcore.debug.trees import named, tree_map
from lstmcore.layers.tree import state_names

STEP = 2.0**-100  # of a complex step: its square vanishes beside anything that float64 holds


def random_direction(problem: Problem, seed: int) -> dict[str, np.ndarray]:
    """A random array for every parameter, x and every initial state, under the names that `jvp` gives them."""
    layer = problem.layer()
    values = {**layer.params, "x": problem.x, **named(problem.state, state_names(layer))}
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=value.shape) for name, value in values.items()}


def shifted(problem: Problem, direction: dict[str, np.ndarray], step: complex) -> tuple[Any, np.ndarray, Any]:
    """Layer (on the reference engine, in complex128), x and state, moved by `step` times the direction."""
    layer = problem.layer().to(dtype="complex128", engine="reference")
    for name in layer.params:
        layer.params[name] = layer.params[name] + step * direction[name]
    names = iter(named(problem.state, state_names(layer)))
    state = tree_map(lambda s: s + step * direction[next(names)], problem.state)
    return layer, problem.x + step * direction["x"], state


def gradients(layer: Any, x: Any, state: Any, mask: Any, dy: Any, dstate: Any) -> dict[str, np.ndarray]:
    """What backward returns, under the names of `random_direction`."""
    y, _, cache = layer.forward(x, state, mask)
    dy, dstate = dy.astype(y.dtype), tree_map(lambda d: d.astype(y.dtype), dstate)
    dx, dstate0, grads = layer.backward(dy, cache, dstate)
    return {**grads, "x": dx, **named(dstate0, state_names(layer))}


def inner(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> float:
    """The inner product of two sets of arrays."""
    assert a.keys() == b.keys()
    return float(sum(np.sum(a[name] * b[name]) for name in a))


def size(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> float:
    """The sum of the absolute values of an inner product's terms: what its rounding is relative to."""
    return float(sum(np.sum(np.abs(a[name] * b[name])) for name in a))
