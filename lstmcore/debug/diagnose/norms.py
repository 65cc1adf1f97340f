"""Which form of layer normalisation is it? The outputs tell, or where there are none the gradients."""

from collections.abc import Mapping
from typing import NamedTuple

from lstmcore.debug.diagnose.forward import Forward
from lstmcore.debug.diagnose.program import NO_GAINS
from lstmcore.debug.diagnose.read_case import Reading
from lstmcore.debug.diagnose.trial import Bench, residual
from lstmcore.debug.mistakes import Mistake
from lstmcore.debug.mistakes.around_layers import READ_IN_ORDER
from lstmcore.debug.normed import EPS, FORMS, Form, Norm

FAR = 1e-2  # relative: another eps is nearer


class Way(NamedTuple):
    """A reading in the form that comes nearest, and the order of the gates in it."""

    distance: float
    reading: Reading
    order: tuple[Mistake, ...]


def with_forms_settled(readings: list[Reading]) -> list[Reading]:
    """Readings of arrays that hold gains, in the forms that come nearest."""
    held = [reading.case.norm for reading in readings]
    if None in held:
        return readings
    gains = [norm.gains if norm else NO_GAINS for norm in held]
    ways = [_nearest(reading, keys) for reading, keys in zip(readings, gains)]
    if min(way.distance for way in ways) > FAR:
        ways = [_nearest(reading, keys, in_order=True) for reading, keys in zip(readings, gains)]
    return [way.reading for way in sorted(ways, key=lambda way: way.distance > FAR)]


def normed_without_gains(reading: Reading) -> Way | None:
    """The form that gives these outputs where no array speaks of it; None if none does."""
    case = reading.case
    if case.cell != "lstm" or case.options or case.norm is not None or tuple(case.state) != ("h0", "c0"):
        return None
    way = _nearest(reading, NO_GAINS)
    if way.distance > FAR:
        way = _nearest(reading, NO_GAINS, in_order=True)
    return way if Forward(Bench(way.reading)).explained(*way.order) else None


def _nearest(reading: Reading, gains: Mapping[str, str], in_order: bool = False) -> Way:
    """in_order: with the gates in any order, if the names leave that open."""
    roles = set(gains.values())
    able = [form for form in FORMS if ("gamma_h" in roles) <= (form.over == "apart")]
    able = [form for form in able if bool(roles & {"gamma_c", "beta_c"}) <= bool(form.state)]
    orders = [(), *((order,) for order in READ_IN_ORDER if in_order and reading.open_order)]
    likely = able[: len(able) // len(EPS)]
    best = min((_way(reading, form, gains, order) for form in likely for order in orders), key=lambda way: way.distance)
    same = (_way(reading, form, gains, best.order) for form in able)
    return min(same, key=lambda way: way.distance)


def _way(reading: Reading, form: Form, gains: Mapping[str, str], order: tuple[Mistake, ...]) -> Way:
    norm, case = Norm(form, gains), reading.case
    model = norm.layer(case.x.shape[-1], case.state["h0"].shape[-1])
    normed = reading._replace(case=case._replace(norm=norm), model=model, function=str(form))
    bench = Bench(normed)
    forward = Forward(bench)
    if forward.seen:
        return Way(residual(forward.seen, forward.numbers(*order)), normed, order)
    return Way(residual(case.grads, bench.numbers(*order)), normed, order)
