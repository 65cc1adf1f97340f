"""The first number that is not finite in the forward pass of one layer."""

from collections.abc import Iterator

import numpy as np

from lstmcore.arrays import Array, dtype_name, namespace, to_numpy
from lstmcore.debug.step.rounding import factors_rounded
from lstmcore.debug.step.visits import Visit
from lstmcore.debug.tripwire.trip import Trip, column, first_bad, make_trip, trip_at
from lstmcore.ops import gates
from lstmcore.ops.recurrence import reference
from lstmcore.ops.recurrence.products import project


def given(visit: Visit) -> Iterator[Trip]:
    """Weights, inputs, initial states."""
    for name in visit.layer.params:
        weight = visit.layer.params[name]
        at = first_bad(weight)
        if at is not None:
            gate, unit = column(visit, name, at[-1])
            seen = first_bad(visit.cache.gates) if visit.recurrent else first_bad(visit.y, visit.mask)
            step, row = (None, None) if seen is None or len(seen) < 3 else (visit.step(seen[0]), seen[1])
            yield make_trip(
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
        at = first_bad(x, visit.mask)
        if at is not None:
            yield trip_at(visit, "forward", "x", x, at, "the input is not finite", {f"x[..., {at[-1]}]": x[at]})
    for s, name in zip(visit.state or (), (f"{name}0" for name in visit.layer.states)):
        at = first_bad(s)
        if at is not None:
            why = "the initial state is not finite"
            yield make_trip(visit, "forward", name, s[at], why, row=at[0], unit=at[1], operands={name: s[at]})


def output(visit: Visit) -> Iterator[Trip]:
    at = first_bad(visit.y, visit.mask)
    if at is not None:
        why = f"its input and weights are finite: {visit.layer!r} overflows {dtype_name(visit.y.dtype)}"
        yield trip_at(visit, "forward", "y", visit.y, at, why, {"y": visit.y[at]})


def steps_forward(visit: Visit) -> Iterator[Trip]:
    """The pre-activations, gates and states of a recurrent layer: the earliest step in which any is not finite."""
    layer, cache = visit.as_recurrent()
    cell = layer.cell
    found = [(at[0], 1, "gates", at) for at in [first_bad(cache.gates)] if at is not None]
    for name, s in zip(cell.states, cache.states):
        at = first_bad(s[1:, ...])
        if at is not None:
            found.append((at[0], 3 if name == "h" else 2, name, at))
    if found or _may_overflow(visit):
        at = first_bad(_pre_activations(visit))
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
    }.get(what, "the old state and the gates are finite, what the step makes of them is not")
    if what == "h" and len(cell.states) > 1:
        why = "the other states are finite, the output is not"
    if what != "a" and not same:
        fault = "rounds what it multiplies, up to infinity here" if factors_rounded(cache) else "is wrong here"
        why += f"; the reference engine computes this step without it: the engine {cache.engine!r} {fault}"
    yield make_trip(
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
    layer, cache = visit.as_recurrent()
    cell = layer.cell
    x_t, h_prev = cache.x[t, row, :], cache.states[0][t, row, :]
    found = {"max |x_t|": abs(x_t).max(), "max |h_prev|": abs(h_prev).max()}
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
    layer, cache = visit.as_recurrent()
    xp = namespace(cache.x)
    sizes = [float(xp.max(xp.abs(cache.x))), float(xp.max(xp.abs(cache.states[0])))]
    columns = [float(xp.max(xp.sum(xp.abs(layer.params[name]), axis=0))) for name in ("W_ih", "W_hh")]
    most = float(np.finfo(dtype_name(cache.x.dtype)).max)
    biases = sum(float(xp.max(xp.abs(layer.params[name]))) for name in layer.cell.biases)
    return not sum(a * b for a, b in zip(sizes, columns)) + biases < most / 2


def _pre_activations(visit: Visit) -> Array:
    """(T, B, K, H), computed again from the cache's states; zero at masked steps."""
    layer, cache = visit.as_recurrent()
    xp = namespace(cache.x)
    h_prev = cache.states[0][:-1, ...]
    product = xp.reshape(h_prev, (-1, h_prev.shape[-1])) @ layer.params["W_hh"]
    a = gates.add(
        project(layer.cell, cache.x, layer.params),
        layer.cell.recurrent_blocks,
        xp.reshape(product, (*h_prev.shape[:2], -1)),
    )
    return a if cache.mask is None else xp.where(cache.mask[..., None, None], a, xp.zeros_like(a))
