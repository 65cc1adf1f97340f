"""Two implementations side by side: the first step, gate and unit at which they differ.

A difference is counted in units in the last place of the largest number in the same step and gate, since sums are
rounded to the size of their terms. The order is that of the computation: gates, c and h of each step, layer by layer,
then the gradients of the pre-activations on the way back, then weights and inputs.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Unpack

import numpy as np

from lstmcore.arrays import Array, dtype_name, is_array, to_numpy
from lstmcore.debug.compare.trace import trace, traced
from lstmcore.debug.show.page import notebook
from lstmcore.debug.show.picture import PLAIN, legend, panels
from lstmcore.debug.show.tables import paragraphs, table
from lstmcore.debug.step.rounding import sum_error
from lstmcore.debug.step.visits import Run, StepOptions, Upstream, Visit, run_step
from lstmcore.debug.trees import gradient_of
from lstmcore.layers import Layer
from lstmcore.ops.recurrence import Engine

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Difference(NamedTuple):
    """One array of both sides, or one place in it."""

    phase: str  # "forward" or "backward"
    name: str  # "0.fw.gates", "c", "da", "dW_hh", ...
    step: int | None  # of the input
    row: int | None
    gate: str | None
    unit: int | None
    ours: float
    theirs: float
    ulps: float

    @property
    def where(self) -> str:
        """The place in words."""
        named = (("step", self.step), ("row", self.row), ("gate", self.gate), ("unit", self.unit))
        return ", ".join(f"{name} {value}" for name, value in named if value is not None)


@dataclass(frozen=True)
class Comparison:
    """The answer. `first` is the first place beyond `ulps` in the order of the computation; `table` holds the worst of
    every array; `curves` the largest difference of every step, for arrays over time."""

    first: Difference | None
    table: tuple[Difference, ...]
    curves: dict[str, np.ndarray]
    ulps: float  # allowed

    @property
    def ok(self) -> bool:
        """True if nothing differs by more than `ulps`."""
        return self.first is None

    @property
    def findings(self) -> tuple[str, ...]:
        """The answer in words."""
        if self.first is None:
            return (f"equal to {self.ulps:.0f} units in the last place, forward and backward",)
        d = self.first
        values = f"{d.ours:.9g} and {d.theirs:.9g}, {d.ulps:.3g} units in the last place apart"
        return (f"the first difference is in the {d.phase} pass: {d.name} at {d.where}: {values}",)

    def __str__(self) -> str:
        rows = [
            [
                d.phase,
                d.name,
                f"{d.ulps:.3g}",
                "" if d.ulps <= self.ulps else "DIFFERS",
                f"{d.ours:.9g}",
                f"{d.theirs:.9g}",
                d.where,
            ]
            for d in self.table
        ]
        header = ["pass", "array", "ulps", "", "ours", "theirs", "worst at"]
        return "\n".join([paragraphs(self.findings), "", table(header, rows)])

    def picture(self) -> "Figure":
        """The largest difference of each step, per array. Needs matplotlib; returns its Figure."""
        figure, (axis,) = panels(3.0)
        for name, curve in self.curves.items():
            axis.plot(np.where(curve > 0, curve, np.nan), ".-", label=name)
        axis.axhline(self.ulps, color=PLAIN, ls=":")
        steps = max(map(len, self.curves.values()), default=1)
        axis.set(yscale="log", xlabel="step", ylabel="units in the last place", xlim=(-0.5, steps - 0.5))
        legend(axis, columns=3)
        return figure

    _repr_html_ = notebook


def compare(
    layer: Layer,
    other: Layer | Engine | str | Mapping[str, Array],
    x: Array,
    dy: Upstream = None,
    *,
    ulps: float | None = None,
    **step: Unpack[StepOptions],
) -> Comparison:
    """Runs `layer` and `other` on the same step and compares all that happens.

    other: a layer of the same structure; the name of an engine, or an engine, to run the same layer on; or a mapping of
    arrays from elsewhere, under the names and in the shapes of `trace` (any of them, steps in the order of the input).
    ulps: how far apart is equal; None: what random roundings explain in the longest sum, 8 sqrt(T B + I + H). What a
    long or chaotic recurrence amplifies comes on top: then look at the curves. Other arguments as in `ledger`.
    Raises ValueError for arrays that `layer` does not have, or of another shape.
    """
    run = run_step(layer, x, dy, **step)
    ours = traced(run)
    if isinstance(other, Mapping):
        theirs = {name: to_numpy(value) for name, value in other.items()}
    else:
        twin: Any = other if hasattr(other, "forward") and hasattr(other, "params") else layer.to(engine=other)
        theirs = trace(twin, x, run.dy, **step)
    _check_names(ours, theirs)
    if ulps is None:
        widest = max((sum(visit.x.shape[2:]) + visit.y.shape[-1] for visit in run.visits), default=0)
        ulps = sum_error(int(np.prod(run.x.shape[:2])) + widest)
    found: list[Difference] = []
    first = None
    curves: dict[str, np.ndarray] = {}
    for group in _groups(run):
        worst = []
        for phase, name, visit, names in group:
            if name not in theirs or name not in ours:
                continue
            apart = _apart(ours[name], theirs[name], names, name)
            place = _place(phase, name, names, ours[name], theirs[name], apart, apart == np.max(apart), visit)
            found.append(place)
            if _over_time(name, apart, visit):
                curves[name] = apart.reshape(len(apart), -1).max(1)
            beyond = ~(apart <= ulps)
            if beyond.any():
                worst.append(_place(phase, name, names, ours[name], theirs[name], apart, beyond, visit))
        if first is None and worst:
            first = min(worst, key=lambda d: _when(d, group))
    return Comparison(first, tuple(found), curves, ulps)


def _groups(run: Run) -> Iterator[list[tuple[str, str, Visit, tuple[str, ...]]]]:
    """The arrays in the order of the computation: (phase, name, visit, gates), those of one loop over time together."""
    for visit in run.visits:
        if visit.recurrent:
            cell = visit.as_recurrent()[0].cell
            states = [("forward", visit.key(name), visit, ()) for name in reversed(cell.states)]  # c before h
            yield [("forward", visit.key("gates"), visit, cell.gates), *states]
        else:
            yield [("forward", visit.key("y"), visit, ())]
    for k in run.back:
        visit = run.visits[k]
        if visit.recurrent:
            cell = visit.as_recurrent()[0].cell
            yield [("backward", visit.key("da"), visit, tuple(cell.gates[b] for b in cell.input_blocks))]
            for name in visit.grads:
                fed = tuple(cell.gates[b] for b in cell.fed_by.get(name, ()))
                yield [("backward", visit.key(f"d{name}"), visit, fed)]
            for name in cell.states:
                yield [("backward", visit.key(f"d{name}0"), visit, ())]
        else:
            for name in visit.grads:
                yield [("backward", visit.key(f"d{name}"), visit, ())]
        if visit.dx is not None:
            yield [("backward", visit.key("dx"), visit, ())]
    for name in run.own:
        yield [("backward", gradient_of(name), run.visits[-1], ())]


def _apart(ours: np.ndarray, theirs: np.ndarray, names: tuple[str, ...], name: str) -> np.ndarray:
    """|ours - theirs| in units in the last place of the largest number of the same step and gate."""
    eps = max(float(np.finfo(dtype_name(a.dtype)).eps) for a in (ours, theirs))
    a, b = (_by_gate(v, names).astype(float) for v in (ours, theirs))
    axes = (1, a.ndim - 1) if a.ndim > 2 else tuple(range(a.ndim))  # rows and units; the whole where no step is
    if names and _last_name(name) not in ("gates", "da"):
        axes = tuple(k for k in range(a.ndim) if k != a.ndim - 2)  # a weight: all but its gates
    sizes = np.where(np.isfinite(a), abs(a), 0.0)
    unit = eps * np.maximum(np.max(sizes, axis=axes, keepdims=True), np.finfo(float).tiny)
    with np.errstate(invalid="ignore", over="ignore"):
        apart = abs(a - b) / unit
    apart[(a == b) | (np.isnan(a) & np.isnan(b))] = 0
    apart[np.isnan(apart)] = np.inf
    return apart


def _by_gate(value: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """A weight (..., K H) as (..., K, H); everything else as it is."""
    if not names or (value.ndim == 4 and value.shape[2] == len(names)):
        return value
    return value.reshape(*value.shape[:-1], len(names), value.shape[-1] // len(names))


def _place(
    phase: str,
    name: str,
    names: tuple[str, ...],
    ours: np.ndarray,
    theirs: np.ndarray,
    apart: np.ndarray,
    chosen: np.ndarray,
    visit: Visit,
) -> Difference:
    """The first of the chosen places, in the order of the computation."""
    places = np.argwhere(chosen)
    last_first = (phase == "backward") != visit.flipped
    over_time = _over_time(name, ours, visit)
    if over_time:
        steps = places[:, 0]
        places = places[steps == (steps.max() if last_first else steps.min())]
    at = tuple(int(k) for k in max(places, key=lambda p: apart[tuple(p)]))
    gate = names[at[-2]] if names else None
    by_row = _last_name(name) in ("y", "dx") or name in _initial_gradients(visit)
    row = at[1] if over_time else at[0] if by_row else None
    a, b = (float(_by_gate(v, names)[at]) for v in (ours, theirs))
    return Difference(phase, name, at[0] if over_time else None, row, gate, at[-1], a, b, float(apart[at]))


def _over_time(name: str, value: np.ndarray, visit: Visit) -> bool:
    states = visit.layer.states if visit.recurrent else ()
    return _last_name(name) in ("gates", "da", *states) or (_last_name(name) in ("y", "dx") and value.ndim > 2)


def _when(d: Difference, group: list[tuple[str, str, Visit, tuple[str, ...]]]) -> tuple[float, int]:
    """Earlier in the computation is smaller: by step, then by array."""
    visit = group[0][2]
    if d.step is None:
        return 0.0, 0
    step = visit.step(d.step) * (1 if d.phase == "forward" else -1)
    return float(step), [name for _, name, _, _ in group].index(d.name)


def _initial_gradients(visit: Visit) -> set[str]:
    return {visit.key(f"d{name}0") for name in visit.layer.states} if visit.recurrent else set()


def _last_name(name: str) -> str:
    return name.rsplit(".", 1)[-1]


def _check_names(ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray]) -> None:
    for name, value in theirs.items():
        if name not in ours:
            raise ValueError(f"`other` should have arrays of the layer, {', '.join(ours)}; got {name!r}")
        if not is_array(value) or value.shape != ours[name].shape:
            raise ValueError(f"`other[{name!r}]` should have the shape {ours[name].shape}; got {np.shape(value)}")
    if not theirs:
        raise ValueError("`other` should hold at least one array; got none")
