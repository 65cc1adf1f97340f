"""Where do wrong gradients begin? What the arrays themselves tell, when no known mistake explains them.

The loop back goes from the last step to the first, so everything after the fault is right. A row of dx belongs to one
step: the last row that is off is where it starts. Without dx, the weight gradients are asked: each is a sum over steps
of x_t or h_{t-1} times da_t, so a deviation that starts at step t lies in the span of the inputs up to t. That can
tell only as long as there are fewer inputs than rows in the matrix; beyond, it says nothing. Each weight block
belongs to one gate. Where da itself is there, or follows from the weight gradients, it tells both (inside.py).
"""

from typing import NamedTuple

import numpy as np

from lstmcore.debug.diagnose.inside import GATES, kept_ahead, ours, right_inside, seen_inside
from lstmcore.debug.diagnose.trial import Bench, Numbers
from lstmcore.debug.mistakes import mutant
from lstmcore.ops import gates


class Place(NamedTuple):
    """What is off. None, or empty, where the gradients given do not tell."""

    arrays: tuple[str, ...]  # the keys that are off
    right: tuple[str, ...]  # the keys that are right
    step: int | None
    gates: tuple[str, ...]
    layers: tuple[str, ...] = ()  # of several: "0.bw"; what is off in a stack begins in its highest layer that is off

    def __str__(self) -> str:
        return f"none of the known ones{'; it ' + self._starts if self._starts else ''} ({self._arrays})"

    @property
    def seen(self) -> str:
        """In words, of a mistake that has a name."""
        return self._arrays + (f"; the deviation {self._starts}" if self._starts else "")

    @property
    def _starts(self) -> str:
        where = [f"at step {self.step}" if self.step is not None else ""]
        where += [f"in layer {' and '.join(self.layers)}" if self.layers else "", _gates(self.gates)]
        return f"starts {' '.join(filter(None, where))}" if any(where) else ""

    @property
    def _arrays(self) -> str:
        rest = f"; right are {', '.join(self.right)}" if self.right else ""
        return f"off: {', '.join(self.arrays)}{rest}"


def locate(bench: Bench, right: Numbers) -> Place:
    """The arrays, the step and the gates where the case's gradients leave the right ones by more than rounding."""
    case, allowed = bench.case, bench.allowed()
    deviation = {key: case.grads[key] - right[key] for key in case.grads}
    off = {key: ~(np.abs(deviation[key]) <= allowed[key]) for key in case.grads}
    step, (layers, named) = None, _where_in_the_weights(bench, off)
    if len(case.state) == len(case.kind.states):  # one layer, one direction: steps are seen through nothing else
        if "x" in off and off["x"].any():
            step = int(np.nonzero(off["x"].any(axis=(1, 2)))[0].max())
            if "x" not in case.dropout:  # it hides a part of dx
                named = _gates_of_dx(bench, deviation["x"][step], allowed["x"][step]) or named
        elif "x" not in off and case.norm is None and set(case.weights) <= set(off):
            step = _step_by_span(bench, deviation, allowed)
    step, named = _inside(bench) or (step, named)
    wrong, right_ones = ([key for key in off if off[key].any() == bad] for bad in (True, False))
    return Place(tuple(wrong), tuple(right_ones), step, named, layers)


def _inside(bench: Bench) -> tuple[int, tuple[str, ...]] | None:
    """The last step at which da is off, and in which gates; None if da is right, or cannot be told."""
    seen = seen_inside(bench)
    if seen is None:
        return None
    exact, moved = right_inside(bench, bench.prepared()), right_inside(bench, bench.rounded(()))
    for t in reversed(range(len(exact))):
        off = [
            gate
            for gate, name, da, rounded in zip("ifgo", GATES, exact[t], moved[t])
            if np.any(
                np.abs(seen.arrays[name][t] - da)
                > seen.slack[name][t] + bench.reading.unit * bench.deviations * np.sqrt(rounded.variance)
            )
        ]
        if off:
            return t, tuple(off)
    return None


def _where_in_the_weights(bench: Bench, off: dict[str, np.ndarray]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The layers, if there are several, and the gates whose blocks of any weight gradient are off.

    Gradients come down through a stack, so what is off in lower layers may have come from the highest that is.
    """
    case, cell = bench.case, bench.case.kind
    flags = ours(bench, {key: value.astype(float) for key, value in off.items() if key in case.weights})
    wrong: dict[str, set[str]] = {}  # layer -> gates
    for name, value in flags.items():
        layer, _, kind = name.rpartition(".")
        blocks = cell.fed_by.get(kind, ())
        parts = gates.split(value, len(blocks) or 1)
        wrong.setdefault(layer, set()).update(cell.gates[k] for j, k in enumerate(blocks) if parts[..., j, :].any())
    several, wrong = len(wrong) > 1, {layer: found for layer, found in wrong.items() if found}
    height = {layer: int(layer.split(".")[0]) if layer[:1].isdigit() else 0 for layer in wrong}
    first = [layer for layer in wrong if height[layer] == max(height.values())]
    found = {gate for layer in first for gate in wrong[layer]}
    return tuple(first) if several else (), tuple(g for g in cell.gates if g in found)


def _gates_of_dx(bench: Bench, deviation: np.ndarray, allowed: np.ndarray) -> tuple[str, ...]:
    """The one gate whose block of W_ih explains a deviation (B, I) of one step's dx = da W_ih^T; none if not one."""
    cell = bench.case.kind
    W_ih = mutant().prepare(bench.case)[0]["W_ih"]
    blocks = gates.split(W_ih, len(cell.input_blocks))  # (I, K, H)
    if blocks.shape[0] <= blocks.shape[2]:
        return ()  # with I <= H every gate could explain it
    limit = np.linalg.norm(allowed)
    found = [cell.gates[k] for j, k in enumerate(cell.input_blocks) if _unexplained(blocks[:, j], deviation.T) <= limit]
    return tuple(found) if len(found) == 1 else ()


def _step_by_span(bench: Bench, deviation: Numbers, allowed: Numbers) -> int | None:
    """The first step such that the inputs up to it can make the deviation of the matrices; None if too many can.

    Each block by itself, x and h_{t-1} together where both feed it: a GRU's n gets x alone, its m gets h_{t-1} alone.
    """
    cell, cache = bench.case.kind, kept_ahead(bench, bench.prepared())
    both = (ours(bench, deviation), ours(bench, allowed))
    if both[0]["W_ih"].shape[1] != both[0]["W_hh"].shape[1]:
        return None  # r o h goes by a matrix of its own
    feeds = (("W_ih", cache.x, cell.input_blocks), ("W_hh", cache.states[0][:-1], cell.recurrent_blocks))
    parts = []  # of the blocks that are off
    for k in sorted({*cell.input_blocks, *cell.recurrent_blocks}):
        fed = [(name, a, blocks) for name, a, blocks in feeds if k in blocks]
        D, bound = (
            np.concatenate([gates.split(of[name], len(blocks))[:, blocks.index(k)] for name, _, blocks in fed])
            for of in both
        )
        if np.any(np.abs(D) > bound):
            parts.append((np.concatenate([a for _, a, _ in fed], axis=-1), D, float(np.linalg.norm(bound))))
    T, B, _ = cache.x.shape
    for t in range(T):
        if any((t + 1) * B >= inputs.shape[-1] for inputs, *_ in parts):
            break
        if all(_unexplained(inputs[: t + 1].reshape(-1, len(D)).T, D) <= limit for inputs, D, limit in parts):
            return t
    return None


def _unexplained(A: np.ndarray, D: np.ndarray) -> float:
    """What no combination of the columns of A can make of D: min |A z - D|."""
    return float(np.linalg.norm(A @ np.linalg.lstsq(A, D, rcond=None)[0] - D))


def _gates(named: tuple[str, ...]) -> str:
    return f"in gate{'s' if len(named) > 1 else ''} {' '.join(named)}" if named else ""
