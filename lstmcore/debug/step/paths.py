"""The paths on which a gradient arrives at a step, and what each of them reaches: read off the cell's own text.

*Through h*: what arrives at h_t, from y_t and from step t+1 through W_hh. *Along* a state that the next step reads
pointwise: what comes back from there. An LSTM has one along c, dc_{t+1} o f_{t+1}; a GRU's h has one beside that
through h, which is called after the gate that it is multiplied by: along z, dh_{t+1} o z_{t+1}. A plain RNN has none.
"""

from functools import cache
from typing import NamedTuple

from lstmcore.ops.cells import Cell
from lstmcore.ops.cells.cell import BACKWARD, trace


class Path(NamedTuple):
    name: str
    state: int  # the state at which it arrives, as its place in `cell.states`


@cache
def paths(cell: Cell) -> tuple[Path, ...]:
    """The path through h, then one for each state in `cell.previous`. Every state has one at least."""
    return (Path("through h", 0), *(Path(_along(cell, j), cell.states.index(s)) for j, s in enumerate(cell.previous)))


def _along(cell: Cell, j: int) -> str:
    traced = trace(cell, BACKWARD)
    if cell.previous[j] != "h" or traced is None:
        return f"along {cell.previous[j]}"
    K, S = len(cell.gates), len(cell.states)
    dh_prev, gates = traced.gives[K + j], zip(cell.gates, traced.given[S:])
    return f"along {', '.join(name for name, gate in gates if dh_prev.depends_on(gate)) or 'h'}"


@cache
def asked(cell: Cell, split: bool) -> tuple[tuple[int, ...], ...]:
    """Which paths each call of `step_backward` undoes: one each, or all in one."""
    every = tuple(range(len(paths(cell))))
    return tuple((path,) for path in every) if split else (every,)


@cache
def reached(cell: Cell, split: bool) -> tuple[tuple[int, ...], ...]:
    """The blocks of pre-activations that each of these calls reaches."""
    traced, K = trace(cell, BACKWARD), len(cell.gates)
    if traced is None:  # it may be all
        return (tuple(range(K)),) * len(asked(cell, split))
    return tuple(
        tuple(k for k in range(K) if any(traced.gives[k].depends_on(traced.given[paths(cell)[p].state]) for p in some))
        for some in asked(cell, split)
    )
