"""Which mistakes of the catalogue could have been made in a case, and those whose number the case itself suggests."""

import numpy as np

from lstmcore.debug.case import Case
from lstmcore.debug.diagnose.trial import Bench
from lstmcore.debug.mistakes import (
    CLIPPED,
    ENGINE,
    LSTM,
    MISTAKES,
    VARIANT_MISTAKES,
    Mistake,
    clipped,
    cut,
    is_ahead,
    truncated,
)
from lstmcore.debug.mistakes.around_layers import clipped_by_value, scaled
from lstmcore.debug.mistakes.dropout import drawn_anew
from lstmcore.debug.mistakes.wild import clipped_arrays, decayed
from lstmcore.interop import LAYOUTS

GOLDEN = (5**0.5 - 1) / 2


def suspects(case: Case) -> list[Mistake]:
    """The mistakes of the catalogue that this case has room for."""
    have = _properties(case)
    every = (*MISTAKES, *VARIANT_MISTAKES)
    return [m for m in every if m.cell in (None, case.cell) and have.issuperset(m.needs)]


def forgotten(function: Mistake) -> Mistake | None:
    """Another function whose way back is still that of the plain one; None if nothing changed there."""
    ahead = [is_ahead(edit) for edit in function.edits]
    if all(ahead) or not any(ahead):
        return None
    name = function.name.replace(", forward and backward", "")
    return function.only(is_ahead)._replace(name=f"{name}, but the way back is that of the plain step")


def in_layers(known: list[Mistake], layers: tuple[str, ...]) -> list[Mistake]:
    """What an engine can get wrong, made in one layer of several alone."""
    return [m.only_in(layer) for layer in layers for m in known if all(e.module in ENGINE for e in m.edits)]


def truncations(case: Case) -> list[Mistake]:
    """Backpropagation cut off after k steps, and every k steps, for every k that a sequence so long leaves open."""
    kinds = ("dh and dc", "dh", "dc") if case.cell == "lstm" else ("dh and dc",)
    known = {mistake.name for mistake in MISTAKES}
    made = [make(k, what) for what in kinds for make in (truncated, cut) for k in range(1, len(case.x))]
    return [mistake for mistake in made if mistake.name not in known]


def fitted(case: Case, right: dict[str, np.ndarray]) -> list[Mistake]:
    """What is read off the gradients: the best factor, for all and each; the largest number; where dx was dropped."""
    made = []
    weights = tuple(key for key in case.grads if key in case.weights)
    groups = dict.fromkeys((tuple(case.grads), weights, *((key,) for key in case.grads)))
    for keys in filter(None, groups):
        product = sum(np.vdot(case.grads[key], right[key]) for key in keys)
        square = sum(np.vdot(right[key], right[key]) for key in keys)
        if square > 0 and product != 0:
            made.append(scaled(float(product / square), keys if len(keys) < len(case.grads) else ()))
    for keys in filter(None, dict.fromkeys((weights, *((key,) for key in weights)))):
        rate = sum(np.vdot(case.grads[key] - right[key], case.weights[key]) for key in keys)
        square = sum(np.vdot(case.weights[key], case.weights[key]) for key in keys)
        if rate != 0 and square > 0:
            made.append(decayed(float(rate / square), keys if keys != weights else ()))
    if weights:
        for how, size in (("value", np.max), ("norm", np.linalg.norm)):
            limit = max(float(size(np.abs(case.grads[key]))) for key in weights)
            if 0 < limit < max(float(size(np.abs(right[key]))) for key in weights):
                made.append(clipped_arrays(limit, how))
    limit = max(float(np.max(np.abs(value), initial=0)) for value in case.grads.values())
    if limit < max(float(np.max(np.abs(right[key]), initial=0)) for key in case.grads):
        made.append(clipped_by_value(limit))
    if "x" in case.dropout and "x" in case.grads:
        made.append(drawn_anew())
    return made


def limits(bench: Bench) -> list[Mistake]:
    """Clips inside the loop, each at the limit that comes nearest: a golden-section search over its logarithm."""
    grads = bench.case.grads
    scale = {key: np.max(np.abs(value), initial=0) or 1 for key, value in grads.items()}

    def distance(what: str, logarithm: float) -> float:
        numbers = bench.numbers(clipped(what, float(np.exp(logarithm))))
        return sum(float(np.sum(((grads[key] - numbers[key]) / scale[key]) ** 2)) for key in grads)

    made = []
    for what, (module, *_) in CLIPPED.items():
        if (bench.case.cell != "lstm" or bench.case.options or bench.case.norm) and module == LSTM:
            continue
        coarse = np.log(np.geomspace(1e-3, 1e2, 16))
        seen = [distance(what, value) for value in coarse]
        at = int(np.argmin(seen))
        if seen[at] > 0.9 * seen[-1]:  # no limit is much better than hardly any
            continue
        low, high = coarse[max(at - 1, 0)], coarse[min(at + 1, 15)]
        a, b = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
        at_a, at_b = distance(what, a), distance(what, b)
        for _ in range(30):  # each point between is one of the next two: one run a turn
            if at_a < at_b:
                high, b, at_b = b, a, at_a
                a = high - GOLDEN * (high - low)
                at_a = distance(what, a)
            else:
                low, a, at_a = a, b, at_b
                b = low + GOLDEN * (high - low)
                at_b = distance(what, b)
        best = float(np.exp((low + high) / 2))
        made += [clipped(what, limit) for limit in {float(f"{best:.3g}"), best}]
    return [mistake for mistake in made if mistake not in MISTAKES]


def _properties(case: Case) -> set[str]:
    layout = LAYOUTS[case.layout] if isinstance(case.layout, str) else case.layout
    blocks = [g for part in layout.cells[case.cell] if part.of == "b" for g in part.blocks]
    H = {name.rsplit(".", 1)[0] if "." in name else "": value.shape[1] for name, value in case.state.items()}
    masks = [mask.shape for name, mask in case.dropout.items() if name != "x"]
    found = {
        case.cell: True,
        "mask": case.mask is not None and not case.mask.all(),
        "both": any("bw" in name for name in case.state),
        "square": set(H.values()) == {case.x.shape[2]} and len(H) <= 2,
        "two biases": len(set(blocks)) < len(blocks),
        "forget bias": layout.forget_bias != 0,
        "state": any(value.any() for value in case.state.values()),
        "dstate": any(value.any() for value in case.dstate.values()) or case.dy.ndim == 2,
        "final": case.dy.ndim == 2,
        "outputs": case.dy.ndim == 3,
        **{f"dropout {name}": True for name in case.dropout},
        "dropout between": any(map(str.isdigit, case.dropout)),
        "several masks": len(masks) > 1 == len(set(masks)),
        **dict.fromkeys(case.options, True),
    }
    return {name for name, true in found.items() if true}
