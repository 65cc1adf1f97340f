"""Two layers side by side: in one call of their engine if it can run both at once, else one after the other.

Each function takes the two layers, and for each of them the arguments of its method of that name.
"""

from typing import Any

from lstmcore.layers.recurrent import Recurrent
from lstmcore.ops.recurrence import PairedEngine

Pair = tuple[Any, ...]  # two of something


def forward_both(layers: Pair, arguments: Pair) -> Pair:
    """y, final state and cache of each layer."""
    engine = _engine_for_both(layers)
    if engine is None:
        return tuple(layer.forward(*given) for layer, given in zip(layers, arguments))
    directions = tuple(layer.before_forward(*given) for layer, given in zip(layers, arguments))
    caches = engine.forward_all(layers[0].cell, directions)
    return tuple(layer.after_forward(*done) for layer, *done in zip(layers, directions, caches))


def backward_both(layers: Pair, arguments: Pair) -> Pair:
    """dx, gradient of the initial state and gradients of the parameters, of each layer."""
    engine = _engine_for_both(layers)
    if engine is None:
        return tuple(layer.backward(*given) for layer, given in zip(layers, arguments))
    directions = tuple(layer.before_backward(*given) for layer, given in zip(layers, arguments))
    return engine.backward_all(layers[0].cell, directions)


def predict_both(layers: Pair, arguments: Pair) -> Pair:
    """y and final state of each layer."""
    engine = _engine_for_both(layers)
    if engine is None:
        return tuple(layer.predict(*given) for layer, given in zip(layers, arguments))
    directions = tuple(layer.before_forward(*given) for layer, given in zip(layers, arguments))
    results = engine.predict_all(layers[0].cell, directions)
    return tuple(layer.after_predict(*result) for layer, result in zip(layers, results))


def _engine_for_both(layers: Pair) -> PairedEngine | None:
    """The engine that runs two plain recurrent layers of one cell and one width in one call; None if there is none."""
    first, second = layers
    if not (_is_plain(first) and _is_plain(second)):  # what has methods of its own must be asked itself
        return None
    engine = first.own_engine()
    alike = first.cell is second.cell and first.hidden_size == second.hidden_size and engine is second.own_engine()
    return engine if alike and hasattr(engine, "forward_all") else None


def _is_plain(layer: object) -> bool:
    """True for a recurrent layer that runs as `Recurrent` says."""
    methods = ("forward", "backward", "predict")
    return isinstance(layer, Recurrent) and all(getattr(type(layer), m) is getattr(Recurrent, m) for m in methods)
