"""How gradients flow through time: where they vanish or explode, which gates are shut, which units are dead.

The gain of step t is the norm of what step t hands on to step t-1, over the norm of what arrived at it (at h and c
together), so upstream gradients that enter on the way do not hide what is lost. Gains multiply: 0.8 per step is a
thousandth after 31 steps, 1.3 per step a thousandfold after 26.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from lstmcore.arrays import Array, namespace, to_numpy
from lstmcore.debug.record import Run, Upstream, Visit, record
from lstmcore.debug.step_back import StepBack, step_back
from lstmcore.debug.tables import bars, paragraphs, percent, spans, table
from lstmcore.layers import Layer

NAMES = {
    "i": "input gate",
    "f": "forget gate",
    "g": "candidate",
    "o": "output gate",
    "r": "reset gate",
    "z": "update gate",
    "n": "candidate",
}
TANH = ("g", "n")
EDGE = 0.05  # a gate is closed below it and open above 1 - it: its slope is a fifth of the steepest, or less
MOST = 0.9  # of a gate's values: then the gate as a whole is called closed or open
FADED = 1e-3  # of a gradient: then nothing is learned from there
STEADY = 0.02  # a gain this near to 1 is neither growth nor loss
DEAD = 1e-6  # of the largest gradient of any unit


class Update(NamedTuple):
    """One weight and its next update."""

    name: str
    weight: float  # norm
    gradient: float
    update: float | None  # norm of what the optimizer would add; None without an optimizer

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
    stuck: dict[str, np.ndarray]  # gate -> units that stand at one end at every real step of every row
    dead: np.ndarray  # units whose weights get no gradient

    @property
    def rate(self) -> float:
        """The gain per step, over all steps; NaN where nothing flows."""
        gains = self.gain[self._linked()]
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

    def _linked(self) -> np.ndarray:
        """The steps that hand a gradient on to an earlier step: all but the first."""
        inner = self.order[1:]
        return inner[np.isfinite(self.gain[inner])]


@dataclass(frozen=True)
class Flow:
    """The answer. Prints its findings, then the curves as bars and numbers."""

    layers: tuple[LayerFlow, ...]
    updates: tuple[Update, ...]

    @property
    def findings(self) -> tuple[str, ...]:
        """The verdict in words."""
        found = [line for layer in self.layers for line in _findings(layer)]
        return (*found, *_update_findings(self.updates))

    @property
    def ok(self) -> bool:
        """True if nothing vanishes, explodes, is stuck, dead or wrongly scaled."""
        return all(finding.startswith("steady") or ": steady" in finding for finding in self.findings)

    def __str__(self) -> str:
        parts = [paragraphs(self.findings)]
        for layer in self.layers:
            title = f"{layer.name or 'the layer'}, {layer.direction}"
            header = ["step", "rows", *(f"|{name}|" for name in layer.dstates), "gain", "left"]
            left = np.empty_like(layer.gain)
            left[layer.order] = layer.reach
            rows = []
            for label, s in spans(len(layer.rows), 32):
                middle = slice((s.start + s.stop) // 2, (s.start + s.stop) // 2 + 1)
                numbers = [*(values[middle][0] for values in layer.dstates.values()), layer.gain[middle][0]]
                rows.append(
                    [label, f"{layer.rows[middle][0]}", *(f"{v:.2e}" for v in numbers), f"{left[middle][0]:.1e}"]
                )
            parts.append(table(header, rows, title))
            rows = [
                [
                    gate,
                    NAMES.get(gate, ""),
                    percent(layer.fraction(gate, "low")),
                    percent(layer.fraction(gate, "high")),
                    bars(np.nan_to_num(np.maximum(layer.low[:, k], layer.high[:, k]))),
                    f"{len(layer.stuck.get(gate, ()))}",
                ]
                for k, gate in enumerate(layer.gates)
                if gate in NAMES
            ]
            parts.append(table(["gate", "", "low end", "high end", "over the steps", "stuck units"], rows))
        rows = [
            [
                u.name,
                f"{u.weight:.2e}",
                f"{u.gradient:.2e}",
                "" if u.update is None else f"{u.update:.2e}",
                "" if u.ratio is None else f"{u.ratio:.1e}",
            ]
            for u in self.updates
        ]
        parts.append(table(["weight", "|W|", "|dW|", "|update|", "update / weight"], rows))
        return "\n\n".join(parts)

    def picture(self) -> Any:
        """Curves of |dh| and |dc| and of the gates' ends, per layer. Needs matplotlib; returns its Figure."""
        from lstmcore.debug.picture import panels

        figure, axes = panels(2 * len(self.layers))
        for k, layer in enumerate(self.layers):
            for name, values in layer.dstates.items():
                axes[2 * k].plot(np.where(values > 0, values, np.nan), label=f"|{name}|")
            axes[2 * k].set(yscale="log", xlabel="step", title=f"{layer.name or 'layer'}, {layer.direction}")
            for j, gate in enumerate(layer.gates):
                if gate in NAMES:
                    line = axes[2 * k + 1].plot(layer.low[:, j], label=f"{NAMES[gate]}, low end")[0]
                    axes[2 * k + 1].plot(layer.high[:, j], ls="--", color=line.get_color(), label="high end")
            axes[2 * k + 1].set(xlabel="step", ylabel="fraction of values", ylim=(-0.02, 1.02))
            for axis in axes[2 * k : 2 * k + 2]:
                axis.legend(fontsize="x-small", ncols=4)
        return figure


def flow(
    layer: Layer,
    x: Array,
    dy: Upstream = None,
    *,
    state: Any = None,
    mask: Array | None = None,
    dstate: Any = None,
    dropout_seed: int | None = None,
    seed: int | None = 0,
    optimizer: Any = None,
) -> Flow:
    """Watches the gradients of h and c over time, the gates and the weights of one training step.

    Arguments as in `ledger`. optimizer: one of lstmcore.train; a copy of it makes the step on a copy of the weights, to
    tell how large its updates are beside them. Cost: less than one further forward + backward pass on the reference
    engine. Raises whatever the layer raises for bad input.
    """
    run = record(layer, x, dy, state=state, mask=mask, dstate=dstate, dropout_seed=dropout_seed, seed=seed)
    return flow_of(run, layer.params, optimizer)


def flow_of(run: Run, params: Any, optimizer: Any = None) -> Flow:
    """The flow of a training step that was recorded; params: those of the layer that ran."""
    layers = tuple(_layer(visit, step_back(visit)) for visit in run.visits if visit.recurrent)
    new = None
    if optimizer is not None:
        new = {name: namespace(a).asarray(a, copy=True) for name, a in params.items()}
        copy.deepcopy(optimizer).step(new, {name: namespace(g).asarray(g, copy=True) for name, g in run.grads.items()})
    updates = [
        Update(name, _norm(params[name]), _norm(g), None if new is None else _norm(new[name] - params[name]))
        for name, g in run.grads.items()
    ]
    return Flow(layers, tuple(updates))


def _layer(visit: Visit, back: StepBack) -> LayerFlow:
    cell, cache = visit.layer.cell, visit.cache  # type: ignore[attr-defined]
    xp = namespace(cache.x)
    T, B, _, H = cache.gates.shape
    real = np.ones((T, B), bool) if cache.mask is None else to_numpy(cache.mask)
    rows = real.sum(1)
    squares = [to_numpy(xp.sum(d * d, axis=-1)).astype(float) for d in back.dstates]  # (T, B) per state
    means = [np.sqrt(_mean(s, real)) for s in squares]
    low, high, stuck = _ends(cell, cache.gates, real)
    squared = [to_numpy(xp.sum(xp.reshape(g, (-1, H)) ** 2, axis=0)) for g in visit.grads.values()]  # (H,) by unit
    per_unit = np.sqrt(np.sum(squared, axis=0))
    dead = np.flatnonzero(per_unit <= DEAD * per_unit.max())
    turn = visit.in_time
    return LayerFlow(
        visit.name,
        visit.direction,
        np.array([visit.step(t) for t in range(T)]),
        turn(rows),
        {f"d{name}": turn(mean) for name, mean in zip(cell.states, means)},
        turn(_gain(np.sum(squares, axis=0), _handed_on(visit, back, xp), real)),
        turn(low),
        turn(high),
        cell.gates,
        stuck,
        dead,
    )


def _handed_on(visit: Visit, back: StepBack, xp: Any) -> np.ndarray:
    """(T, B) the squared norm of what step t gives to step t-1, over all states: without the dy that enters there."""
    dy, _ = visit.upstream()
    first = np.sum([to_numpy(xp.sum(d * d, axis=-1)).astype(float) for d in back.dstate0], axis=0)
    inner = []
    for k, d in enumerate(back.dstates):
        d = d[:-1, ...]
        if k == 0 and dy is not None:
            entered = dy[:-1, ...]
            if visit.cache.mask is not None:
                entered = xp.where(visit.cache.mask[:-1, :, None], entered, xp.zeros_like(entered))
            d = d - entered
        inner.append(to_numpy(xp.sum(d * d, axis=-1)).astype(float))
    return np.concatenate([first[None], np.sum(inner, axis=0)])


def _gain(arrived: np.ndarray, handed_on: np.ndarray, real: np.ndarray) -> np.ndarray:
    """(T,) the geometric mean over the rows that are real and where something arrives."""
    counted = real & (arrived > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.where(counted, 0.5 * np.log(handed_on / np.where(arrived > 0, arrived, 1)), 0.0)
        return np.exp(logs.sum(1) / counted.sum(1))


def _mean(values: np.ndarray, real: np.ndarray) -> np.ndarray:
    """(T,) over the real rows; zero where there is none."""
    return np.where(real, values, 0).sum(1) / np.maximum(1, real.sum(1))


def _ends(cell: Any, saved: Array, real: np.ndarray) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Fractions (T, K) of real values at the low and at the high end of each gate, and the units always there."""
    B, H = saved.shape[1], saved.shape[3]
    floor = np.array([EDGE - 1 if gate in TANH else EDGE for gate in cell.gates])
    xp = namespace(saved)
    edge = xp.asarray(floor, dtype=saved.dtype)[:, None]
    low = to_numpy(xp.sum(saved < edge, axis=1, dtype=xp.int32))  # (T, K, H) counts; masked gates are zero
    masked = (B - real.sum(1))[:, None, None] * (floor > 0)[:, None]
    low = low - masked
    high = to_numpy(xp.sum(saved > 1 - EDGE, axis=1, dtype=xp.int32))
    count = real.sum()
    stuck = {
        gate: np.flatnonzero((low[:, k].sum(0) == count) | (high[:, k].sum(0) == count))
        for k, gate in enumerate(cell.gates)
        if gate in NAMES and count
    }
    with np.errstate(invalid="ignore"):
        places = (real.sum(1) * H)[:, None]
        return low.sum(2) / places, high.sum(2) / places, stuck


def _norm(array: Array) -> float:
    return float(np.linalg.norm(to_numpy(array).astype(float)))


def _findings(layer: LayerFlow) -> Iterator[str]:
    name = f"{layer.name}: " if layer.name else ""
    if not all(np.isfinite(values).all() for values in layer.dstates.values()):
        yield f"{name}gradients are not finite: ask the tripwire where it begins"
        return
    told = list(_time_findings(layer))
    for gate in layer.gates:
        if gate not in NAMES:
            continue
        ends = {side: layer.fraction(gate, side) for side in ("low", "high")}
        both = ends["low"] + ends["high"]
        if gate in TANH:
            if both > MOST:
                told.append(f"{NAMES[gate]} saturated: {percent(both)} of its values are beyond +-{1 - EDGE:g}")
        elif max(ends.values()) > MOST:
            closed = ends["low"] > ends["high"]
            told.append(
                f"{NAMES[gate]} {'closed' if closed else 'open'}: {percent(max(ends.values()))} of its values "
                f"are {'below' if closed else 'above'} {EDGE if closed else 1 - EDGE:g}"
            )
        units = layer.stuck.get(gate, np.array([]))
        if len(units) and both <= MOST:
            told.append(f"{NAMES[gate]} stuck at one end in {_units(units)}")
    if len(layer.dead):
        told.append(f"dead: no gradient reaches the weights of {_units(layer.dead)}")
    yield from (f"{name}{line}" for line in told or [f"steady: gradients change by {layer.rate:.2f} per step"])


def _time_findings(layer: LayerFlow) -> Iterator[str]:
    reach, order = layer.reach, layer.order
    linked = layer._linked()
    if not len(linked):
        return
    if not (layer.gain[linked] > 0).all():
        cut = [t for t in order if t in linked and layer.gain[t] == 0]
        yield f"cut: nothing is handed on at step {cut[-1]}"
        return
    if reach.max() > 1 / FADED and layer.rate > 1 + STEADY:
        step = order[reach.argmax()]
        yield f"exploding by {layer.rate:.2g} per step: {reach.max():.1g} times as large at step {step}"
    elif reach.min() < FADED:
        k = int(np.flatnonzero(reach < FADED).max())
        after = order[k]
        start = [t for t in order if layer.rows[t]][-1]
        yield (
            f"vanishing: of a gradient at step {start} less than a thousandth is left at step {after}, "
            f"{abs(start - after)} steps away ({layer.rate:.2g} per step)"
        )


def _update_findings(updates: tuple[Update, ...]) -> Iterator[str]:
    for u in updates:
        if u.gradient == 0:
            yield f"{u.name} has no gradient at all"
        elif u.ratio is not None and u.weight > 0 and u.ratio > 0.1:
            yield f"{u.name} moves by {percent(u.ratio)} in one step: the rate is too high"
        elif u.ratio is not None and u.weight > 0 and u.ratio < 1e-6:
            yield f"{u.name} hardly moves: an update is {u.ratio:.0e} of it"


def _units(units: np.ndarray) -> str:
    shown = ", ".join(map(str, units[:8])) + (", ..." if len(units) > 8 else "")
    return f"{len(units)} unit{'s' if len(units) > 1 else ''} ({shown})"
