"""Where does the NaN come from? The first number that is not finite, with the operands that made it.

Caches mean the same on every engine, so the search looks at what the engine itself computed: weights, inputs, gates and
states in the order of the forward pass, then upstream gradients and results in the order of the backward pass. Only
once something is found, the step is computed again in array code from the last good state, to show its operands and to
say whether the reference engine falls into it too.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from lstmcore.arrays import Array, dtype_name, namespace, to_numpy
from lstmcore.debug.record import Run, Upstream, Visit, record
from lstmcore.debug.step_back import step_back
from lstmcore.layers import Layer
from lstmcore.ops import gates
from lstmcore.ops.recurrence import reference
from lstmcore.ops.recurrent import project


class Trip(NamedTuple):
    """Where it happened first. What does not apply is None."""

    phase: str  # "forward", "backward" or "loss"
    layer: str  # the name of the layer, "" if there is but one
    direction: str | None
    what: str  # the array: "x", "W_hh", "a", "gates", "c", "dh", "dW_ih", ...
    step: int | None  # of the input
    row: int | None
    gate: str | None
    unit: int | None
    value: float
    operands: dict[str, float]  # what it was computed from, by name
    why: str  # in words


@dataclass(frozen=True)
class Tripwire:
    """The answer: `ok`, or the first trip. Prints as text."""

    trip: Trip | None
    finite: dict[str, np.ndarray] = field(default_factory=dict)  # layer -> (T, B) bool: all of its states and gates are

    @property
    def ok(self) -> bool:
        """True if every number is finite."""
        return self.trip is None

    @property
    def findings(self) -> tuple[str, ...]:
        """The answer in words."""
        if self.trip is None:
            return ("every number is finite, forward and backward",)
        t = self.trip
        where = [f"{t.phase} pass"]
        where += [f"layer {t.layer}"] if t.layer else []
        where += [t.direction] if t.direction else []
        where += [
            f"{name} {value}"
            for name, value in (("step", t.step), ("row", t.row), ("gate", t.gate), ("unit", t.unit))
            if value is not None
        ]
        return (f"{t.what} is {_spelled(t.value)} first in the {', '.join(where)}: {t.why}",)

    def __str__(self) -> str:
        lines = list(self.findings)
        if self.trip is not None:
            width = max((len(name) for name in self.trip.operands), default=0)
            lines += [f"  {name:<{width}}  {value:+.9g}" for name, value in self.trip.operands.items()]
        return "\n".join(lines)

    def picture(self) -> Any:
        """A map per recurrent layer: which steps of which rows are finite. Needs matplotlib; returns its Figure."""
        from lstmcore.debug.picture import panels

        figure, axes = panels(len(self.finite))
        for axis, (name, finite) in zip(axes, self.finite.items()):
            axis.imshow(finite.T, aspect="auto", interpolation="nearest", cmap="RdYlGn", vmin=0, vmax=1)
            axis.set(title=f"{name or 'the layer'}: finite (green) or not (red)", xlabel="step", ylabel="row")
        return figure


def tripwire(
    layer: Layer,
    x: Array,
    dy: Upstream = None,
    *,
    state: Any = None,
    mask: Array | None = None,
    dstate: Any = None,
    dropout_seed: int | None = None,
    seed: int | None = 0,
) -> Tripwire:
    """Finds the first NaN, infinity or overflow of one training step.

    Arguments as in `ledger`. Padding is not looked at: it may hold anything. Cost where nothing is wrong: a look at
    every number, well below one further forward + backward pass. Raises whatever the layer raises for bad input.
    """
    return tripwire_of(
        record(layer, x, dy, state=state, mask=mask, dstate=dstate, dropout_seed=dropout_seed, seed=seed)
    )


def tripwire_of(run: Run) -> Tripwire:
    """The tripwire over a training step that was recorded."""
    with np.errstate(all="ignore"):
        trip = next(_search(run), None)
        if trip is None:
            return Tripwire(None)
        finite = {
            visit.name: to_numpy(visit.in_time(_finite(visit.cache.gates, (2, 3))))
            & np.all([to_numpy(visit.in_time(_finite(s[1:, ...], (2,)))) for s in visit.cache.states], axis=0)
            for visit in run.visits
            if visit.recurrent
        }
        return Tripwire(trip, finite)


def _search(run: Run) -> Iterator[Trip]:
    for visit in run.visits:
        yield from _given(visit)
        if visit.recurrent:
            yield from _steps_forward(visit)
        else:
            yield from _output(visit)
    if run.loss is not None and not np.isfinite(float(run.loss)):
        yield Trip(
            "loss",
            "",
            None,
            "loss",
            None,
            None,
            None,
            None,
            float(run.loss),
            {},
            "every output is finite: the loss itself overflows, or takes the logarithm of zero",
        )
    for k in run.back:
        yield from _back(run.visits[k])


def _given(visit: Visit) -> Iterator[Trip]:
    """Weights, inputs, initial states."""
    for name in visit.layer.params:
        weight = visit.layer.params[name]
        at = _first(weight)
        if at is not None:
            gate, unit = _column(visit, name, at[-1])
            seen = _first(visit.cache.gates) if visit.recurrent else _first(visit.y, visit.mask)
            step, row = (None, None) if seen is None or len(seen) < 3 else (visit.step(seen[0]), seen[1])
            yield _trip(
                visit,
                "forward",
                visit.key(name),
                weight[at],
                "the weight itself is not finite",
                step=step,
                row=row,
                gate=gate,
                unit=unit,
                operands={f"{name}{list(at)}": weight[at]},
            )
    x = visit.x
    if dtype_name(x.dtype).startswith(("float", "complex")):
        at = _first(x, visit.mask)
        if at is not None:
            yield _at(visit, "forward", "x", x, at, "the input is not finite", {f"x[..., {at[-1]}]": x[at]})
    for s, name in zip(visit.state or (), ("h0", "c0")):
        at = _first(s)
        if at is not None:
            yield _trip(
                visit,
                "forward",
                name,
                s[at],
                "the initial state is not finite",
                row=at[0],
                unit=at[1],
                operands={name: s[at]},
            )


def _output(visit: Visit) -> Iterator[Trip]:
    at = _first(visit.y, visit.mask)
    if at is not None:
        why = f"its input and weights are finite: {visit.layer!r} overflows {dtype_name(visit.y.dtype)}"
        yield _at(visit, "forward", "y", visit.y, at, why, {"y": visit.y[at]})


def _steps_forward(visit: Visit) -> Iterator[Trip]:
    """The pre-activations, gates and states of a recurrent layer: the earliest step in which any is not finite."""
    layer: Any = visit.layer
    cell, cache = layer.cell, visit.cache
    found = [(at[0], 1, "gates", at) for at in [_first(cache.gates)] if at is not None]
    for name, s in zip(cell.states, cache.states):
        at = _first(s[1:, ...])
        if at is not None:
            found.append((at[0], 3 if name == "h" else 2, name, at))
    if found or _may_overflow(visit):
        at = _first(_pre_activations(visit))
        if at is not None:
            found.append((at[0], 0, "a", at))
    if not found:
        return
    t, _, what, at = min(found)
    row, unit = at[1], at[-1]
    gate = cell.gates[at[2]] if len(at) == 4 else None
    value = {"a": lambda: _pre_activations(visit)[at], "gates": lambda: cache.gates[at]}.get(
        what, lambda: cache.states[cell.states.index(what)][1:, ...][at]
    )()
    twin = reference.forward(  # the step alone, from the last good state
        cell,
        cache.x[t : t + 1, row : row + 1, ...],
        layer.params,
        tuple(s[t, row : row + 1, ...] for s in cache.states),
        None,
    )
    same = not np.isfinite(to_numpy(twin.gates)).all() or not all(np.isfinite(to_numpy(s)).all() for s in twin.states)
    why = {
        "a": f"the products overflow {dtype_name(cache.x.dtype)}, or infinities of both signs meet",
        "gates": "all that goes into the gate is finite",
        "c": "the old state and the gates are finite, their sum of products is not",
        "h": "the state is finite, the output is not",
    }[what]
    if what != "a" and not same:
        why += f"; the reference engine computes this step without it: the engine {cache.engine!r} is wrong here"
    yield _trip(
        visit,
        "forward",
        what,
        value,
        why,
        step=visit.step(t),
        row=row,
        gate=gate,
        unit=unit,
        operands=_operands_forward(visit, t, row, unit, gate),
    )


def _operands_forward(visit: Visit, t: int, row: int, unit: int, gate: str | None) -> dict[str, float]:
    """What step t computes this unit of this row from: inputs, products, old states, gates, new states."""
    layer: Any = visit.layer
    cell, cache = layer.cell, visit.cache
    x_t, h_prev = cache.x[t, row, :], cache.states[0][t, row, :]
    found: dict[str, Any] = {"max |x_t|": abs(x_t).max(), "max |h_prev|": abs(h_prev).max()}
    for name, blocks, factor in (("W_ih", cell.input_blocks, x_t), ("W_hh", cell.recurrent_blocks, h_prev)):
        product = gates.split(factor @ layer.params[name], len(blocks))
        for k, values in zip(blocks, product):
            if gate is None or cell.gates[k] == gate:
                found[f"{'x_t' if name == 'W_ih' else 'h_prev'} {name}, {cell.gates[k]}"] = values[unit]
    for name, blocks in cell.biases.items():
        for k, values in zip(blocks, gates.split(layer.params[name], len(blocks))):
            if gate is None or cell.gates[k] == gate:
                found[f"{name}, {cell.gates[k]}"] = values[unit]
    for k, name in enumerate(cell.gates):
        found[name] = cache.gates[t, row, k, unit]
    for name, s in zip(cell.states, cache.states):
        found |= {f"{name}_prev": s[t, row, unit], name: s[t + 1, row, unit]}
    return {name: float(value) for name, value in found.items()}


def _may_overflow(visit: Visit) -> bool:
    """Can a pre-activation be infinite behind a finite gate? sum |x| |W| is at most max|x| max_j sum_i |W_ij|."""
    layer: Any = visit.layer
    xp, cache = namespace(visit.cache.x), visit.cache
    sizes = [float(xp.max(xp.abs(cache.x))), float(xp.max(xp.abs(cache.states[0])))]
    columns = [float(xp.max(xp.sum(xp.abs(layer.params[name]), axis=0))) for name in ("W_ih", "W_hh")]
    most = float(np.finfo(dtype_name(cache.x.dtype)).max)
    biases = sum(float(xp.max(xp.abs(layer.params[name]))) for name in layer.cell.biases)
    return not sum(a * b for a, b in zip(sizes, columns)) + biases < most / 2


def _pre_activations(visit: Visit) -> Array:
    """(T, B, K, H), computed again from the cache's states; zero at masked steps."""
    layer: Any = visit.layer
    cache, xp = visit.cache, namespace(visit.cache.x)
    h_prev = cache.states[0][:-1, ...]
    product = xp.reshape(h_prev, (-1, h_prev.shape[-1])) @ layer.params["W_hh"]
    a = gates.add(
        project(layer.cell, cache.x, layer.params),
        layer.cell.recurrent_blocks,
        xp.reshape(product, (*h_prev.shape[:2], -1)),
    )
    return a if cache.mask is None else xp.where(cache.mask[..., None, None], a, xp.zeros_like(a))


def _back(visit: Visit) -> Iterator[Trip]:
    """Upstream gradients, then results; where a result of a recurrent layer is not finite, the loop back by steps."""
    dy: Any = visit.dy
    at = _first(dy, visit.mask if dy is not None and dy.ndim == 3 else None)
    if at is not None:
        yield _at(visit, "backward", "dy", dy, at, "the upstream gradient is not finite", {"dy": dy[at]})
    for name, d in zip(("dh_last", "dc_last"), visit.dstate or ()):
        at = _first(d)
        if at is not None:
            yield _trip(
                visit,
                "backward",
                name,
                d[at],
                "the gradient of the final state is not finite",
                row=at[0],
                unit=at[1],
                operands={name: d[at]},
            )
    results = {f"d{visit.key(name)}": g for name, g in visit.grads.items()}
    results |= {} if visit.dx is None else {"dx": visit.dx}
    if visit.recurrent:
        results |= dict(zip(("dh0", "dc0"), visit.dstate0))
    bad = {name: at for name, value in results.items() for at in [_first(value)] if at is not None}
    if not bad:
        return
    if visit.recurrent:
        yield from _steps_back(visit)
    name, at = next(iter(bad.items()))
    gate, unit = _column(visit, name.rsplit(".", 1)[-1].removeprefix("d"), at[-1])
    why = "every gradient of a pre-activation is finite in array code: a sum over steps and rows overflows"
    if name == "dx":
        why = f"what it is a product of is finite: it overflows {dtype_name(results[name].dtype)}"
    value: Any = results[name][at]
    yield _trip(visit, "backward", name, value, why, gate=gate, unit=unit, operands={name: value})


def _steps_back(visit: Visit) -> Iterator[Trip]:
    """The latest step, which is the first on the way back, at which a gradient is not finite."""
    layer: Any = visit.layer
    cell, cache = layer.cell, visit.cache
    back = step_back(visit)
    da = [slope.da * d[:, :, None, :] for slope, d in zip(back.slopes, back.arriving)]
    found = []
    for name, d in [*((f"d{name}", d) for name, d in zip(cell.states, back.dstates)), ("da", sum(da))]:
        bad = to_numpy(~namespace(d).isfinite(d))
        if bad.any():
            t = int(np.flatnonzero(bad.reshape(len(bad), -1).any(1)).max())
            at = tuple(int(i) for i in np.argwhere(bad[t])[0])
            found.append((-t, name == "da", name, d[t, ...][at], at))
    if not found:
        return
    minus_t, _, name, value, at = min(found, key=lambda f: f[:2])
    t, row, unit = -minus_t, at[0], at[-1]
    operands = {f"arriving {path}": float(d[t, row, unit]) for path, d in zip(back.paths, back.arriving)}
    operands |= {f"da_{gate}": float(sum(part[t, row, k, unit] for part in da)) for k, gate in enumerate(cell.gates)}
    operands |= {gate: float(cache.gates[t, row, k, unit]) for k, gate in enumerate(cell.gates)}
    for s, state in zip(cache.states, cell.states):
        operands |= {f"{state}_prev": float(s[t, row, unit]), state: float(s[t + 1, row, unit])}
    why = (
        "what arrives from later steps overflows: gradients explode on the way back"
        if name != "da"
        else "what arrives is finite, its product with the slope of the gate is not"
    )
    gate = cell.gates[at[1]] if name == "da" else None
    yield _trip(
        visit, "backward", name, value, why, step=visit.step(t), row=row, gate=gate, unit=unit, operands=operands
    )


def _trip(
    visit: Visit,
    phase: str,
    what: str,
    value: Any,
    why: str,
    *,
    step: int | None = None,
    row: int | None = None,
    gate: str | None = None,
    unit: int | None = None,
    operands: dict[str, Any],
) -> Trip:
    operands = {name: float(v) for name, v in operands.items()}
    direction = visit.direction if visit.recurrent else None
    return Trip(phase, visit.name, direction, what, step, row, gate, unit, float(value), operands, why)


def _at(visit: Visit, phase: str, what: str, array: Array, at: tuple[int, ...], why: str, operands: dict) -> Trip:
    """A trip in an array over (T, B, .) or (B, .)."""
    step, row = (None, at[0]) if array.ndim == 2 else (visit.step(at[0]), at[1])
    return _trip(visit, phase, what, array[at], why, step=step, row=row, unit=at[-1], operands=operands)


def _column(visit: Visit, name: str, column: int) -> tuple[str | None, int | None]:
    """The gate and unit that a column of a weight feeds."""
    if not visit.recurrent or name not in visit.layer.params:
        return None, None
    cell, H = visit.layer.cell, visit.layer.hidden_size  # type: ignore[attr-defined]
    blocks = {"W_ih": cell.input_blocks, "W_hh": cell.recurrent_blocks}.get(name) or cell.biases[name]
    return cell.gates[blocks[column // H]], column % H


def _first(array: Array | None, mask: Array | None = None) -> tuple[int, ...] | None:
    """The index of the first number, steps first, that is not finite; None where all are. Masked steps do not count."""
    if array is None:
        return None
    xp = namespace(array)
    if bool(xp.isfinite(xp.sum(array))):  # one pass and no memory; a sum is finite only if its terms are
        return None
    bad = ~xp.isfinite(array)
    if mask is not None:
        bad = bad & xp.reshape(mask, (*mask.shape, *(1,) * (array.ndim - mask.ndim)))
    where = np.argwhere(to_numpy(bad))
    return tuple(int(i) for i in where[0]) if len(where) else None


def _finite(array: Array, axes: tuple[int, ...]) -> Array:
    return namespace(array).all(namespace(array).isfinite(array), axis=axes)


def _spelled(value: float) -> str:
    return "NaN" if np.isnan(value) else f"{'-' if value < 0 else ''}infinity" if np.isinf(value) else f"{value:g}"
