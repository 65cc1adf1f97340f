"""The first number that is not finite in the backward pass of one layer."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from lstmcore.arrays import dtype_name, namespace, to_numpy
from lstmcore.debug.record import Visit
from lstmcore.debug.step_back import step_back
from lstmcore.debug.trip import Trip, column, first_bad, make_trip, trip_at


def backward_pass(visit: Visit) -> Iterator[Trip]:
    """Upstream gradients, then results; where a result of a recurrent layer is not finite, the loop back by steps."""
    dy: Any = visit.dy
    at = first_bad(dy, visit.mask if dy is not None and dy.ndim == 3 else None)
    if at is not None:
        yield trip_at(visit, "backward", "dy", dy, at, "the upstream gradient is not finite", {"dy": dy[at]})
    for name, d in zip(("dh_last", "dc_last"), visit.dstate or ()):
        at = first_bad(d)
        if at is not None:
            yield make_trip(
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
    value: Any = results[name][at]
    yield make_trip(visit, "backward", name, value, why, gate=gate, unit=unit, operands={name: value})


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
    yield make_trip(
        visit, "backward", name, value, why, step=visit.step(t), row=row, gate=gate, unit=unit, operands=operands
    )
