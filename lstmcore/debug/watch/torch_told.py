"""The notes of a call of a torch module, told in lstmcore's terms.

Packed input is unpacked as pack_padded_sequence lays it out: step after step, at each step those rows that are long
enough, the longest first.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import nn
from torch.nn.utils.rnn import PackedSequence

from lstmcore.arrays import State
from lstmcore.debug.watch.seen import Call, Notes
from lstmcore.debug.watch.torch_modules import Recurrent
from lstmcore.interop.read.torch_modules import state_to_lstmcore

Steps = Callable[[np.ndarray], np.ndarray]


@dataclass(eq=False)
class Noted:
    """What was noted of one call: x, y, state0, final0, ..., and their gradients, in the shapes of torch."""

    training: bool
    notes: Notes = field(default_factory=dict)
    packed: PackedSequence | None = None
    factors: list[np.ndarray] = field(default_factory=list)  # of the dropout between the layers
    precision: str = "float64"
    follows: "Noted | None" = None
    live: bool = False  # a gradient can come back
    whole: bool = False  # it came to its end


def told(module: Recurrent, call: Noted, calls: Sequence[Noted]) -> Call:
    """One call; calls: all of them."""
    notes = call.notes
    names = [f"state{k}" for k in range(2 if isinstance(module, nn.LSTM | nn.LSTMCell) else 1)]
    finals = [name.replace("state", "final") for name in names]
    state, dstate0 = ([notes.get(f"{d}{name}") for name in names] for d in ("", "d"))
    dstate = [notes.get(f"d{name}", np.zeros_like(notes[name])) for name in finals]
    follows = next((k for k, other in enumerate(calls) if other is call.follows), None)
    if not isinstance(module, nn.RNNBase):
        return _step(notes, state, dstate0, dstate, follows)
    steps, mask = _steps(module, call)
    dy = steps(notes.get("dy", np.zeros_like(notes["y"])))
    dx = steps(notes["dx"]) if "dx" in notes else None
    drawn = {str(k): _time_first(call, factors, steps) for k, factors in enumerate(call.factors, start=1)}

    def tree(parts: list[np.ndarray | None]) -> State | None:
        return state_to_lstmcore(module, tuple(parts))

    return Call(
        steps(notes["x"]), tree(state), mask, steps(notes["y"]), dy, tree([*dstate]), dx, tree(dstate0), drawn, follows
    )


def _step(
    notes: Notes,
    state: list[np.ndarray | None],
    dstate0: list[np.ndarray | None],
    dstate: list[np.ndarray],
    follows: int | None,
) -> Call:
    """A cell: one step, whose output is the new h."""

    def rows(a: np.ndarray) -> np.ndarray:
        return a if a.ndim == 2 else a[None]  # (B, H), or (H,) of a single row

    def tree(parts: list[np.ndarray | None]) -> State | None:
        return None if all(part is None for part in parts) else tuple(p if p is None else rows(p) for p in parts)

    dh, *others = map(rows, dstate)
    dx = rows(notes["dx"])[None] if "dx" in notes else None
    y = rows(notes["final0"])[None]
    return Call(
        rows(notes["x"])[None], tree(state), None, y, dh[None], (np.zeros_like(dh), *others), dx, tree(dstate0),
        follows=follows,
    )  # fmt: skip


def _time_first(call: Noted, factors: np.ndarray, steps: Steps) -> np.ndarray:
    """What dropout drew: torch has brought it to time-major already, but for packed input."""
    return steps(factors) if call.packed is not None and factors.ndim else factors


def _steps(module: nn.RNNBase, call: Noted) -> tuple[Steps, np.ndarray | None]:
    """How to bring x, y and their gradients to (T, B, ...), and the mask."""
    if call.packed is not None:
        sizes, order = call.packed.batch_sizes.numpy(), call.packed.unsorted_indices
        sorted_mask = np.arange(sizes[0]) < sizes[:, None]  # (T, B), longest row first
        columns = slice(None) if order is None else order.cpu().numpy()

        def unpacked(rows: np.ndarray) -> np.ndarray:
            padded = np.zeros((*sorted_mask.shape, rows.shape[-1]))
            padded[sorted_mask] = rows  # step by step, and within a step row by row: the order of both
            return padded[:, columns]

        return unpacked, sorted_mask[:, columns]
    if call.notes["x"].ndim == 2:
        return (lambda a: a[:, None]), None
    if module.batch_first:
        return (lambda a: np.ascontiguousarray(a.swapaxes(0, 1))), None
    return (lambda a: a), None


# ---- cells in a loop -------------------------------------------------------------------------------------------------


def joined(calls: list[Call]) -> tuple[tuple[Call, ...], list[int]]:
    """Single steps that hand on their state become one sequence, where nothing else was done with it; and the number
    of the sequence in which each call is."""
    chains: list[list[Call]] = []
    numbers: list[int] = []
    for k, call in enumerate(calls):
        n = len(chains) if call.follows is None else numbers[call.follows]
        if n == len(chains) or call.follows in (c.follows for c in calls[:k]) or not _continues(chains[n][-1], call):
            n = len(chains)
            chains.append([])
        chains[n].append(call)
        numbers.append(n)
    return tuple(chain[0] if len(chain) == 1 else _sequence(chain) for chain in chains), numbers


def _continues(a: Call, b: Call) -> bool:
    """Whether b goes on where a ended, as the next step of one sequence; what came back to states but h came from b."""
    alike = len(a.x) == len(b.x) == 1 and a.mask is b.mask is None and a.x.shape == b.x.shape
    if not alike or a.drawn or b.drawn or a.dstate is None:
        return False
    if any(isinstance(part, tuple) for part in a.dstate):
        return False  # several layers or directions, whose inner outputs nobody sees
    return all(not np.any(rest) for rest in _beside(a, b)[1:])


def _beside(a: Call, b: Call) -> list[np.ndarray]:
    """What came back to the final states of a, beside what came from b."""
    assert a.dstate is not None
    back = b.dstate0 or (None,) * len(a.dstate)
    total = (a.dy[-1] + a.dstate[0], *a.dstate[1:])
    return [t if d is None else t - d for t, d in zip(total, back)]


def _sequence(chain: list[Call]) -> Call:
    first, last = chain[0], chain[-1]
    dys = [_beside(a, b)[0][None] for a, b in itertools.pairwise(chain)]
    dxs = [call.dx for call in chain if call.dx is not None]
    return Call(
        np.concatenate([call.x for call in chain]),
        first.state,
        None,
        np.concatenate([call.y for call in chain]),
        np.concatenate([*dys, last.dy]),
        last.dstate,
        np.concatenate(dxs) if len(dxs) == len(chain) else None,
        first.dstate0,
    )
