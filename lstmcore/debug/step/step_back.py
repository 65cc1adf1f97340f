"""The loop back over time once more, with every gradient on the way shown.

An engine gives the gradients of weights, inputs and initial state; what flowed on the way it does not show. It follows
from the cache alone, whose fields mean the same on every engine, and from the cell's own `step_backward`.

Two paths lead into step t. *Through h*: what arrives at h_t, from y_t and from step t+1 through W_hh; it reaches c_t as
dh_t o o_t o tanh'(c_t), and the output gate directly. *Along c*: what arrives at c_t from step t+1, dc_{t+1} o f_{t+1}.
A GRU's second path is along z: dh_{t+1} o z_{t+1}. A plain RNN has none. A step is linear in what arrives, so each path
is undone by itself. Nothing is kept over time: a step's few arrays stay in a core's cache.

The pointwise part of a step runs in array code on any array library, and for NumPy's floats compiled, in one pass
(step_back_cpu.py): it would otherwise cost as much as three passes of the compiled engine.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from lstmcore.arrays import Array, is_float32_or_64, namespace
from lstmcore.debug.step.record import Visit
from lstmcore.debug.step.zero import ZERO
from lstmcore.ops.activation import array_maths
from lstmcore.ops.cells import Cell
from lstmcore.ops.masking import masking_forward
from lstmcore.ops.matmul import matmul

PATHS = {"lstm": ("through h", "along c"), "gru": ("through h", "along z"), "rnn": ("through h",)}


class Undone(NamedTuple):
    """What the pointwise part of a step gives. P paths lead in; Q answers: one for each path, or one for all."""

    da: Array  # (B, N, H) the blocks that the first answer reaches, then those of the second; zero where masked
    da_h: Array  # (B, K', H) what reaches h_prev @ W_hh, all answers together
    held: Array  # (P, B, H) what is handed on pointwise: the carry along c or z; where masked, what arrived
    squares: Array  # (N + P + Q, H) sums over the real rows: of da, of what arrives, of the carries


class Step(NamedTuple):
    """One step of the way back, by path. Its arrays live until the next step is asked for: memory is used again."""

    t: int  # in the layer's own time
    arriving: Array  # (P, B, H) what arrives at the step on each path
    da: Array  # as in Undone
    squares: Array
    handed_on: Array  # (P, B, H) what arrives at step t-1 from here, per path; dy enters there
    paths: tuple[str, ...]
    blocks: tuple[tuple[int, ...], ...]  # which blocks of pre-activations each answer reaches, in the order of `da`

    @property
    def dstates(self) -> tuple[Array, ...]:
        """(B, H) per state of the cell: all that arrives at it."""
        return self._by_state(self.arriving)

    @property
    def dstates_prev(self) -> tuple[Array, ...]:
        """(B, H) per state: all that is handed on. That of step 0 is the gradient of the initial state."""
        return self._by_state(self.handed_on)

    def by_path(self, path: int) -> Array:
        """(B, n, H): the blocks of `da` that this path reaches."""
        first = sum(len(ks) for ks in self.blocks[:path])
        return self.da[:, first : first + len(self.blocks[path]), :]

    def _by_state(self, parts: Array) -> tuple[Array, ...]:
        return (parts[0, ...] + parts[1, ...],) if self.paths[-1] == "along z" else tuple(parts)


def steps_back(visit: Visit, split: bool = True) -> Iterator[Step]:
    """Undoes the visit's forward pass, last step first. split: False gives `da` of all paths in one."""
    layer: Any = visit.layer
    cell, cache, W_hh = layer.cell, visit.cache, layer.params["W_hh"]
    dy, dstate = visit.upstream()
    xp = namespace(cache.x)
    T, B = cache.gates.shape[:2]
    paths, blocks = PATHS[cell.name], reached(cell, split)
    if dy is not None:
        dy = masking_forward(dy, cache.mask)
    undo = _how(visit, split)
    handed_on = xp.stack([*dstate, *(xp.zeros_like(dstate[0]) for _ in paths[len(dstate) :])])
    for t in reversed(range(T)):
        arriving = handed_on
        if dy is not None:
            arriving[0, ...] += dy[t, ...]
        undone = undo(t, arriving)
        handed_on = undone.held
        handed_on[0, ...] += matmul(xp.reshape(undone.da_h, (B, -1)), W_hh.T)
        yield Step(t, arriving, undone.da, undone.squares, handed_on, paths, blocks)


def _how(visit: Visit, split: bool) -> Callable[[int, Array], Undone]:
    """(t, arriving) -> Undone: compiled if the arrays are NumPy's floats, else in array code."""
    layer: Any = visit.layer
    cell, cache = layer.cell, visit.cache
    step_backward = cell.make_step(array_maths(namespace(cache.x)))[1]

    def states(t: int) -> list[Array]:
        """What `step_backward` reads beside the gates."""
        previous = [s[t, ...] for s, name in zip(cache.states, cell.states) if name in cell.previous]
        return previous + [s[t + 1, ...] for s, name in zip(cache.states, cell.states) if name in cell.current]

    def in_array_code(t: int, arriving: Array) -> Undone:
        real = None if cache.mask is None else cache.mask[t, :, None]
        return _undo(cell, step_backward, split, real, arriving, cache.gates[t, ...], states(t))

    if not isinstance(cache.gates, np.ndarray) or not is_float32_or_64(cache.gates.dtype):
        return in_array_code
    from lstmcore.debug.step.step_back_cpu import compiled_undo

    T, B, _, H = cache.gates.shape
    mask = np.ones((T, B), bool) if cache.mask is None else cache.mask
    undo = compiled_undo(cell.name, cache.gates.dtype.name, split, B, H)
    return lambda t, arriving: Undone(*undo(mask[t], arriving, cache.gates[t], states(t)))


def _undo(
    cell: Cell, step_backward: Any, split: bool, real: Array | None, arriving: Array, saved: Array, states: list[Array]
) -> Undone:
    """The pointwise part of a step in array code. real (B, 1), arriving (P, B, H), saved gates (B, K, H)."""
    xp, K = namespace(arriving), saved.shape[1]
    nothing = xp.zeros_like(arriving)
    given = arriving if real is None else xp.where(real, arriving, nothing)
    answers = [
        step_backward(*asked, *(saved[:, k, :] for k in range(K)), *states)
        for asked in _asked(list(given), len(cell.states), split)
    ]
    da = xp.stack([answer[k] for answer, ks in zip(answers, reached(cell, split)) for k in ks], axis=1)
    da_h = [sum(answer[k] for answer in answers if answer[k] is not ZERO) for k in cell.recurrent_blocks]
    carry = xp.stack([answer[K] if cell.previous else nothing[0, ...] for answer in answers])
    squares = [xp.einsum("nbh,nbh->nh", a, a) for a in (xp.permute_dims(da, (1, 0, 2)), given, carry)]
    held = nothing
    if cell.previous:
        held[-1, ...] = xp.sum(carry, axis=0)
    if real is not None:
        held = xp.where(real, held, arriving)
    return Undone(da, xp.stack(da_h, axis=1), held, xp.concat(squares))


def reached(cell: Cell, split: bool) -> tuple[tuple[int, ...], ...]:
    """The blocks of pre-activations that each answer of `step_backward` reaches: asked of a single number."""
    one, K = np.ones(1), len(cell.gates)
    step_backward = cell.make_step(array_maths(np))[1]
    rest = [one] * (K + len(cell.previous) + len(cell.current))
    answers = [step_backward(*asked, *rest) for asked in _asked([one] * len(PATHS[cell.name]), len(cell.states), split)]
    return tuple(tuple(k for k in range(K) if answer[k] is not ZERO) for answer in answers)


def _asked(parts: list[Any], states: int, split: bool) -> list[tuple[Any, ...]]:
    """What `step_backward` is asked with: two states have a path each, else every path leads into the one state."""
    if split:
        return [(parts[0], ZERO), (ZERO, parts[1])] if states == 2 else [(d,) for d in parts]
    return [tuple(parts)] if states == 2 else [(sum(parts),)]
