"""The exact Jacobians of the recurrence: how much of a state is left, and of its gradient, some steps later.

With s_t = (h_t, c_t), one vector of n numbers per row (n = 2H for LSTM, H for GRU and RNN), a step has the Jacobian
J_t = d s_t / d s_{t-1}, and over a stretch they multiply: d s_t / d s_s = J_t J_{t-1} ... J_{s+1}. Gradients travel by
the transposed product. For the LSTM, with k over the gates and W_k the gate's block of W_hh,

    d c_t / d c_{t-1} = diag(f)                                   d h_t / d c_{t-1} = diag(o (1 - tanh(c)^2) f)
    d c_t / d h_{t-1} = sum over k of diag(d c_t / d a_k) W_k^T    d h_t / d h_{t-1} = sum of diag(d h_t / d a_k) W_k^T

The diagonals come from the cell's own step, run over dual arrays (dual.py), so that GRU and RNN need no text of their
own, and backpropagation has no part in it. A masked step has the unit matrix.
"""

from collections.abc import Iterator

import numpy as np

from lstmcore.arrays import Array, to_numpy
from lstmcore.debug import dual
from lstmcore.debug.dual import Dual
from lstmcore.layers import Recurrent
from lstmcore.ops import gates
from lstmcore.ops.activation import array_maths
from lstmcore.ops.cells import Cell
from lstmcore.ops.recurrence import Cache
from lstmcore.ops.recurrence.products import project
from lstmcore.ops.recurrence.recomputed import in_full
from lstmcore.shapes import check_cache


def step_jacobians(layer: Recurrent, cache: Cache) -> np.ndarray:
    """d s_{t+1} / d s_t for every step and row: (T, B, n, n) float64, rows the new state, columns the old one.

    layer: an LSTM, GRU or RNN, on any engine; cache: what its `forward` returned. For a container, pass a part with its
    cache (`model.layers[0], cache.parts[0]`; a backward direction runs in flipped time). Raises TypeError and
    ValueError for a layer of another kind and for a cache that is not this layer's.
    """
    if not isinstance(layer, Recurrent):
        raise TypeError(
            f"`layer` should be an LSTM, GRU or RNN; got {layer!r} (a container? pass a part and its cache)"
        )
    check_cache(cache, layer)
    cell = layer.cell
    cache = in_full(cell, layer.params, cache)
    params = {name: _float64(value) for name, value in layer.params.items()}
    states = [_float64(s)[:-1] for s in cache.states]  # (T, B, H) each: the previous states
    a = project(cell, _float64(cache.x), params)
    a = gates.add(a, cell.recurrent_blocks, states[0] @ params["W_hh"])  # (T, B, K, H): all steps at once
    previous = [s for s, name in zip(states, cell.states) if name in cell.previous]
    if not cell.compiles:  # a step that may mix units
        J = _column_by_column(cell, a, previous, params)
    else:
        J = state_jacobian(cell, *local_derivatives(cell, a, previous), params["W_hh"])
    if cache.mask is not None:
        J[~to_numpy(cache.mask)] = np.eye(J.shape[-1])
    return J


def local_derivatives(cell: Cell, a: np.ndarray, previous: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The derivatives of one step, unit by unit: the new states by each block and by each previous state.

    a (..., K, H) pre-activations, previous (..., H) each -> (K, S, ..., H) and (P, S, ..., H), where S counts the
    states. The step is pointwise, so a tangent of ones in one argument gives all its derivatives in one run.
    """
    step_forward, _ = cell.make_step(array_maths(dual))
    K = a.shape[-2]
    arguments = [a[..., k, :] for k in range(K)] + previous
    rows = []
    for j in range(len(arguments)):
        moving = [Dual(v, np.full_like(v, j == m)) for m, v in enumerate(arguments)]
        rows.append([state.tangent for state in step_forward(*moving)[K:]])
    derivatives = np.array(rows)
    return derivatives[:K], derivatives[K:]


def _column_by_column(
    cell: Cell, a: np.ndarray, previous: list[np.ndarray], params: dict[str, np.ndarray]
) -> np.ndarray:
    """(..., n, n) for a step that is not pointwise: a tangent in one unit of one old state, run through the step.

    a (..., K, H), previous (..., H) each. It takes as many runs as the state has numbers.
    """
    step_forward, _ = cell.steps(array_maths(dual), params)
    W = gates.split(params["W_hh"], len(cell.recurrent_blocks))  # (width of h, blocks, H)
    K, H = a.shape[-2:]
    columns = []
    for name, width in zip(cell.states, cell.widths(H)):
        for unit in range(width):
            tangents = np.zeros_like(a)
            if name == cell.states[0]:
                tangents[..., cell.recurrent_blocks, :] = W[unit]
            moving = [Dual(a[..., k, :], tangents[..., k, :]) for k in range(K)]
            for s, of in zip(previous, cell.previous):
                moving.append(
                    Dual(s, np.zeros_like(s) if name != of else np.broadcast_to(np.eye(width)[unit], s.shape))
                )
            columns.append(np.concatenate([new.tangent for new in step_forward(*moving)[K:]], axis=-1))
    return np.stack(columns, axis=-1)


def state_jacobian(cell: Cell, by_block: np.ndarray, by_state: np.ndarray, W_hh: np.ndarray) -> np.ndarray:
    """(..., n, n) from the local derivatives (K, S, ..., H) and (P, S, ..., H), and W_hh (H, blocks H)."""
    S, H = by_block.shape[1], by_block.shape[-1]
    by_block, by_state = np.moveaxis(by_block, (0, 1), (-3, -2)), np.moveaxis(by_state, (0, 1), (-3, -2))
    J = np.zeros((*by_block.shape[:-3], S, H, S, H))  # (..., new state, unit, old state, unit)
    W = gates.split(W_hh, len(cell.recurrent_blocks))  # (H, blocks, H)
    J[..., 0, :] = np.einsum("...ksu,vku->...suv", by_block[..., cell.recurrent_blocks, :, :], W)  # through h W_hh
    for p, name in enumerate(cell.previous):
        diagonal = np.einsum("...suu->...su", J[..., cell.states.index(name), :])  # a view
        diagonal += by_state[..., p, :, :]  # what the step reads pointwise
    return J.reshape(*J.shape[:-4], S * H, S * H)


def jacobian(layer: Recurrent, cache: Cache, start: int = 0, stop: int | None = None) -> np.ndarray:
    """d s_stop / d s_start for every row: (B, n, n) float64. States count as in the cache: 0 is the initial one.

    stop: None means T, the final state. Raises ValueError unless 0 <= start <= stop <= T; else as `step_jacobians`.
    """
    J = step_jacobians(layer, cache)
    T = len(J)
    stop = T if stop is None else stop
    if not 0 <= start <= stop <= T:
        raise ValueError(f"`start` and `stop` should have 0 <= start <= stop <= T = {T}; got {start} and {stop}")
    *_, product = _products(J[start:stop])
    return product


def singular_values(layer: Recurrent, cache: Cache, start: int = 0) -> np.ndarray:
    """The singular values of d s_t / d s_start for t = start, ..., T: (T - start + 1, B, n), the largest first.

    They bound how much a gradient can grow or shrink between two steps. Raises ValueError unless 0 <= start <= T; else
    as `step_jacobians`.
    """
    J = step_jacobians(layer, cache)
    if not 0 <= start <= len(J):
        raise ValueError(f"`start` should have 0 <= start <= T = {len(J)}; got {start}")
    return np.linalg.svd(np.stack(list(_products(J[start:]))), compute_uv=False)


def memory_horizon(layer: Recurrent, cache: Cache, start: int = 0, fraction: float = 0.01) -> np.ndarray:
    """After how many real steps the largest singular value has fallen below `fraction`: (B,), infinity if never.

    Counted from `start`. Beyond it no gradient of a later state reaches s_start with more than `fraction` of its norm.
    Raises as `singular_values`.
    """
    largest = singular_values(layer, cache, start)[..., 0]  # (T - start + 1, B)
    steps = np.zeros_like(largest)
    steps[1:] = np.cumsum(_real_steps(cache)[start:], axis=0)
    return np.where(largest < fraction, steps, np.inf).min(axis=0)


def lyapunov_exponents(layer: Recurrent, cache: Cache) -> np.ndarray:
    """The Lyapunov spectrum over the sequence: (B, n), in nats per real step, minus infinity for what a step deletes.

    By the QR method (Benettin et al. 1980; Engelken, Wolf & Abbott 2023): an orthogonal frame is carried along,
    J_t Q_{t-1} = Q_t R_t, and the logarithms of |diag R_t| are averaged; no product of many matrices can overflow.
    Their sum is the mean of log |det J_t|. Positive: nearby states, and gradients, part at e^exponent per step;
    negative: they are forgotten. A row without a real step has NaN. Raises as `step_jacobians`.
    """
    J = step_jacobians(layer, cache)
    _, B, n, _ = J.shape
    Q, total = np.broadcast_to(np.eye(n), (B, n, n)), np.zeros((B, n))
    with np.errstate(divide="ignore", invalid="ignore"):
        for J_t in J:
            Q, R = np.linalg.qr(J_t @ Q)
            total += np.log(np.abs(np.einsum("bii->bi", R)))
        return total / _real_steps(cache).sum(axis=0)[:, None]


def _products(J: np.ndarray) -> Iterator[np.ndarray]:
    """The unit matrix, then J_1, J_2 J_1, ...: J (steps, B, n, n) -> steps + 1 times (B, n, n)."""
    product = np.broadcast_to(np.eye(J.shape[-1]), J.shape[1:]).copy()
    yield product
    for J_t in J:
        product = J_t @ product
        yield product


def _real_steps(cache: Cache) -> np.ndarray:
    return np.ones(cache.x.shape[:2], bool) if cache.mask is None else to_numpy(cache.mask)


def _float64(value: Array) -> np.ndarray:
    return to_numpy(value).astype(np.float64)
