"""Layers of any size, step by step: one product and one fused kernel (cuda/pointwise.cu) per time step.

Two launches per step make it slow where the products are small; nothing can keep it from running. It is the
reference's loop with its pointwise lines in one kernel, in float32 and float64.
"""

from collections.abc import Mapping

from lstmcore.arrays import Array, dtype_name, namespace
from lstmcore.ops import gates
from lstmcore.ops.cells import Cell
from lstmcore.ops.masking import masking_forward
from lstmcore.ops.recurrence.cache import Cache
from lstmcore.ops.recurrence.launch import Kernel, Machine, Strides, contiguous
from lstmcore.ops.recurrent import contract, project

NAME = "pointwise"
FILE = "pointwise.cu"
THREADS = 256  # per block
REAL = {"float32": "float", "float64": "double"}


def kernel(machine: Machine, entry: str, dtype: object) -> Kernel:
    return machine.compile(FILE, entry, (("REAL", REAL[dtype_name(dtype)]),))


def forward(
    machine: Machine,
    cell: Cell,
    x: Array,
    params: Mapping[str, Array],
    state0: tuple[Array, ...],
    mask: Array | None,
    reuse: Cache | None,
) -> Cache:
    """All steps, with everything kept that `backward` needs. Buffers of `reuse` are overwritten where they fit."""
    xp, (T, B, _), H = namespace(x), x.shape, state0[0].shape[-1]
    x = masking_forward(x, mask)
    kept = project(cell, x, params)  # (T, B, 4, H): pre-activations, whose places the gates take
    if reuse is not None and reuse.states[0].shape == (T + 1, B, H):
        states = reuse.states
    else:
        states = tuple(xp.empty((T + 1, B, H), dtype=x.dtype) for _ in state0)
    for s, s0 in zip(states, state0):
        s[0, ...] = s0
    h, c = states
    W_hh, product = contiguous(params["W_hh"]), xp.empty((B, 4 * H), dtype=x.dtype)
    step, blocks, real = kernel(machine, "pointwise_forward", x.dtype), -(-B * H // THREADS), Strides.of(mask)
    for t in range(T):
        xp.matmul(h[t, ...], W_hh, out=product)
        step((blocks, 1), THREADS, 0, product, kept, h, c, *real, t, B, H)
    return Cache(x, states, kept, mask, NAME)


def predict(
    machine: Machine,
    cell: Cell,
    x: Array,
    params: Mapping[str, Array],
    state0: tuple[Array, ...],
    mask: Array | None,
) -> tuple[Array, tuple[Array, ...]]:
    """As `forward`, whose buffers are let go: they are small beside what its products read."""
    states = forward(machine, cell, x, params, state0, mask, None).states
    return masking_forward(states[0][1:, ...], mask), tuple(contiguous(s[-1, ...]) for s in states)  # (42)


def backward(
    machine: Machine,
    cell: Cell,
    dy: Array | None,
    dstate: tuple[Array, ...],
    params: Mapping[str, Array],
    cache: Cache,
) -> tuple[Array, tuple[Array, ...], dict[str, Array]]:
    """Undoes `forward`, last step first: dx (T, B, I), dstate0, and the gradient of every parameter."""
    xp, mask, (h, c) = namespace(cache.x), cache.mask, cache.states
    T, B, _, H = cache.gates.shape
    da = xp.empty_like(cache.gates)  # the cache keeps its own
    dh, dc = (xp.array(d, copy=True, order="C") for d in dstate)
    W_hh_T, product = contiguous(params["W_hh"].T), xp.empty((B, H), dtype=da.dtype)
    step, blocks = kernel(machine, "pointwise_backward", da.dtype), -(-B * H // THREADS)
    dy_strides, real = Strides.of(dy), Strides.of(mask)
    for t in reversed(range(T)):
        later = None if t == T - 1 else product
        step((blocks, 1), THREADS, 0, *dy_strides, later, dh, dc, cache.gates, c, da, *real, t, B, H)
        xp.matmul(gates.join(da[t, ...], cell.recurrent_blocks), W_hh_T, out=product)  # (18)
    dh = product if mask is None else xp.where(mask[0, :, None], product, dh)  # (25)
    dx, dparams = contract(cell, cache.x, h[:-1, ...], da, params)
    return dx, (dh, dc), dparams
