"""Layers of any size, step by step: one product and one fused kernel (ops/gpu/pointwise.cu) per time step.

Two launches per step make it slow where the products are small; it always runs. It is the
reference's loop with its pointwise lines in one kernel, in float32 and float64.
"""

from lstmcore.arrays import Array, namespace
from lstmcore.ops import gates
from lstmcore.ops.cells import Cell
from lstmcore.ops.gpu.launch import Machine, contiguous, kernel_in
from lstmcore.ops.masking import masking_forward
from lstmcore.ops.matmul import product
from lstmcore.ops.recurrence.cache import Cache
from lstmcore.ops.recurrence.directions import Backward, Forward, Gradients, Strides
from lstmcore.ops.recurrence.products import project

NAME = "pointwise"
FILE = "pointwise.cu"
THREADS = 256  # per block


def forward(machine: Machine, cell: Cell, directions: tuple[Forward, ...]) -> tuple[Cache, ...]:
    """All steps, with everything kept that `backward` needs: one direction after the other."""
    return tuple(_forward(machine, cell, d) for d in directions)


def _forward(machine: Machine, cell: Cell, d: Forward) -> Cache:
    T, B, _, H = d.sizes
    x = masking_forward(d.x, d.mask)
    kept = project(cell, x, d.params)  # (T, B, 4, H): pre-activations, whose places the gates take
    states = d.states()
    for s, s0 in zip(states, d.state0):
        s[0, ...] = s0
    h, c = states
    W_hh, products = contiguous(d.params["W_hh"]), d.empty(B, 4 * H)
    step = kernel_in(machine, FILE, "pointwise_forward", x.dtype)
    blocks, real = -(-B * H // THREADS), Strides.of(d.mask)
    for t in range(T):
        product(h[t, ...], W_hh, out=products)
        step((blocks, 1), THREADS, 0, products, kept, h, c, *real, t, B, H)
    return Cache(x, states, kept, d.mask, NAME)


def predict(
    machine: Machine, cell: Cell, directions: tuple[Forward, ...]
) -> tuple[tuple[Array, tuple[Array, ...]], ...]:
    """As `forward`, whose buffers are dropped: they are small beside what its products read."""
    results = []
    for d in directions:
        states = _forward(machine, cell, d).states
        y = masking_forward(states[0][1:, ...], d.mask)  # (42)
        results.append((y, tuple(contiguous(s[-1, ...]) for s in states)))
    return tuple(results)


def backward(machine: Machine, cell: Cell, directions: tuple[Backward, ...]) -> tuple[Gradients, ...]:
    """Undoes `forward`, last step first, in one direction after the other."""
    return tuple(_backward(machine, cell, d) for d in directions)


def _backward(machine: Machine, cell: Cell, d: Backward) -> Gradients:
    cache, (T, B, _, H) = d.cache, d.sizes
    xp, mask, c = namespace(cache.x), cache.mask, cache.states[1]
    da = d.da()
    dh, dc = (xp.array(last, copy=True, order="C") for last in d.dstate)
    W_hh_T, products = contiguous(d.params["W_hh"].T), d.empty(B, H)
    step, blocks = kernel_in(machine, FILE, "pointwise_backward", da.dtype), -(-B * H // THREADS)
    dy, real = Strides.of(d.dy), Strides.of(mask)
    for t in reversed(range(T)):
        later = None if t == T - 1 else products
        step((blocks, 1), THREADS, 0, *dy, later, dh, dc, cache.gates, c, da, *real, t, B, H)
        product(gates.join(da[t, ...], cell.recurrent_blocks), W_hh_T, out=products)  # (18)
    dh = products if mask is None else xp.where(mask[0, :, None], products, dh)  # (25)
    return d.gradients(cell, da, (dh, dc))
