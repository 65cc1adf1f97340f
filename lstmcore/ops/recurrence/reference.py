"""The reference engine: the loop over time in plain array code, for NumPy, CuPy and any array-API library.

Every other engine is held to this one. Numbers in brackets are the equations of docs/derivation.md.
Shapes: T time, B batch, I input width, H hidden width, K blocks (4 for LSTM and GRU, 1 for the plain RNN).
"""

from collections.abc import Iterator, Mapping

from lstmcore.arrays import Array, dtype_name, namespace
from lstmcore.ops import gates
from lstmcore.ops.activation import array_maths
from lstmcore.ops.cells import Cell
from lstmcore.ops.masking import masking_backward, masking_forward
from lstmcore.ops.matmul import product
from lstmcore.ops.recurrence.cache import Cache
from lstmcore.ops.recurrence.products import contract, project

NAME = "reference"
LIBRARY = None  # any


def supports(cell: Cell, dtype: object) -> bool:
    """Every cell, every floating dtype, real or complex."""
    return dtype_name(dtype).startswith(("float", "complex"))


def forward(
    cell: Cell,
    x: Array,  # (T, B, I)
    params: Mapping[str, Array],
    state0: tuple[Array, ...],  # (B, H) each
    mask: Array | None,  # (T, B) bool
    reuse: Cache | None = None,
) -> Cache:
    """All steps, with everything kept that `backward` needs. Buffers of `reuse` are overwritten where they fit."""
    xp = namespace(x)
    T, B, _ = x.shape
    x = masking_forward(x, mask)
    a = project(cell, x, params)  # (T, B, K, H)
    shapes = [(T + 1, B, s0.shape[-1]) for s0 in state0]
    if reuse is not None and [s.shape for s in reuse.states] == shapes and reuse.states[0].dtype == x.dtype:
        states = reuse.states
    else:
        states = tuple(xp.empty(shape, dtype=x.dtype) for shape in shapes)
    for s, s0 in zip(states, state0):
        s[0, ...] = s0
    for t, (gates_t, states_t) in enumerate(_steps(cell, a, params, state0, mask)):
        for k, gate in enumerate(gates_t):
            a[t, :, k, :] = gate  # the pre-activation is not needed again: its place holds the gate
        for s, s_t in zip(states, states_t):
            s[t + 1, ...] = s_t
    return Cache(x, states, a, mask, NAME)


def predict(
    cell: Cell, x: Array, params: Mapping[str, Array], state0: tuple[Array, ...], mask: Array | None
) -> tuple[Array, tuple[Array, ...]]:
    """All steps, with nothing kept but the outputs: y (T, B, H), zero at masked steps, and the final state."""
    xp = namespace(x)
    T, B, _ = x.shape
    a = project(cell, masking_forward(x, mask), params)
    y = xp.empty((T, B, state0[0].shape[-1]), dtype=x.dtype)
    state = state0
    for t, (_, state) in enumerate(_steps(cell, a, params, state0, mask)):
        y[t, ...] = state[0]
    return masking_forward(y, mask), state  # (42)


def _steps(
    cell: Cell, a: Array, params: Mapping[str, Array], state: tuple[Array, ...], mask: Array | None
) -> Iterator[tuple[tuple[Array, ...], tuple[Array, ...]]]:
    """The loop over time: yields (gates, states) of steps 0 to T-1, each a tuple of (B, H)."""
    xp = namespace(a)
    T, K = a.shape[0], len(cell.gates)
    step_forward, _ = cell.steps(array_maths(xp), params)
    W_hh = params["W_hh"]
    for t in range(T):
        a_t = gates.add(a[t, ...], cell.recurrent_blocks, product(state[0], W_hh))  # (1)  (B, K, H)
        previous = [s for s, name in zip(state, cell.states) if name in cell.previous]
        out = step_forward(*(a_t[:, k, :] for k in range(K)), *previous)
        gates_t, new = out[:K], out[K:]
        if mask is not None:
            m = mask[t, :, None]  # (B, 1)
            new = tuple(xp.where(m, n, s) for n, s in zip(new, state))  # (23) a masked step carries the state through
            gates_t = tuple(xp.where(m, gate, xp.zeros_like(gate)) for gate in gates_t)
        state = new
        yield gates_t, state


def backward(
    cell: Cell,
    dy: Array | None,  # (T, B, H); None: nothing reaches the outputs
    dstate: tuple[Array, ...],  # (B, H) each: the gradients of the final state
    params: Mapping[str, Array],
    cache: Cache,
) -> tuple[Array, tuple[Array, ...], dict[str, Array]]:
    """Undoes `forward`, last step first: dx (T, B, I), dstate0, and the gradient of every parameter."""
    xp = namespace(cache.x)
    T, K, mask = cache.x.shape[0], len(cell.gates), cache.mask
    W_hh = params["W_hh"]
    if dy is not None:
        dy = masking_backward(dy, mask)  # undoes (42): y is zero at masked steps, whatever the state is
    da = xp.empty_like(cache.gates)  # (T, B, K, H); the cache keeps its own
    _, step_backward = cell.steps(array_maths(xp), params)
    dweights = {name: xp.zeros_like(params[name]) for name in cell.weights}
    for t in reversed(range(T)):
        if dy is not None:
            dstate = (dstate[0] + dy[t, ...], *dstate[1:])  # (43) h_t is output and state: its gradients add up
        previous = [s[t, ...] for s, name in zip(cache.states, cell.states) if name in cell.previous]
        current = [s[t + 1, ...] for s, name in zip(cache.states, cell.states) if name in cell.current]
        given = dstate
        if mask is not None and cell.weights:  # what the step sums over rows gets nothing from a masked one
            given = tuple(xp.where(mask[t, :, None], d, xp.zeros_like(d)) for d in dstate)
        out = step_backward(*given, *(cache.gates[t, :, k, :] for k in range(K)), *previous, *current)
        da_t, dprevious = out[:K], dict(zip(cell.previous, out[K:]))
        if mask is not None:
            m = mask[t, :, None]
            da_t = tuple(xp.where(m, d, xp.zeros_like(d)) for d in da_t)  # (24) undoes (23)
        for name, dW in zip(cell.weights, out[K + len(cell.previous) :]):
            dweights[name] = dweights[name] + dW
        for k, d in enumerate(da_t):
            da[t, :, k, :] = d
        dproduct = product(gates.join(da[t, ...], cell.recurrent_blocks), W_hh.T)  # (18) undoes (1)  (B, H)
        dprevious["h"] = dproduct + dprevious["h"] if "h" in dprevious else dproduct  # (117) for a GRU
        new = tuple(dprevious[name] for name in cell.states)
        if mask is not None:
            new = tuple(xp.where(m, n, d) for n, d in zip(new, dstate))  # (25) what is carried through comes back
        dstate = new
    dx, dparams = contract(cell, cache.x, cache.states[0][:-1, ...], da, params, cache.dx_wanted)
    return dx, dstate, dparams | dweights
