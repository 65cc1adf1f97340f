"""A training step around the layers: from a program's weights to the gradients that it hands over.

This is what a program does with an LSTM besides running it: it reads its weights, gives the layers what it has, and
hands the gradients over. Each of these lines can be got wrong too, so `diagnose` runs them, right and wrong.
"""

from typing import TypeAlias

import numpy as np

from lstmcore.arrays import Array, State, namespace
from lstmcore.debug.case import Case
from lstmcore.debug.diagnose.plan import from_lstmcore
from lstmcore.debug.normed import GAINS
from lstmcore.debug.trees import named
from lstmcore.interop import to_lstmcore
from lstmcore.layers import Layer
from lstmcore.layers.tree import Names, state_names
from lstmcore.ops import gates
from lstmcore.ops.recurrence import Cache

# params, x (T, B, I), mask (T, B), state by name, dy (T, B, D H), dstate by name
Prepared: TypeAlias = tuple[dict[str, Array], Array, Array | None, dict[str, Array], Array, dict[str, Array]]


def prepare(case: Case) -> Prepared:
    """What the layers get."""
    T, B, _ = case.x.shape
    case = case._replace(x=dropped(case.x, case.dropout.get("x")))
    case = case._replace(dy=dropped(case.dy, case.dropout.get("y")))
    params = in_lstmcore(case)
    x, mask, dy = case.x, case.mask, case.dy
    state, dstate = dict(case.state), dict(case.dstate)
    if dy.ndim == 2:  # what came out were the final states h of the top layer, side by side: (B, D H)
        dy = np.zeros((T, B, case.dy.shape[1]))
        for d, name in enumerate(case.top):
            dstate[name] = dstate[name] + gates.split(case.dy, len(case.top))[:, d]
    return params, x, mask, state, dy, dstate


def in_lstmcore(case: Case, gradients: bool = False) -> dict[str, np.ndarray]:
    """The program's weights under lstmcore's names."""
    both, norm = len(case.top) == 2, case.norm
    weights = case.weights if norm is None else norm.others(case.weights)
    params = to_lstmcore(
        weights, case.layout, case.cell, gradients=gradients, bidirectional=both, options=case.options
    )[1]
    return params if norm is None else {**params, **norm.params(case.weights, len(params["b"]) // 4)}


def run(
    model: Layer, x: Array, mask: Array | None, state: dict[str, Array], dy: Array, dstate: dict[str, Array]
) -> dict[str, Array]:
    """Forward and backward: the gradients of the parameters, of x, and of the initial state, by name."""
    return backward(model, forward(model, x, mask, state)[2], dy, dstate)


def forward(
    model: Layer, x: Array, mask: Array | None, state: dict[str, Array]
) -> tuple[Array, dict[str, Array], Cache]:
    """The outputs (T, B, D H), the final states by the names of their initial ones, and the cache."""
    names = state_names(model)
    y, last, cache = model.forward(x, nested(names, state), mask)
    return y, named(last, names), cache


def backward(model: Layer, cache: Cache, dy: Array, dstate: dict[str, Array]) -> dict[str, Array]:
    """Undoes `forward`: what `run` gives."""
    names = state_names(model)
    dx, dstate0, grads = model.backward(dy, cache, nested(names, dstate))
    assert dx is not None  # x are numbers
    return {**grads, "x": dx, **named(dstate0, names)}


def outputs(
    model: Layer, x: Array, mask: Array | None, state: dict[str, Array], final: tuple[str, ...] = ()
) -> tuple[Array, Cache]:
    """The outputs (T, B, D H), or final states side by side (B, D H), by the names of their initial ones; the cache."""
    y, last, cache = forward(model, x, mask, state)
    return namespace(x).concat([last[name] for name in final], axis=-1) if final else y, cache


def hand_over(grads: dict[str, np.ndarray], case: Case) -> dict[str, np.ndarray]:
    """The gradients as the program keeps its weights; those of x and of the states under lstmcore's names."""
    grads = {**grads, "x": dropped(grads["x"], case.dropout.get("x"))}
    others = ("x", *case.state)
    gains = {} if case.norm is None else {key: grads[name] for key, name in case.norm.gains.items()}
    params = [name for name in grads if name not in (*others, *GAINS)]
    answer = from_lstmcore({name: grads[name] for name in params}, case.layout, case.cell, True, case.options)
    answer |= {name: grads[name] for name in others} | gains
    return answer


def dropped(a: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """Dropout, and its own undoing; None: there is none."""
    return a if mask is None else a * mask


def nested(names: Names, arrays: dict[str, Array]) -> State | None:
    """The arrays in the structure that holds their names."""
    if names is None:
        return None
    return tuple(arrays[part] if isinstance(part, str) else nested(part, arrays) for part in names)
