"""The loop back over time once more, in array code, with every gradient on the way shown.

An engine gives the gradients of weights, inputs and initial state; what flowed on the way it does not show. It follows
from the cache alone, whose fields mean the same on every engine, and from the cell's own `step_backward`.

Two paths lead into step t. *Through h*: what arrives at h_t, from y_t and from step t+1 through W_hh; it reaches c_t as
dh_t o o_t o tanh'(c_t), and the output gate directly. *Along c*: what arrives at c_t from step t+1, dc_{t+1} o f_{t+1}.
A GRU's second path is along z: dh_{t+1} o z_{t+1}. A plain RNN has none. A step is linear in what arrives, so each path
is undone by itself. Nothing is kept over time: a step's few arrays stay in a core's cache.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from lstmcore.arrays import Array, namespace
from lstmcore.debug.record import Visit
from lstmcore.debug.zero import ZERO
from lstmcore.ops.activation import array_maths
from lstmcore.ops.masking import masking_forward

PATHS = {"lstm": ("through h", "along c"), "gru": ("through h", "along z"), "rnn": ("through h",)}


class Step(NamedTuple):
    """One step of the way back, by path. Rows where the step is masked hold zero in `da`."""

    t: int  # in the layer's own time
    arriving: tuple[Array, ...]  # (B, H) what arrives at the step on each path
    da: tuple[tuple[Array | None, ...], ...]  # K blocks of (B, H) per path; None for a block that it never reaches
    handed_on: tuple[Array, ...]  # (B, H) what arrives at step t-1 from here, per path; dy enters there
    carry: tuple[Array | None, ...]  # (B, H) what each path gave of it pointwise, along c or z; before the mask
    paths: tuple[str, ...]

    @property
    def dstates(self) -> tuple[Array, ...]:
        """(B, H) per state of the cell: all that arrives at it."""
        return self._by_state(self.arriving)

    @property
    def dstates_prev(self) -> tuple[Array, ...]:
        """(B, H) per state: all that is handed on. That of step 0 is the gradient of the initial state."""
        return self._by_state(self.handed_on)

    def blocks(self, path: int) -> list[int]:
        """Which blocks of pre-activations this path reaches."""
        return [k for k, block in enumerate(self.da[path]) if block is not None]

    def _by_state(self, parts: tuple[Array, ...]) -> tuple[Array, ...]:
        return (parts[0] + parts[1],) if self.paths[-1] == "along z" else parts


def steps_back(visit: Visit, split: bool = True) -> Iterator[Step]:
    """Undoes the visit's forward pass, last step first. split: False gives `da` and `carry` of all paths in one."""
    layer: Any = visit.layer
    cell, cache, W_hh = layer.cell, visit.cache, layer.params["W_hh"]
    dy, dstate = visit.upstream()
    xp = namespace(cache.x)
    T, B, K, H = cache.gates.shape
    da_h = xp.empty((B, len(cell.recurrent_blocks), H), dtype=W_hh.dtype)  # what reached h_prev @ W_hh
    mask, paths = cache.mask, PATHS[cell.name]
    if dy is not None:
        dy = masking_forward(dy, mask)
    _, step_backward = cell.make_step(array_maths(xp))
    handed_on = (*dstate, *(xp.zeros_like(dstate[0]) for _ in paths[len(dstate) :]))
    for t in reversed(range(T)):
        arriving = handed_on if dy is None else (handed_on[0] + dy[t, ...], *handed_on[1:])
        m = None if mask is None else mask[t, :, None]
        real = arriving if m is None else tuple(xp.where(m, d, xp.zeros_like(d)) for d in arriving)
        previous = [s[t, ...] for s, name in zip(cache.states, cell.states) if name in cell.previous]
        current = [s[t + 1, ...] for s, name in zip(cache.states, cell.states) if name in cell.current]
        saved = [xp.asarray(cache.gates[t, :, k, :], copy=True) for k in range(K)]  # contiguous: read several times
        out = [step_backward(*given, *saved, *previous, *current) for given in _given(real, len(cell.states), split)]
        da = tuple(tuple(None if block is ZERO else block for block in blocks[:K]) for blocks in out)
        for j, k in enumerate(cell.recurrent_blocks):
            da_h[:, j, :] = _sum([blocks[k] for blocks in da])
        product = xp.reshape(da_h, (B, -1)) @ W_hh.T
        carry = tuple(blocks[K] if cell.previous else None for blocks in out)
        new = (product, _sum(list(carry))) if cell.previous else (product,)
        handed_on = new if m is None else tuple(xp.where(m, n, d) for n, d in zip(new, arriving))
        yield Step(t, arriving, da, handed_on, carry, paths)


def _given(parts: tuple[Array, ...], states: int, split: bool) -> list[tuple[Any, ...]]:
    """What `step_backward` is asked with: two states have a path each, else every path leads into the one state."""
    if split:
        return [(parts[0], ZERO), (ZERO, parts[1])] if states == 2 else [(d,) for d in parts]
    return [parts] if states == 2 else [(_sum(list(parts)),)]


def _sum(parts: list[Array | None]) -> Any:
    """The sum of what is there."""
    there = [part for part in parts if part is not None]
    return there[0] if len(there) == 1 else there[0] + there[1]
