"""What flows through one recurrent layer: norms, gains, gates at their ends, dead units."""

from typing import NamedTuple

import numpy as np

from lstmcore.arrays import Array, namespace, to_numpy
from lstmcore.debug.step.step_back import steps_back
from lstmcore.debug.step.visits import Visit
from lstmcore.ops.cells import Cell

EDGE = 0.05  # a gate is closed below it and open above 1 - it: its slope is a fifth of the steepest, or less
DEAD = 1e-6  # of the largest gradient of any unit


class Update(NamedTuple):
    """One weight and its next update."""

    name: str
    weight: float  # norm
    gradient: float
    update: float | None  # norm of what the optimizer would add; None without an optimizer
    is_bias: bool  # one axis: it starts at zero, and may stay small beside its updates

    @property
    def ratio(self) -> float | None:
        """Update to weight: around a thousandth is healthy."""
        if self.update is None:
            return None
        return self.update / self.weight if self.weight > 0 else np.inf if self.update > 0 else 0.0


class LayerFlow(NamedTuple):
    """One recurrent layer. Steps are steps of the input; `order` runs as the layer does."""

    name: str
    direction: str
    order: np.ndarray  # (T,) the steps of the input in the order in which the layer reads them
    rows: np.ndarray  # (T,) how many rows have a real step
    dstates: dict[str, np.ndarray]  # "dh", "dc": (T,) root mean square over the real rows of what arrives, as a norm
    gain: np.ndarray  # (T,) geometric mean over the real rows; NaN where nothing arrives
    low: np.ndarray  # (T, K) the fraction of values near the lower end of the gate; NaN where no row is real
    high: np.ndarray  # (T, K) near the upper end
    gates: tuple[str, ...]
    ends: dict[str, tuple[float, float]]  # of the gates that saturate
    words: dict[str, str]  # gate -> what people call it
    stuck: dict[str, np.ndarray]  # gate -> units that stand at one end at every real step of every row
    dead: np.ndarray  # units whose weights get no gradient
    units: int  # H

    @property
    def rate(self) -> float:
        """The gain per step, over all steps; NaN where nothing flows."""
        gains = self.gain[self.linked()]
        return float(np.exp(np.mean(np.log(gains)))) if len(gains) and (gains > 0).all() else 0.0 * len(gains)

    @property
    def reach(self) -> np.ndarray:
        """(T,) in the layer's order: what is left at each step of a gradient that starts at the last one."""
        gains = self.gain[self.order][1:]  # the gain of a step counts for the step before it
        left = np.cumprod(np.nan_to_num(gains, nan=1.0)[::-1])[::-1]
        return np.append(left, 1.0)

    def fraction(self, gate: str, side: str) -> float:
        """The part of all real values of a gate that stands at its "low" or "high" end."""
        values = (self.low if side == "low" else self.high)[:, self.gates.index(gate)]
        return float(np.nansum(values * self.rows) / max(1, self.rows.sum()))

    def linked(self) -> np.ndarray:
        """The steps that hand a gradient on to an earlier step: all but the first."""
        inner = self.order[1:]
        return inner[np.isfinite(self.gain[inner])]


def layer_flow(visit: Visit) -> LayerFlow:
    """Goes back through the steps of a recurrent layer once more, and measures what flows."""
    layer, cache = visit.as_recurrent()
    cell = layer.cell
    T, B, _, H = cache.gates.shape
    real = np.ones((T, B), bool) if cache.mask is None else to_numpy(cache.mask)
    squares, handed_on = np.empty((len(cell.states), T, B)), np.empty((T, B))
    for step in steps_back(visit, split=False):
        squares[:, step.t] = [_squares(d) for d in step.dstates]
        handed_on[step.t] = sum(_squares(d) for d in step.dstates_prev)
    low, high, stuck = _ends(cell, cache.gates, real)
    per_unit = np.sqrt(np.sum([_squares(g.reshape(-1, H).T) for g in visit.grads.values()], axis=0))
    turn = visit.in_time
    return LayerFlow(
        visit.name,
        visit.direction,
        np.array([visit.step(t) for t in range(T)]),
        turn(real.sum(1)),
        {f"d{name}": turn(np.sqrt(_mean(s, real))) for name, s in zip(cell.states, squares)},
        turn(_gain(squares.sum(0), handed_on, real)),
        turn(low),
        turn(high),
        cell.gates,
        cell.ends,
        {gate: cell.words.get(gate, f"gate {gate}") for gate in cell.gates},
        stuck,
        np.flatnonzero(per_unit <= DEAD * per_unit.max()),
        H,
    )


def _squares(d: Array) -> np.ndarray:
    """(B, H) -> (B,) in float64: the square of a float32 below 1e-19 would be lost."""
    d = d.astype("float64")
    return to_numpy(namespace(d).einsum("bh,bh->b", d, d))


def _gain(arrived: np.ndarray, handed_on: np.ndarray, real: np.ndarray) -> np.ndarray:
    """(T,) the geometric mean over the rows that are real and where something arrives."""
    counted = real & (arrived > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.where(counted, 0.5 * np.log(handed_on / np.where(arrived > 0, arrived, 1)), 0.0)
        return np.exp(logs.sum(1) / counted.sum(1))


def _mean(values: np.ndarray, real: np.ndarray) -> np.ndarray:
    """(T,) over the real rows; zero where there is none."""
    return np.where(real, values, 0).sum(1) / np.maximum(1, real.sum(1))


def _ends(cell: Cell, saved: Array, real: np.ndarray) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Fractions (T, K) of real values at the low and at the high end of each gate, and the units always there."""
    B, H = saved.shape[1], saved.shape[3]
    xp, endless = namespace(saved), (-np.inf, np.inf)
    below, above = (np.array([cell.ends.get(gate, endless)[side] for gate in cell.gates]) for side in (0, 1))
    floor, ceiling = (xp.asarray(edge, dtype=saved.dtype)[:, None] for edge in (below + EDGE, above - EDGE))
    low = to_numpy(xp.sum(saved < floor, axis=1, dtype=xp.int32))  # (T, K, H) counts; masked gates are zero
    low = low - (B - real.sum(1))[:, None, None] * (below + EDGE > 0)[:, None]
    high = to_numpy(xp.sum(saved > ceiling, axis=1, dtype=xp.int32))
    count = real.sum()
    stuck = {
        gate: np.flatnonzero((low[:, k].sum(0) == count) | (high[:, k].sum(0) == count))
        for k, gate in enumerate(cell.gates)
        if gate in cell.ends and count
    }
    with np.errstate(invalid="ignore"):
        places = (real.sum(1) * H)[:, None]
        return low.sum(2) / places, high.sum(2) / places, stuck


def norm(array: Array) -> float:
    return float(np.linalg.norm(to_numpy(array).astype(float)))
