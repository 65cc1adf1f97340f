"""The first number that is not finite in the backward pass of one layer."""

from collections.abc import Iterator

from lstmcore.arrays import dtype_name
from lstmcore.debug.step.step_back import steps_back
from lstmcore.debug.step.visits import Visit
from lstmcore.debug.tripwire.trip import Trip, column, first_bad, make_trip, trip_at


def backward_pass(visit: Visit) -> Iterator[Trip]:
    """Upstream gradients, then results; where a result of a recurrent layer is not finite, the loop back by steps."""
    dy = visit.dy
    at = first_bad(dy, visit.mask if dy is not None and dy.ndim > 2 else None)
    if dy is not None and at is not None:
        yield trip_at(visit, "backward", "dy", dy, at, "the upstream gradient is not finite", {"dy": dy[at]})
    for name, d in zip((f"d{name}_last" for name in visit.layer.states), visit.dstate or ()):
        at = first_bad(d)
        if at is not None:
            why = "the gradient of the final state is not finite"
            yield make_trip(visit, "backward", name, d[at], why, row=at[0], unit=at[1], operands={name: d[at]})
    results = {f"d{visit.key(name)}": g for name, g in visit.grads.items()}
    results |= {} if visit.dx is None else {"dx": visit.dx}
    if visit.recurrent:
        results |= {f"d{name}0": d for name, d in zip(visit.layer.states, visit.dstate0 or ())}
    bad = {name: at for name, value in results.items() for at in [first_bad(value)] if at is not None}
    if not bad:
        return
    if visit.recurrent:
        yield from _steps_back(visit)
    name, at = next(iter(bad.items()))
    gate, unit = column(visit, name.rsplit(".", 1)[-1].removeprefix("d"), at[-1])
    why = "every gradient of a pre-activation is finite in array code: a sum over steps and rows overflows"
    if name == "dx":
        why = f"what it is a product of is finite: it overflows {dtype_name(results[name].dtype)}"
    value = results[name][at]
    yield make_trip(visit, "backward", name, value, why, gate=gate, unit=unit, operands={name: value})


def _steps_back(visit: Visit) -> Iterator[Trip]:
    """The latest step, which is the first on the way back, at which a gradient is not finite."""
    layer, cache = visit.as_recurrent()
    cell = layer.cell
    for step in steps_back(visit, split=False):
        da = [step.da[:, k, :] for k in range(len(cell.gates))]
        names = (*((f"d{name}", None) for name in cell.states), *(("da", gate) for gate in cell.gates))
        for (name, gate), d in zip(names, (*step.dstates, *da)):
            at = first_bad(d)
            if at is None:
                continue
            row, unit = at
            operands = {f"arriving {path.name}": d[at] for path, d in zip(step.paths, step.arriving)}
            operands |= {f"da_{gate}": block[at] for gate, block in zip(cell.gates, da)}
            operands |= {gate: cache.gates[step.t, row, k, unit] for k, gate in enumerate(cell.gates)}
            for s, state in zip(cache.states, cell.states):
                operands |= {f"{state}_prev": s[step.t, row, unit], state: s[step.t + 1, row, unit]}
            why = "what arrives from later steps overflows: gradients explode on the way back"
            if name == "da":
                why = "what arrives is finite, its product with the slope of the gate is not"
            t = visit.step(step.t)
            yield make_trip(
                visit, "backward", name, d[at], why, step=t, row=row, gate=gate, unit=unit, operands=operands
            )
            return
