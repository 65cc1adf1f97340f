"""Where does the NaN come from? The first number that is not finite, with the operands that made it.

Caches mean the same on every engine, so the search looks at what the engine itself computed: weights, inputs, gates and
states in the order of the forward pass, then upstream gradients and results in the order of the backward pass. Only
once something is found, the step is computed again in array code from the last good state, to show its operands and to
say whether the reference engine falls into it too.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Unpack

import numpy as np

from lstmcore.arrays import Array, namespace, to_numpy
from lstmcore.debug.show.page import notebook
from lstmcore.debug.show.picture import BAD, COLOURS, kinds, panels
from lstmcore.debug.step.visits import Run, StepOptions, Upstream, run_step
from lstmcore.debug.tripwire.backward import backward_pass
from lstmcore.debug.tripwire.forward import given, output, steps_forward
from lstmcore.debug.tripwire.trip import Trip, first_bad
from lstmcore.layers import Layer

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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

    def picture(self) -> "Figure":
        """A map per recurrent layer: which steps of which rows are finite. Needs matplotlib; returns its Figure."""
        figure, axes = panels(*[1.8] * len(self.finite))
        for axis, (name, finite) in zip(axes, self.finite.items()):
            kinds(axis, 1 * finite, [("not finite", BAD), ("finite", COLOURS[0])])
            axis.set_xlabel(f"step ({name or 'the layer'})")
        return figure

    _repr_html_ = notebook


def tripwire(
    layer: Layer,
    x: Array,
    dy: Upstream = None,
    **step: Unpack[StepOptions],
) -> Tripwire:
    """Finds the first NaN, infinity or overflow of one training step.

    Arguments as in `ledger`. Padding is ignored: it may hold anything. Cost where nothing is wrong: one read of every
    number, well below one further forward + backward pass. Raises whatever the layer raises for bad input.
    """
    return tripwire_of(run_step(layer, x, dy, **step))


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
    yield from _in_containers(run, "forward", "", run.layer.params, "the weight itself is not finite")
    for visit in run.visits:
        yield from given(visit)
        if visit.recurrent:
            yield from steps_forward(visit)
        else:
            yield from output(visit)
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
        yield from backward_pass(run.visits[k])
    yield from _in_containers(run, "backward", "d", run.grads, "what it is a sum of is finite: the sum overflows")


def _in_containers(run: Run, phase: str, d: str, arrays: Mapping[str, Array], why: str) -> Iterator[Trip]:
    """The weights that belong to containers themselves, or their gradients."""
    for name in run.own:
        at = first_bad(arrays.get(name))
        if at is not None:
            value, unit = float(arrays[name][at]), at[-1] if at else None
            place = name.rpartition(".")[0], None, f"{d}{name}", None, None, None, unit
            yield Trip(phase, *place, value, {f"{name}{list(at)}": value}, why)


def _finite(array: Array, axes: tuple[int, ...]) -> Array:
    return namespace(array).all(namespace(array).isfinite(array), axis=axes)


def _spelled(value: float) -> str:
    return "NaN" if np.isnan(value) else f"{'-' if value < 0 else ''}infinity" if np.isinf(value) else f"{value:g}"
