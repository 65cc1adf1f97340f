"""One number that is not finite: where it stands, and what it was made of."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from lstmcore.arrays import Array, namespace, to_numpy
from lstmcore.debug.step.visits import Visit


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


def make_trip(
    visit: Visit,
    phase: str,
    what: str,
    value: Array | float,
    why: str,
    *,
    step: int | None = None,
    row: int | None = None,
    gate: str | None = None,
    unit: int | None = None,
    operands: Mapping[str, Array | float],
) -> Trip:
    numbers = {name: float(v) for name, v in operands.items()}
    direction = visit.direction if visit.recurrent else None
    return Trip(phase, visit.name, direction, what, step, row, gate, unit, float(value), numbers, why)


def trip_at(
    visit: Visit,
    phase: str,
    what: str,
    array: Array,
    at: tuple[int, ...],
    why: str,
    operands: Mapping[str, Array | float],
) -> Trip:
    """A trip in an array over (T, B, .) or (B, .)."""
    step, row = (None, at[0]) if array.ndim == 2 else (visit.step(at[0]), at[1])
    return make_trip(visit, phase, what, array[at], why, step=step, row=row, unit=at[-1], operands=operands)


def column(visit: Visit, name: str, column: int) -> tuple[str | None, int | None]:
    """The gate and unit that a column of a weight feeds."""
    if not visit.recurrent or name not in visit.layer.params:
        return None, None
    layer, _ = visit.as_recurrent()
    cell, H = layer.cell, layer.hidden_size
    blocks = cell.fed_by.get(name)
    if blocks is None:  # a matrix of the step itself
        return None, column
    return cell.gates[blocks[column // H]], column % H


def first_bad(array: Array | None, mask: Array | None = None) -> tuple[int, ...] | None:
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
