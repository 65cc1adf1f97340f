"""Everything that happens in a training step, by name.

An engine shows no gradients of pre-activations. But the gradient of an input that enters one pre-activation alone, with
weight 1, is that pre-activation's gradient. So each recurrent layer is run once more with such inputs, all zero, beside
its own: their dx is the engine's own da, through nothing but the contract that every layer keeps.
"""

import copy
from typing import Unpack

import numpy as np

from lstmcore.arrays import Array, namespace, to_numpy
from lstmcore.debug.step.visits import Run, StepOptions, Upstream, Visit, run_step
from lstmcore.debug.trees import gradient_of
from lstmcore.layers import Layer, Params


def trace(layer: Layer, x: Array, dy: Upstream = None, **step: Unpack[StepOptions]) -> dict[str, np.ndarray]:
    """Everything that happens in a training step, by name, as host arrays; options as in `compare`.

    With the prefix of each layer inside ("0.fw.gates"): recurrent layers give "gates" (T, B, K, H), one (T, B, H) per
    state ("h", "c"), and "da" (T, B, K', H), the gradients of the K' pre-activations that W_ih feeds; others give "y".
    Then "dW_ih", "dh0", ... as everywhere, and "dx" of every layer. Steps stand in the order of the input.
    """
    return traced(run_step(layer, x, dy, **step))


def traced(run: Run) -> dict[str, np.ndarray]:
    values: dict[str, Array] = {}
    for visit in run.visits:
        if visit.recurrent:
            layer, cache = visit.as_recurrent()
            values[visit.key("gates")] = visit.in_time(cache.gates)
            for name, s in zip(layer.states, cache.states):
                values[visit.key(name)] = visit.in_time(s[1:, ...])
            da = _pre_activation_gradients(visit) if visit.grads else None
            if da is not None:
                values[visit.key("da")] = visit.in_time(da)
            values |= {visit.key(f"d{name}0"): d for name, d in zip(layer.states, visit.dstate0 or ())}
        else:
            values[visit.key("y")] = visit.in_time(visit.y) if visit.y.ndim > 2 else visit.y
        if visit.dx is not None:
            values[visit.key("dx")] = visit.in_time(visit.dx) if visit.dx.ndim > 2 else visit.dx
        for name, gradient in visit.grads.items():
            values[visit.key(f"d{name}")] = gradient
    values |= {gradient_of(name): run.grads[name] for name in run.own if name in run.grads}
    return {name: to_numpy(value) for name, value in values.items()}


def _pre_activation_gradients(visit: Visit) -> Array | None:
    """(T, B, K', H): da of the blocks that W_ih feeds, by the layer's own engine; None if it takes no wider input."""
    layer, _ = visit.as_recurrent()
    xp = namespace(visit.x)
    T, B, I = visit.x.shape
    W_ih = layer.params["W_ih"]
    width = W_ih.shape[-1]
    wide = copy.copy(layer)
    vars(wide)["input_size"] = I + width  # the one size that is not for ever: the copy has other parameters
    wide.params = Params({**layer.params, "W_ih": xp.concat([W_ih, xp.eye(width, dtype=W_ih.dtype)])})
    inputs = xp.concat([visit.cache.x, xp.zeros((T, B, width), dtype=W_ih.dtype)], axis=-1)
    with np.errstate(all="ignore"):
        _, _, cache = wide.forward(inputs, visit.state, visit.mask)
        try:
            dx, _, _ = wide.backward(visit.dy, cache, visit.dstate)
        except ValueError:  # somebody's engine that only fits its own shapes: the rest can be compared all the same
            return None
    return xp.reshape(dx[..., I:], (T, B, len(layer.cell.input_blocks), layer.hidden_size))
