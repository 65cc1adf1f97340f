"""Forward mode: how outputs and states move when inputs, initial states and weights move along one direction.

The Jacobian-vector product J v, in the same pass as the outputs. It knows nothing of backpropagation, and each checks
the other by one identity: <J v, u> = <v, J^T u> for every v and u, where J^T u is what `backward` returns for dy = u.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from lstmcore.arrays import Array, State, to_numpy
from lstmcore.debug.dual import Dual, lift
from lstmcore.debug.trees import cast, named, tree_map
from lstmcore.layers import Layer
from lstmcore.layers.tree import state_names, with_params


class Derivative(NamedTuple):
    """What `jvp` returns: values and their derivatives along the direction, in float64."""

    y: Array  # as layer.forward gives it
    state: State | None  # the final state
    y_dot: Array
    state_dot: State | None


def jvp(
    layer: Layer,
    x: Array,
    direction: Mapping[str, Array],
    state: State | None = None,
    mask: Array | None = None,
    *,
    dropout_seed: int | None = None,
) -> Derivative:
    """The derivative of outputs and final state along a direction, of a layer, container or model.

    x (T, B, I) floating; mask (T, B) bool; state: None means zeros. direction: name -> array of the shape of what it
    moves. Names: the keys of `layer.params`, "x", and the initial states "h0", "c0" ("0.h0", "fw.c0", ... inside a
    container); what is not named stays. dropout_seed: draw dropout masks from this seed. Computed in float64 (or the
    complex128 of a complex layer) on the host, by the reference engine over dual arrays. Raises KeyError for an unknown
    name, ValueError for another shape, TypeError for integer x (move the vectors behind an Embedding, not its indices).
    """
    twin, x_dual, state_dual, mask_dual = duals(layer, x, direction, state, mask)
    rng = None if dropout_seed is None else np.random.default_rng(dropout_seed)
    y, final, _ = twin.forward(x_dual, state_dual, mask_dual, rng)
    return Derivative(y.value, tree_map(lambda s: s.value, final), y.tangent, tree_map(lambda s: s.tangent, final))


def duals(
    layer: Layer, x: Array, direction: Mapping[str, Array], state: State | None, mask: Array | None
) -> tuple[Any, Any, Any, Any]:
    """A twin of the layer with dual parameters, and dual x, state and mask, moving along the direction."""
    if np.dtype(x.dtype).kind not in "fc":
        raise TypeError(f"`x` should be floating; got {x.dtype} (an index has no derivative: embed it first)")
    dtype = np.result_type(np.float64, *(value.dtype for value in layer.params.values()))  # complex stays complex
    own = layer.to(dtype=dtype, engine="reference", array="numpy")
    x, state, mask = (tree_map(to_numpy, tree) for tree in (x, state, mask))
    x, state = cast(x, dtype), cast(state, dtype)
    if state is None:
        state = tree_map(np.zeros_like, own.predict(x, None, mask)[1])
    names = state_names(own)
    values = {"x": x, **own.params, **named(state, names)}
    for name, tangent in direction.items():
        if name not in values:
            raise KeyError(f"`direction` should name some of {', '.join(values)}; got {name!r}")
        if np.shape(tangent) != values[name].shape:
            raise ValueError(f"`direction[{name!r}]` should be {values[name].shape}; got {np.shape(tangent)}")
    moving: dict[str, Any] = {
        name: Dual(value, np.asarray(direction[name], dtype) if name in direction else np.zeros_like(value))
        for name, value in values.items()
    }
    initial = (moving[name] for name in named(state, names))
    state = tree_map(lambda _: next(initial), state)
    return with_params(own, moving), moving["x"], state, None if mask is None else lift(mask)
