"""The compiled engine for CPUs: the whole loop over time in machine code, products included.

This file checks nothing and computes nothing: it finds the plan and the buffers for a call and hands the kernels of
loop.py to the threads. The three ideas, and where they are:

- A tile of rows (or of units) goes through all its steps while its weights and states stay in the cache: loop.py.
- Products and gate functions are vector instructions: ops/cpu/tile.py and ops/cpu/maths.py.
- The step itself is the cell's own text, the same that the reference engine runs: ../cells/.

Numba is imported at the first call that computes.
"""

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar, cast

import numpy as np

from lstmcore.arrays import dtype_name
from lstmcore.ops import gates
from lstmcore.ops.cells import Cell
from lstmcore.ops.recurrence.cache import Cache
from lstmcore.ops.recurrence.cpu.arguments import BackwardArguments, ForwardArguments
from lstmcore.ops.recurrence.products import bias_of

if TYPE_CHECKING:
    from lstmcore.ops.recurrence.cpu.plan import Plan
    from lstmcore.ops.recurrence.cpu.ready import Ready


class Buffers(NamedTuple):
    """The memory of a cache. A call of the same key may use it again."""

    key: tuple[object, ...]
    states: np.ndarray  # (S, T+1, B, H)
    gates: np.ndarray  # (T, B, K, H)
    y: np.ndarray  # (T, B, H); without a mask (0, B, H), for then the outputs are states[0, 1:]
    x: np.ndarray  # (T, B, I); without a mask (0, B, I), for then the given x is kept
    clean: np.ndarray  # (T, B) bool: the steps of gates and x that hold zeros; without a mask (0, B)


Arguments = TypeVar("Arguments", ForwardArguments, BackwardArguments)


class Tasks(NamedTuple, Generic[Arguments]):
    """What `threads.run` takes."""

    kernel: Callable
    arguments: Arguments
    tasks: int
    scratch: int  # bytes for each
    meeting: int


class FusedCpu:
    """An engine over NumPy arrays, known by `name`.

    kinds: of the factors of its products, for each dtype that it runs in (ops/cpu/factors.py).
    """

    LIBRARY: str = "numpy"

    def __init__(self, name: str, kinds: Mapping[str, str]):
        self.NAME: str = name
        self.kinds: dict[np.dtype, str] = {np.dtype(dtype): kind for dtype, kind in kinds.items()}

    def supports(self, cell: Cell, dtype: object) -> bool:
        """Every cell whose step is arithmetic, in the engine's dtypes."""
        return cell.compiles and dtype_name(dtype) in [known.name for known in self.kinds]

    def forward(
        self,
        cell: Cell,
        x: np.ndarray,  # (T, B, I)
        params: Mapping[str, np.ndarray],
        state0: tuple[np.ndarray, ...],  # (B, H) each
        mask: np.ndarray | None,  # (T, B) bool
        reuse: Cache | None = None,
        whole: int | None = None,  # steps of the sequence of which this is a piece
    ) -> Cache:
        """All steps, with everything kept that `backward` needs. Buffers of `reuse` are overwritten where they fit."""
        (T, B, I), H, dtype = x.shape, state0[0].shape[-1], x.dtype
        p = planned(cell, whole or T, B, I, H, self.kinds[dtype], mask is not None)
        key = (cell, x.shape, H, dtype, mask is None)
        if reuse is not None and isinstance(reuse.private, Buffers) and reuse.private.key == key:
            buffers = reuse.private
        else:
            states = np.empty((len(state0), T + 1, B, H), dtype)
            kept = np.empty((T, B, len(cell.gates), H), dtype)
            outputs = p.unkept
            if mask is not None:
                outputs = np.empty((T, B, H), dtype), np.empty(x.shape, dtype), np.zeros((T, B), bool)
            buffers = Buffers(key, states, kept, *outputs)
        _, states, kept, y, x_kept, clean = buffers
        if mask is None:
            self._run(cell, p, x, params, state0, mask, states, kept, y, x_kept, clean)
            return Cache(x, tuple(states), kept, mask, self.NAME, buffers, None, states[0, 1:])
        was_clean, clean[...] = clean.copy(), False  # if this call is interrupted, nothing is known to be clean
        self._run(cell, p, x, params, state0, mask, states, kept, y, x_kept, was_clean)
        np.logical_not(mask, out=clean)  # what was masked is clean already: clearing it again would be half the work
        return Cache(x_kept, tuple(states), kept, mask, self.NAME, buffers, None, y)

    def predict(
        self,
        cell: Cell,
        x: np.ndarray,
        params: Mapping[str, np.ndarray],
        state0: tuple[np.ndarray, ...],
        mask: np.ndarray | None,
        whole: int | None = None,
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
        """All steps, with nothing kept but the outputs: y (T, B, H), zero at masked steps, and the final state."""
        (T, B, I), H, dtype = x.shape, state0[0].shape[-1], x.dtype
        p = planned(cell, whole or T, B, I, H, self.kinds[dtype], mask is not None)
        states = np.empty((len(state0), 2, B, H), dtype)  # the loop writes to one slot what it reads from the other
        y = np.empty((T, B, H), dtype)
        _, x_kept, clean = p.unkept
        self._run(cell, p, x, params, state0, mask, states, p.no_gates, y, x_kept, clean)
        return y, tuple(states[:, T % 2])

    def ready(self, cell: Cell, params: Mapping[str, np.ndarray], x: np.ndarray) -> "Ready | None":
        """What does `predict` sooner for arrays like x, with weights that cannot change (layers/frozen.py). A call has
        been made, which has packed them; None if it was made otherwise than the next one would be."""
        (T, B, I), H, dtype = x.shape, params["W_hh"].shape[0], x.dtype
        ask = functools.partial(planned, cell, T, B, I, H, self.kinds[dtype], False)
        p = ask()
        states, y = np.empty((len(cell.states), 2, B, H), dtype), np.empty((T, B, H), dtype)
        state0 = (np.zeros((B, H), dtype),) * len(cell.states)
        arguments = self.forward_tasks(cell, p, x, params, state0, None, states, p.no_gates, y, *p.unkept[1:]).arguments
        if arguments.unpacked:
            return None
        return _machine().ready(cell, self.kinds[dtype], p, arguments, ask if p.divisible or p.parts > 1 else None)

    def _run(self, cell: Cell, p: "Plan", x: np.ndarray, params: Mapping[str, np.ndarray], *rest: Any) -> None:
        """Does all forward tasks. Weights that cannot change are then packed for every call to come."""
        tasks = self.forward_tasks(cell, p, x, params, *rest)
        run(tasks)
        prepared = getattr(params, "prepared", None)
        if prepared is not None:  # now that it is whole: another thread may be at work with the same weights
            prepared[self.NAME, cell, p.parts] = tasks.arguments.packed

    def forward_tasks(
        self,
        cell: Cell,
        p: "Plan",
        x: np.ndarray,
        params: Mapping[str, np.ndarray],
        state0: tuple[np.ndarray, ...],
        mask: np.ndarray | None,
        states: np.ndarray,
        gates_kept: np.ndarray,
        y: np.ndarray,
        x_kept: np.ndarray,
        clean: np.ndarray,
    ) -> Tasks[ForwardArguments]:
        """The forward kernel, for `forward` and `predict`, to be run."""
        machine, dtype, (groups, panels, joined, _) = _machine(), x.dtype, p.weights
        prepared = getattr(params, "prepared", None) or {}  # of weights that cannot change
        packed = prepared.get((self.NAME, cell, p.parts))
        unpacked = len(panels) if packed is None else 0
        packed = np.empty(p.forward_packed, dtype) if packed is None else packed
        arguments = ForwardArguments(
            _rows(x), p.real if mask is None else mask, tuple([_rows(s) for s in state0]),
            states, gates_kept, y, x_kept, clean,
            params["W_ih"], params["W_hh"], bias_of(cell, params), packed, groups, panels, unpacked, joined,
            p.edges, p.parts, p.forward_chunk, np.zeros(p.forward_counters, np.int64),
        )  # fmt: skip
        return Tasks(machine.kernel(cell, self.kinds[dtype], "forward"), arguments, p.tasks, p.forward_scratch, p.parts)

    def backward(
        self,
        cell: Cell,
        dy: np.ndarray | None,  # (T, B, H); None: nothing reaches the outputs
        dstate: tuple[np.ndarray, ...],  # (B, H) each: the gradients of the final state
        params: Mapping[str, np.ndarray],
        cache: Cache,
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...], dict[str, np.ndarray]]:
        """Undoes `forward`, last step first: dx (T, B, I), dstate0, and the gradient of every parameter."""
        alone = self.in_pieces(cell, cache.x.shape, cache.gates.shape[-1], cache.x.dtype, cache.mask is not None)
        return *alone.backward(dy, dstate, params, cache), alone.gradients(params)

    def in_pieces(self, cell: Cell, shape: tuple[int, ...], H: int, dtype: np.dtype, masked: bool) -> "InPieces":
        """One sequence x of this `shape`, to be run piece by piece."""
        return InPieces(self, cell, shape, H, dtype, masked)


class InPieces:
    """One sequence, run piece by piece to the bits of one call: the weights' gradients are summed on from piece to
    piece.

    Pieces are cut at the ends of chunks of the backward pass over all T steps: `chunk` steps apart, counted from T.
    """

    def __init__(self, engine: FusedCpu, cell: Cell, shape: tuple[int, ...], H: int, dtype: np.dtype, masked: bool):
        self.engine, self.cell, (self.T, B, I) = engine, cell, shape
        self.plan = p = planned(cell, self.T, B, I, H, engine.kinds[dtype], masked)
        self.chunk = p.backward_chunk
        self.sums = np.zeros((len(p.edges) - 1, I + 1 + H, len(cell.gates), H), dtype)  # every tile sums for itself

    def forward(
        self,
        x: np.ndarray,
        params: Mapping[str, np.ndarray],
        state0: tuple[np.ndarray, ...],
        mask: np.ndarray | None,
        reuse: Cache | None = None,
    ) -> Cache:
        """A piece of the sequence, as `forward` above."""
        return self.engine.forward(self.cell, x, params, state0, mask, reuse, self.T)

    def predict(
        self, x: np.ndarray, params: Mapping[str, np.ndarray], state0: tuple[np.ndarray, ...], mask: np.ndarray | None
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
        """Likewise."""
        return self.engine.predict(self.cell, x, params, state0, mask, self.T)

    def backward(
        self,
        dy: np.ndarray | None,
        dstate: tuple[np.ndarray, ...],
        params: Mapping[str, np.ndarray],
        cache: Cache,
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
        """dx and dstate0 of a piece, the last one first. The weights' gradients are added to the sums."""
        tasks = self.tasks(dy, dstate, params, cache)
        run(tasks)
        dx, dstate0 = tasks.arguments.dx, tasks.arguments.dstate0
        return dx if cache.dx_wanted else dx[:0], tuple(dstate0)

    def tasks(
        self,
        dy: np.ndarray | None,
        dstate: tuple[np.ndarray, ...],
        params: Mapping[str, np.ndarray],
        cache: Cache,
    ) -> Tasks[BackwardArguments]:
        """Likewise, to be run. It writes dx (T, B, I), or (0, B, I) where that spares time, and dstate0 (S, B, H)."""
        x, mask, states, kept = cache.x, cache.mask, cast(Buffers, cache.private).states, cache.gates
        T, B, I = x.shape
        H = kept.shape[-1]
        machine, kind = _machine(), self.engine.kinds[x.dtype]
        p = self.plan  # for one thread where its parts could not run at the same time
        if not machine.can_meet(p.parts):
            p = machine.plan(self.cell, self.T, B, I, H, kind, mask is not None, 1)
        W_ih, W_hh = params["W_ih"], params["W_hh"]
        dstate0 = np.empty((len(dstate), B, H), x.dtype)
        dx = np.empty((T if cache.dx_wanted or not p.input_panels else 0, B, I), x.dtype)  # or else it costs nothing
        shared = np.empty(p.da_bytes, np.uint8)
        arguments = BackwardArguments(
            _rows(x), p.real if mask is None else mask, p.no_dy if dy is None else _rows(dy), states, kept,
            W_ih, W_hh if p.input_panels else np.concatenate((W_hh, W_ih)), np.empty(p.backward_packed, x.dtype),
            tuple([_rows(ds) for ds in dstate]), dstate0, dx, self.sums, shared,
            p.edges, p.parts, p.unit_panels, p.input_panels, p.backward_chunk,
            np.zeros(p.backward_counters, np.int64),
        )  # fmt: skip
        kernel = machine.kernel(self.cell, kind, "backward")
        return Tasks(kernel, arguments, p.tasks, p.backward_scratch, p.parts)

    def gradients(self, params: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The gradient of every parameter, once all pieces are undone."""
        cell, I = self.cell, params["W_ih"].shape[0]
        total = self.sums[0]
        for tile in range(1, len(self.sums)):  # always in this order
            total += self.sums[tile]
        return {
            "W_ih": gates.join(total[:I], cell.input_blocks),  # (21)
            "W_hh": gates.join(total[I + 1 :], cell.recurrent_blocks),  # (20)
            **{name: gates.join(total[I], blocks) for name, blocks in cell.biases.items()},  # (19)
        }


def run(tasks: Tasks) -> None:
    """Does them all, on as many threads as wanted."""
    _machine().run(*tasks)


class Machine(NamedTuple):
    run: Callable[[Callable, tuple, int, int, int], None]
    thread_count: Callable[[], int]
    can_meet: Callable[[int], bool]
    kernel: "Callable[[Cell, str, str], Callable]"
    plan: "Callable[[Cell, int, int, int, int, str, bool, int], Plan]"
    ready: "type[Ready]"


@functools.cache
def _machine() -> Machine:
    """What needs Numba, imported when it is needed."""
    from lstmcore.ops.cpu.threads import can_meet, run, thread_count
    from lstmcore.ops.recurrence.cpu.kernels import kernel
    from lstmcore.ops.recurrence.cpu.plan import plan
    from lstmcore.ops.recurrence.cpu.ready import Ready

    return Machine(run, thread_count, can_meet, kernel, plan, Ready)


def planned(cell: Cell, T: int, B: int, I: int, H: int, kind: str, masked: bool) -> "Plan":
    """The plan, for one thread where its parts could not run at the same time."""
    machine = _machine()
    alone = machine.plan(cell, T, B, I, H, kind, masked, 1)
    if not alone.divisible:
        return alone
    plan = machine.plan(cell, T, B, I, H, kind, masked, machine.thread_count())
    return plan if machine.can_meet(plan.parts) else alone


def _rows(a: np.ndarray) -> np.ndarray:
    """`a`, copied if its last axis is not contiguous: kernels read whole rows. The other axes may have any strides."""
    return a if a.strides[-1] == a.itemsize and a.flags.aligned else np.ascontiguousarray(a)


fused_cpu: FusedCpu = FusedCpu("fused-cpu", {"float32": "float32", "float64": "float64"})
fused_cpu_bf16: FusedCpu = FusedCpu("fused-cpu-bf16", {"float32": "bfloat16"})
