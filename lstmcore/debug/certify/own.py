"""lstmcore's own layers on a case of the pack."""

from typing import Any

import numpy as np

from lstmcore.arrays import Plain
from lstmcore.debug.certify.pack import Golden
from lstmcore.layers import GRU, LSTM, RNN, Bidirectional, Layer, Reversed, Stack
from lstmcore.ops.recurrence import EngineName

NUMBERS = {"fw": 0, "bw": -1}  # of the two directions, or of the one that is turned
KINDS = {"lstm": LSTM, "gru": GRU, "rnn": RNN}


def layer_of(case: Golden, dtype: str = "float64", engine: EngineName = None) -> Layer:
    """The layer, with its weights."""
    options: Plain = {name: tuple(v) if isinstance(v, list) else v for name, v in case.options.items()}

    def one(layer: int) -> Layer:
        wide = 2 if case.direction == "bidirectional" and case.topology != "towers" else 1
        width = case.I if layer == 0 else case.width * wide
        return KINDS[case.cell](width, case.H, dtype=dtype, engine=engine, **options)

    def both_ways(layer: int) -> Layer:
        if case.direction == "bidirectional":
            return Bidirectional(one(layer), one(layer))
        return Reversed(one(layer)) if case.direction == "reverse" else one(layer)

    def tower() -> Layer:
        return Stack([one(layer) for layer in range(case.layers)])

    if case.topology == "towers":
        model: Layer = Bidirectional(tower(), tower())
    else:
        model = both_ways(0) if case.layers == 1 else Stack([both_ways(layer) for layer in range(case.layers)])
    for place in case.places:
        for name, w in case.part("weights", place).items():
            model.params[_prefix(case, place) + name] = w.astype(dtype)
    return model


def answer(case: Golden, model: Layer, dtype: str = "float64", backward: bool = True) -> dict[str, np.ndarray]:
    """Forward and backward of the case on the model: everything in `case.results`, under the same names.

    backward: False gives the outputs alone.
    """
    y, state, cache = model.forward(case.x.astype(dtype), state_tree(case, "state0", dtype), mask=case.mask)
    found: Plain = {"y": y} | _by_name(case, "state", state)
    if not backward:
        return found
    dy = None if case.dy is None else case.dy.astype(dtype)
    dx, dstate0, grads = model.backward(dy, cache, state_tree(case, "dstate", dtype))
    found |= {"dx": dx} | _by_name(case, "dstate0", dstate0)
    for place in case.places:
        for name in case.part("weights", place):
            found[f"dweights/{place}.{name}"] = grads[_prefix(case, place) + name]
    return found


def _by_name(case: Golden, group: str, tree: Any) -> dict[str, np.ndarray]:
    """A state of the model, as it nests, by the names of the pack."""
    found: dict[str, np.ndarray] = {}
    for place in case.places:
        leaf = tree
        for part in _path(case, place):
            leaf = leaf[NUMBERS[part] if part in NUMBERS else int(part)]
        found |= {f"{group}/{place}.{name}": s for name, s in zip(case.states, leaf)}
    return found


def _path(case: Golden, place: str) -> tuple[str, ...]:
    """Where the layer of a place stands in the model: the names of the parts on the way."""
    layer, way = place.split(".")
    if case.topology == "towers":
        return way, layer
    inside = {"forward": (), "reverse": ("bw",), "bidirectional": (way,)}[case.direction]
    return inside if case.layers == 1 else (layer, *inside)


def _prefix(case: Golden, place: str) -> str:
    return "".join(f"{part}." for part in _path(case, place))


def state_tree(case: Golden, group: str, dtype: str = "float64") -> Any:
    """A state of the model, as it nests; None where the case gives none."""
    if not case.part(group):
        return None

    def nested(prefix: tuple[str, ...]) -> Any:
        here = [place for place in case.places if _path(case, place)[: len(prefix)] == prefix]
        if _path(case, here[0]) == prefix:
            given = case.part(group, here[0])
            return tuple(given[name].astype(dtype) for name in case.states)
        parts = dict.fromkeys(_path(case, place)[len(prefix)] for place in here)
        return tuple(nested((*prefix, part)) for part in parts)

    return nested(())
