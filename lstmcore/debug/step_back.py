"""The loop back over time once more, in array code, with every gradient on the way kept.

An engine gives the gradients of weights, inputs and initial state; what flowed on the way it does not show. But a step
back is linear in the gradients of its states, and pointwise: da_k = slope_k o d. The slopes follow from the cache
alone, whose fields mean the same on every engine, and from the cell's own `step_backward`, asked with unit gradients.

Two paths lead into step t. *Through h*: what arrives at h_t, from y_t and from step t+1 through W_hh; it reaches c_t as
dh_t o o_t o tanh'(c_t), and the output gate directly. *Along c*: what arrives at c_t from step t+1, dc_{t+1} o f_{t+1}.
A GRU's second path is along z: dh_{t+1} o z_{t+1}. A plain RNN has none.
"""

from typing import NamedTuple

import numpy as np

from lstmcore.arrays import Array, namespace
from lstmcore.debug.record import Visit
from lstmcore.ops import gates
from lstmcore.ops.activation import array_maths
from lstmcore.ops.cells import Cell
from lstmcore.ops.masking import masking_forward
from lstmcore.ops.recurrence import Cache

PATHS = {"lstm": ("through h", "along c"), "gru": ("through h", "along z"), "rnn": ("through h",)}
CHUNK = 2**14  # numbers per array and call: a step's dozen arrays stay in a core's second-level cache


class Slope(NamedTuple):
    """What one unit, arriving at step t on one path, becomes. Zero at masked steps, but for the path's own carry."""

    da: Array  # (T, B, K, H) the gradient of each pre-activation
    carry: Array | None  # (T, B, H) what goes on to step t-1 along c, or along z; None for a plain RNN


class StepBack(NamedTuple):
    """The gradients on the way, step by step, in the layer's own time."""

    paths: tuple[str, ...]
    slopes: tuple[Slope, ...]  # one per path
    arriving: tuple[Array, ...]  # per path, (T, B, H): what arrives at step t on it
    dstate0: tuple[Array, ...]  # (B, H) each; equal to the engine's, to rounding

    @property
    def dstates(self) -> tuple[Array, ...]:
        """(T, B, H) per state of the cell: all that arrives at it."""
        return (self.arriving[0] + self.arriving[1],) if self.paths[-1] == "along z" else self.arriving

    def da(self, t: int, path: int) -> Array:
        """(B, K, H): the gradients of the pre-activations of step t that came on this path."""
        return self.slopes[path].da[t, ...] * self.arriving[path][t, :, None, :]


def slopes(cell: Cell, cache: Cache) -> tuple[Slope, ...]:
    """The slopes of all steps, one `Slope` per path."""
    if len(PATHS[cell.name]) == 1:
        return (_slope(cell, cache, (1,)),)
    if len(cell.states) == 2:  # two states, one path into each
        return _slope(cell, cache, (1, 0)), _carried(_slope(cell, cache, (0, 1)), cache.mask)
    slope = _slope(cell, cache, (1,))  # one state, two paths into it
    return slope, _carried(slope, cache.mask)


def step_back(visit: Visit) -> StepBack:
    """Undoes the visit's forward pass once more, last step first."""
    cell, cache, W_hh = visit.layer.cell, visit.cache, visit.layer.params["W_hh"]  # type: ignore[attr-defined]
    dy, dstate = visit.upstream()
    xp = namespace(cache.x)
    T, mask = cache.x.shape[0], cache.mask
    if dy is not None:
        dy = masking_forward(dy, mask)
    steps = slopes(cell, cache)
    arriving = tuple(xp.empty(cache.states[0].shape, dtype=W_hh.dtype)[1:, ...] for _ in steps)
    now = [*dstate, *(xp.zeros_like(dstate[0]) for _ in steps[len(dstate) :])]  # what arrives, per path
    for t in reversed(range(T)):
        if dy is not None:
            now[0] = now[0] + dy[t, ...]
        for path, d in zip(arriving, now):
            path[t, ...] = d
        da = _total([slope.da[t, ...] * d[:, None, :] for slope, d in zip(steps, now)])
        product = gates.join(da, cell.recurrent_blocks) @ W_hh.T
        if mask is not None:
            product = xp.where(mask[t, :, None], product, now[0])
        carry = [slope.carry[t, ...] * d for slope, d in zip(steps, now) if slope.carry is not None]
        now = [product, _total(carry)] if carry else [product]
    dstate0 = tuple(now) if len(cell.states) == len(now) else (_total(now),)
    return StepBack(PATHS[cell.name], steps, arriving, dstate0)


def _total(parts: list[Array]) -> Array:
    return parts[0] if len(parts) == 1 else parts[0] + parts[1]


def _slope(cell: Cell, cache: Cache, unit: tuple[int, ...]) -> Slope:
    xp = namespace(cache.x)
    T, B, K, H = cache.gates.shape
    _, step_backward = cell.make_step(array_maths(xp))
    da = xp.empty((T, B, K, H), dtype=cache.gates.dtype)
    carry = xp.empty((T, B, H), dtype=cache.gates.dtype) if cell.previous else None
    stride = max(1, CHUNK // (B * H)) if xp is np else T
    for t in range(0, T, stride):
        some = slice(t, t + stride)
        previous = [s[:-1, ...][some, ...] for s, name in zip(cache.states, cell.states) if name in cell.previous]
        current = [s[1:, ...][some, ...] for s, name in zip(cache.states, cell.states) if name in cell.current]
        saved = [xp.asarray(cache.gates[some, :, k, :], copy=True) for k in range(K)]  # contiguous
        out = step_backward(*unit, *saved, *previous, *current)
        for k in range(K):
            da[some, :, k, :] = out[k]
        if carry is not None:
            carry[some, ...] = out[K]
    if cache.mask is not None:
        masked = xp.logical_not(cache.mask)
        da[masked, ...] = 0
        if carry is not None:
            carry[masked, ...] = 0
    return Slope(da, carry)


def _carried(slope: Slope, mask: Array | None) -> Slope:
    """The slope of the second path: a masked step carries what is on it through."""
    if mask is None:
        return slope
    xp = namespace(mask)
    return slope._replace(carry=xp.where(mask[..., None], slope.carry, xp.ones_like(slope.carry)))
