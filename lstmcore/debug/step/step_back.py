"""The loop back over time once more, with every gradient on the way shown.

An engine gives the gradients of weights, inputs and initial state; what flowed on the way it does not show. It follows
from the cache alone, whose fields mean the same on every engine, and from the cell's own `step_backward`.

A step is linear in what arrives, so each path (paths.py) is undone by itself. Nothing is kept over time: a step's few
arrays stay in a core's cache.

The pointwise part of a step runs in array code on any array library, and for NumPy's floats compiled, in one pass
(step_back_cpu.py): it would otherwise cost as much as three passes of the compiled engine.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from lstmcore.arrays import Array, is_float32_or_64, namespace
from lstmcore.debug.step.paths import Path, asked, paths, reached
from lstmcore.debug.step.visits import Visit
from lstmcore.debug.step.zero import ZERO
from lstmcore.layers import Recurrent
from lstmcore.ops.activation import array_maths
from lstmcore.ops.cells import Cell
from lstmcore.ops.cpu.compiler import has_compiler
from lstmcore.ops.masking import masking_forward
from lstmcore.ops.matmul import matmul


class Undone(NamedTuple):
    """What the pointwise part of a step gives. P paths lead in, C states are read pointwise; Q answers: one for each
    path, or one for all."""

    da: Array  # (B, N, H) the blocks that the first answer reaches, then those of the second; zero where masked
    da_h: Array  # (B, K', H) what reaches h_prev @ W_hh, all answers together
    held: Array  # (P, B, H) what is handed on pointwise, the carry; where masked, what arrived
    squares: Array  # (N + P + Q C, H) sums over the real rows: of da, of what arrives, of each answer's carries


class Step(NamedTuple):
    """One step of the way back, by path. Its arrays live until the next step is asked for: memory is used again."""

    t: int  # in the layer's own time
    arriving: Array  # (P, B, H) what arrives at the step on each path
    da: Array  # as in Undone
    squares: Array
    handed_on: Array  # (P, B, H) what arrives at step t-1 from here, per path; dy enters there
    paths: tuple[Path, ...]
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
        by_state: dict[int, Array] = {}
        for part, (_, state) in zip(parts, self.paths):
            by_state[state] = by_state[state] + part if state in by_state else part
        return tuple(by_state[state] for state in sorted(by_state))


def check_one_width(layer: Recurrent) -> None:
    """Raises TypeError for a layer whose h and c have different widths: the paths of a step stand in one array."""
    if layer.cell.width is not None:
        raise TypeError(
            f"{layer!r}: its h and c have different widths, and what goes back step by step (ledger, flow, report) "
            "does not take that yet; gradcheck, jacobian and padding do"
        )


def steps_back(visit: Visit, split: bool = True) -> Iterator[Step]:
    """Undoes the visit's forward pass, last step first. split: False gives `da` of all paths in one."""
    layer, cache = visit.as_recurrent()
    cell, W_hh = layer.cell, layer.params["W_hh"]
    check_one_width(layer)
    dy, dstate = visit.upstream()
    xp = namespace(cache.x)
    T, B = cache.gates.shape[:2]
    if dy is not None:
        dy = masking_forward(dy, cache.mask)
    undo = _how(visit, split)
    first = [path.state for path in paths(cell)]  # the gradient of the final state arrives on a state's first path
    handed_on = xp.stack([dstate[s] if p == first.index(s) else xp.zeros_like(dstate[s]) for p, s in enumerate(first)])
    for t in reversed(range(T)):
        arriving = handed_on
        if dy is not None:
            arriving[0, ...] += dy[t, ...]
        undone = undo(t, arriving)
        handed_on = undone.held
        handed_on[0, ...] += matmul(xp.reshape(undone.da_h, (B, -1)), W_hh.T)
        yield Step(t, arriving, undone.da, undone.squares, handed_on, paths(cell), reached(cell, split))


def _how(visit: Visit, split: bool) -> Callable[[int, Array], Undone]:
    """(t, arriving) -> Undone: compiled if the cell can be and the arrays are NumPy's floats, else in array code."""
    layer, cache = visit.as_recurrent()
    cell = layer.cell
    step_backward = cell.steps(array_maths(namespace(cache.x)), layer.params)[1]

    def states(t: int) -> list[Array]:
        """What `step_backward` reads beside the gates."""
        previous = [s[t, ...] for s, name in zip(cache.states, cell.states) if name in cell.previous]
        return previous + [s[t + 1, ...] for s, name in zip(cache.states, cell.states) if name in cell.current]

    def in_array_code(t: int, arriving: Array) -> Undone:
        real = None if cache.mask is None else cache.mask[t, :, None]
        return _undo(cell, step_backward, split, real, arriving, cache.gates[t, ...], states(t))

    real = isinstance(cache.gates, np.ndarray) and is_float32_or_64(cache.gates.dtype)
    if not (real and cell.compiles and has_compiler()):
        return in_array_code
    from lstmcore.debug.step.step_back_cpu import compiled_undo

    T, B, _, H = cache.gates.shape
    mask = np.ones((T, B), bool) if cache.mask is None else cache.mask
    undo = compiled_undo(cell, cache.gates.dtype.name, split, B, H)
    return lambda t, arriving: Undone(*undo(mask[t], arriving, cache.gates[t], states(t)))


def _undo(
    cell: Cell,
    step_backward: Callable[..., tuple[Array, ...]],
    split: bool,
    real: Array | None,
    arriving: Array,
    saved: Array,
    states: list[Array],
) -> Undone:
    """The pointwise part of a step in array code. real (B, 1), arriving (P, B, H), saved gates (B, K, H)."""
    xp, K = namespace(arriving), saved.shape[1]
    given = arriving if real is None else xp.where(real, arriving, xp.zeros_like(arriving))
    nothing = xp.zeros_like(arriving[0, ...])

    def ask(some: tuple[int, ...]) -> tuple[Array, ...]:
        """The answer to what arrives on some paths; elsewhere arrives nothing, as a symbol where the step takes one."""
        dstates = [ZERO if cell.compiles else nothing] * len(cell.states)
        for p in some:
            dstates[paths(cell)[p].state] = dstates[paths(cell)[p].state] + given[p, ...]
        return step_backward(*dstates, *(saved[:, k, :] for k in range(K)), *states)

    answers = [[nothing if part is ZERO else part for part in ask(some)] for some in asked(cell, split)]
    da = xp.stack([answer[k] for answer, ks in zip(answers, reached(cell, split)) for k in ks], axis=1)
    da_h = xp.stack([sum(answer[k] for answer in answers) for k in cell.recurrent_blocks], axis=1)
    carries = [part for answer in answers for part in answer[K : K + len(cell.previous)]]
    squares = [xp.einsum("nbh,nbh->nh", a, a) for a in (xp.permute_dims(da, (1, 0, 2)), given)]
    squares += [xp.einsum("bh,bh->h", a, a)[None, ...] for a in carries]
    held = xp.stack([nothing, *(sum(carries[j :: len(cell.previous)]) for j in range(len(cell.previous)))])
    if real is not None:
        held = xp.where(real, held, arriving)
    return Undone(da, da_h, held, xp.concat(squares))
