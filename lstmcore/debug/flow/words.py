"""The flow of gradients, in words."""

from collections.abc import Iterator

import numpy as np

from lstmcore.debug.flow.measure import EDGE, LayerFlow, Update
from lstmcore.debug.show.tables import percent
from lstmcore.shapes import SWAPPED

MOST = 0.9  # of a gate's values: then the gate as a whole is called closed or open
FADED = 1e-3  # of a gradient: then nothing is learned from there
SOON = 5  # steps: what has faded by then vanishes. Fresh layers keep 0.5 to 0.9 of a gradient per step, whatever their
FAST = FADED ** (1 / SOON)  # length, trained ones 0.3 to 1.2 (benchmarks/flow_verdicts.py)
STUCK = 0.2  # of a gate's units: a few that stand at one end are how trained layers remember
STEADY = 0.02  # a gain this near to 1 is neither growth nor loss


def calm(layer: LayerFlow) -> str:
    """What is said of a layer in which nothing is wrong."""
    name = f"{layer.name}: " if layer.name else ""
    if not len(layer.linked()):
        return name + _one_step(layer)
    rate = f"{name}nothing vanishes or explodes: gradients change by {layer.rate:.2f} per step"
    if layer.reach.min() >= FADED:
        return rate
    steps = int(np.argmax(layer.reach[::-1] < FADED))
    return f"{rate}, and a thousandth is left after {steps} steps"


def _one_step(layer: LayerFlow) -> str:
    swapped = f"; {SWAPPED}" if len(layer.order) == 1 and layer.rows[0] > 1 else ""
    return f"nothing is handed on: there is but one step, and nothing is learnt about time{swapped}"


def layer_worries(layer: LayerFlow) -> Iterator[str]:
    """What is wrong in one layer."""
    name = f"{layer.name}: " if layer.name else ""
    if not all(np.isfinite(values).all() for values in layer.dstates.values()):
        yield f"{name}gradients are not finite: ask the tripwire where it begins"
        return
    told = list(_time_findings(layer))
    for gate, (bottom, _) in layer.ends.items():
        name_of_gate = layer.words[gate]
        ends = {side: layer.fraction(gate, side) for side in ("low", "high")}
        both = ends["low"] + ends["high"]
        if bottom < 0:  # a candidate, which may be of either sign
            if both > MOST:
                told.append(f"{name_of_gate} saturated: {percent(both)} of its values are beyond +-{1 - EDGE:g}")
        elif max(ends.values()) > MOST:
            closed = ends["low"] > ends["high"]
            told.append(
                f"{name_of_gate} {'closed' if closed else 'open'}: {percent(max(ends.values()))} of its values "
                f"are {'below' if closed else 'above'} {EDGE if closed else 1 - EDGE:g}"
            )
        units = layer.stuck.get(gate, np.array([]))
        if len(units) > STUCK * layer.units and both <= MOST:
            told.append(f"{name_of_gate} stuck at one end in {_units(units)}")
    if len(layer.dead):
        told.append(f"dead: no gradient reaches the weights of {_units(layer.dead)}")
    if told and len(layer.order) == 1:
        told.insert(0, _one_step(layer))
    yield from (f"{name}{line}" for line in told)


def _time_findings(layer: LayerFlow) -> Iterator[str]:
    reach, order = layer.reach, layer.order
    linked = layer.linked()
    if not len(linked):
        return
    if not (layer.gain[linked] > 0).all():
        cut = [t for t in order if t in linked and layer.gain[t] == 0]
        yield f"cut: nothing is handed on at step {cut[-1]}"
        return
    if reach.max() > 1 / FADED and layer.rate > 1 + STEADY:
        step = order[reach.argmax()]
        yield f"exploding by {layer.rate:.2g} per step: {reach.max():.1g} times as large at step {step}"
    elif reach.min() < FADED and layer.rate < FAST:
        k = int(np.flatnonzero(reach < FADED).max())
        after = order[k]
        start = [t for t in order if layer.rows[t]][-1]
        yield (
            f"vanishing: of a gradient at step {start} less than a thousandth is left at step {after}, "
            f"{abs(start - after)} steps away ({layer.rate:.2g} per step)"
        )


def update_worries(updates: tuple[Update, ...], one_step: bool = False) -> Iterator[str]:
    """What is wrong with the weights and their updates. one_step: whether the sequences have but one."""
    for u in updates:
        if u.gradient == 0:
            why = (
                " (one step from a state of zeros? then nothing is learnt about time)"
                if one_step and "W_hh" in u.name
                else ""
            )
            yield f"{u.name} has no gradient at all{why}"
        elif u.ratio is None or u.is_bias:
            continue
        elif u.weight > 0 and u.ratio > 0.1:
            yield f"{u.name} moves by {percent(u.ratio)} in one step: the rate is too high"
        elif u.weight > 0 and u.ratio < 1e-6:
            yield f"{u.name} hardly moves: an update is {u.ratio:.0e} of it"


def _units(units: np.ndarray) -> str:
    shown = ", ".join(map(str, units[:8])) + (", ..." if len(units) > 8 else "")
    return f"{len(units)} unit{'s' if len(units) > 1 else ''} ({shown})"
