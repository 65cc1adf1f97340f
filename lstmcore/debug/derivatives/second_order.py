"""Second order by hand: the product of the Hessian with a vector, without the Hessian (Pearlmutter 1994).

With g(v) the gradient of a loss, H u = d/ds g(v + s u) at s = 0: the derivative of the *backward pass* along u, forward
over reverse. Backward is ordinary array code, so it is run over dual arrays (debug/dual.py); each of its lines is then
differentiated by the product rule. For equations (8), (12) and (16) of the LSTM step

    dc_dot      = dc_dot(from step t+1) + dh_dot o (1 - tanh(c)^2) + dh o_dot (1 - tanh(c)^2)
                  - 2 dh o tanh(c) (1 - tanh(c)^2) c_dot
    dc_prev_dot = dc_dot f + dc f_dot
    da_f_dot    = df_dot f (1 - f) + df f_dot (1 - 2 f)

It costs about three times a gradient, and needs no double backward of anybody's fused kernel.
"""

from collections.abc import Callable, Mapping

import numpy as np

from lstmcore.arrays import Array, State, to_numpy
from lstmcore.debug.derivatives.forward_mode import duals
from lstmcore.debug.dual import Dual, lift, zeros_like
from lstmcore.debug.gradcheck.numeric import COMPLEX_STEP
from lstmcore.debug.trees import named, tree_map
from lstmcore.layers import Layer
from lstmcore.layers.tree import state_names


def hvp(
    layer: Layer,
    x: Array,
    dy: Array | Callable[[Array], tuple[Array, Array]],
    direction: Mapping[str, Array],
    state: State | None = None,
    mask: Array | None = None,
    dstate: State | None = None,
    *,
    dropout_seed: int | None = None,
) -> dict[str, Array]:
    """How the gradient of every parameter, of x and of the initial state changes along a direction.

    dy: the upstream gradient, of the shape of y and constant (the loss is sum(dy y)); or `loss(y) -> (value, dy)`,
    complex-safe, so that dy moves with y. dstate: the gradient of the final state, constant; None means zeros. The
    other arguments, and what is raised, as in `jvp`. Returns float64 arrays under the names of `direction`, all of
    them: the parameters, "x", "h0", ... If dy is a loss, this is the Hessian times the direction, over all of these.
    """
    twin, x_dual, state_dual, mask_dual = duals(layer, x, direction, state, mask)
    rng = None if dropout_seed is None else np.random.default_rng(dropout_seed)
    y, final, cache = twin.forward(x_dual, state_dual, mask_dual, rng)
    dy_dual = _moving_with(y, dy) if callable(dy) else lift(np.asarray(to_numpy(dy), y.dtype))
    if dstate is None:
        dstate = tree_map(zeros_like, final)
    else:
        dstate = tree_map(lambda d: lift(np.asarray(to_numpy(d), y.dtype)), dstate)
    dx, dstate0, grads = twin.backward(dy_dual, cache, dstate)
    moved = {**grads, "x": dx, **named(dstate0, state_names(layer))}
    return {name: gradient.tangent for name, gradient in moved.items()}


def _moving_with(y: Dual, loss: Callable[[Array], tuple[Array, Array]]) -> Dual:
    """dy and its derivative as y moves. The loss is not run over duals: a complex step differentiates its dy."""
    dy = loss(y.value)[1]
    return Dual(dy, np.imag(loss(y.value + 1j * COMPLEX_STEP * y.tangent)[1]) / COMPLEX_STEP)
