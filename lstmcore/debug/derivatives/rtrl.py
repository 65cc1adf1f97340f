"""Real-time recurrent learning (Williams & Zipser 1989): the exact gradient, forward in time, nothing stored.

Beside the state s_t = (h_t, c_t) it carries the sensitivities P_t = d s_t / d theta of every weight,

    P_t = J_t P_{t-1} + (d s_t / d theta, with s_{t-1} held fixed)        J_t = d s_t / d s_{t-1}, see jacobian.py
    dtheta = sum over t of dy_t dh_t / d theta

The last term of the first line is local: a weight of block k enters a_k multiplied by its input (x_t for W_ih, h_{t-1}
for W_hh, 1 for a bias), and d s_t / d a_k is pointwise. No line of this is shared with backpropagation through time,
and both give the same numbers. It costs a factor of about H^2 more time, and n floats per row for every weight (n = 2H
for LSTM, else H): a witness for small layers, and what people mean by learning online.
"""

from collections.abc import Mapping

import numpy as np

from lstmcore.arrays import Array, to_numpy
from lstmcore.debug.jacobian.jacobian import local_derivatives, state_jacobian
from lstmcore.debug.trees import cast, tree_map
from lstmcore.layers import Recurrent
from lstmcore.ops import gates
from lstmcore.ops.activation import array_maths
from lstmcore.ops.cells import Cell
from lstmcore.ops.masking import masking_forward
from lstmcore.ops.recurrence.products import project
from lstmcore.shapes import check_like, check_sequence, check_state


def rtrl(
    layer: Recurrent,
    x: Array,
    dy: Array,
    state: tuple[Array, ...] | None = None,
    mask: Array | None = None,
    dstate: tuple[Array, ...] | None = None,
) -> tuple[tuple[np.ndarray, ...], dict[str, np.ndarray]]:
    """The gradients that `layer.backward` gives, but for dx: dstate0, and those of every parameter, in float64.

    layer: an LSTM, GRU or RNN with all outputs. x (T, B, I), dy (T, B, H), mask (T, B) bool, state and dstate tuples of
    (B, H) or None for zeros. Raises TypeError for another layer, and what `layer.forward` raises for bad input.
    """
    if not isinstance(layer, Recurrent) or not layer.return_sequences:
        raise TypeError(f"`layer` should be an LSTM, GRU or RNN that returns sequences; got {layer!r}")
    if not layer.cell.compiles:
        does = f"multiplies with {', '.join(layer.cell.weights)}" if layer.cell.weights else "does more than arithmetic"
        raise TypeError(
            f"`layer` should have a step that is pointwise between its products; {layer!r} {does} inside its step "
            "(backward and lc.debug.hvp go through it)"
        )
    own = layer.to(dtype="float64", engine="reference", array="numpy")
    x, dy, mask, state, dstate = (tree_map(to_numpy, tree) for tree in (x, dy, mask, state, dstate))
    x, dy, state, dstate = (cast(tree, np.float64) for tree in (x, dy, state, dstate))
    cell, H, W_hh = own.cell, own.hidden_size, own.params["W_hh"]
    check_sequence("x", x, own.input_size, W_hh, mask)
    T, B, _ = x.shape
    check_like("dy", dy, (T, B, H), "(T, B, H)", W_hh)
    zeros = tuple(np.zeros((B, H)) for _ in cell.states)
    state, dstate = zeros if state is None else state, zeros if dstate is None else dstate
    check_state("state", state, cell.states, B, cell.widths(H), W_hh)
    check_state("dstate", dstate, cell.states, B, cell.widths(H), W_hh)

    real = np.ones((T, B), bool) if mask is None else mask
    x, dy = masking_forward(x, mask), masking_forward(dy, mask)
    P = _initial_sensitivities(cell, own.params, B, H)
    grads = {name: np.zeros((B, sensitivity.shape[-1])) for name, sensitivity in P.items()}
    for t in range(T):
        new_state, new_P = _step(cell, own.params, x[t], state, P)
        state = tuple(np.where(real[t, :, None], n, s) for n, s in zip(new_state, state))
        P = {name: np.where(real[t, :, None, None], new_P[name], P[name]) for name in P}
        grads = {name: g + np.einsum("bu,bun->bn", dy[t], P[name][:, :H]) for name, g in grads.items()}
    last = np.concatenate(dstate, axis=1)  # (B, n)
    grads = {name: g + np.einsum("bu,bun->bn", last, P[name]) for name, g in grads.items()}
    dstate0 = tuple(np.ascontiguousarray(grads[f"{name}0"]) for name in cell.states)
    return dstate0, {name: grads[name].sum(axis=0).reshape(value.shape) for name, value in own.params.items()}


def _initial_sensitivities(cell: Cell, params: Mapping[str, Array], B: int, H: int) -> dict[str, np.ndarray]:
    """d s_0 / d theta as (B, n, size of theta): nothing for a weight, the unit matrix for the initial state itself."""
    n = H * len(cell.states)
    P = {name: np.zeros((B, n, value.size)) for name, value in params.items()}
    for k, name in enumerate(cell.states):
        P[f"{name}0"] = np.broadcast_to(np.eye(n, H, -k * H), (B, n, H))
    return P


def _step(
    cell: Cell, params: Mapping[str, Array], x: np.ndarray, state: tuple[np.ndarray, ...], P: dict[str, np.ndarray]
) -> tuple[tuple[np.ndarray, ...], dict[str, np.ndarray]]:
    """One step of the state and of its sensitivities: x (B, I), state (B, H) each, P (B, n, size) each."""
    K = len(cell.gates)
    a = gates.add(project(cell, x[None], params)[0], cell.recurrent_blocks, state[0] @ params["W_hh"])  # (B, K, H)
    previous = [s for s, name in zip(state, cell.states) if name in cell.previous]
    step_forward, _ = cell.make_step(array_maths(np))
    new_state = step_forward(*(a[:, k] for k in range(K)), *previous)[K:]

    by_block, by_state = local_derivatives(cell, a, previous)  # (K, S, B, H), (P, S, B, H)
    J = state_jacobian(cell, by_block, by_state, params["W_hh"])  # (B, n, n)
    P = {name: J @ sensitivity for name, sensitivity in P.items()}
    ones = np.ones((len(x), 1))
    enters = {"W_ih": (x, cell.input_blocks), "W_hh": (state[0], cell.recurrent_blocks)}
    enters |= {name: (ones, blocks) for name, blocks in cell.biases.items()}
    eye = np.eye(a.shape[-1])  # block k of unit v feeds unit v alone
    for name, (inputs, blocks) in enters.items():
        local = np.einsum("ksbu,bi,uv->bsuikv", by_block[list(blocks)], inputs, eye)
        P[name] = P[name] + local.reshape(P[name].shape)
    return new_state, P
