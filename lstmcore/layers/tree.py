"""A model is a tree: containers have parts, and the leaves are the layers without any. All walks over it stand here.

A leaf is called by the names of the parts on the way to it, with dots between, as in the names of its parameters:
"0.fw". A model that is one layer is its own leaf, called "".
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

from lstmcore.arrays import Array, State
from lstmcore.layers.layer import Layer
from lstmcore.layers.params import Params

Names: TypeAlias = "str | tuple[Names, ...] | None"  # a tree like a state, that holds the names of its arrays


def parts(layer: Layer) -> Mapping[str, Layer]:
    """The parts of a layer by name; none for a leaf, and for what has the methods of a layer alone."""
    return getattr(layer, "parts", {})


def dotted(*names: str) -> str:
    """dotted("0", "fw") is "0.fw"; empty names are left out."""
    return ".".join(filter(None, names))


def walk(layer: Layer, name: str = "") -> Iterator[tuple[str, Layer]]:
    """(name, layer) of a layer and of all that is in it, in the order of the parts."""
    yield name, layer
    for key, part in parts(layer).items():
        yield from walk(part, dotted(name, key))


def leaves(layer: Layer) -> Iterator[tuple[str, Layer]]:
    """(name, leaf), in the order of the parts."""
    return ((name, part) for name, part in walk(layer) if not parts(part))


def at(layer: Layer, name: str) -> Layer:
    """The layer called so: `at(model, "0.fw")`; the model itself is "". Raises KeyError where there is none."""
    for key in filter(None, name.split(".")):
        layer = parts(layer)[key]
    return layer


def is_flipped(layer: Layer, name: str) -> bool:
    """True if the layer called so reads time from its end: inside the backward direction of a Bidirectional, say."""
    flipped = False
    for key in filter(None, name.split(".")):
        flipped ^= key in getattr(layer, "flipped", ())
        layer = parts(layer)[key]
    return flipped


def replaced(layer: Layer, change: Callable[[str, Layer], Layer], name: str = "") -> Layer:
    """The same containers around other leaves: `change(name, leaf)` replaces each."""
    if not parts(layer):
        return change(name, layer)
    return layer.rebuilt({key: replaced(part, change, dotted(name, key)) for key, part in parts(layer).items()})


def with_params(layer: Layer, params: Mapping[str, Array]) -> Layer:
    """The same model over other arrays, which have the names of its parameters. They are not copied or checked."""

    def inside(prefix: str) -> dict[str, Array]:
        return {name.removeprefix(prefix): a for name, a in params.items() if name.startswith(prefix)}

    twin = (
        layer.rebuilt({key: with_params(part, inside(f"{key}.")) for key, part in parts(layer).items()})
        if parts(layer)
        else copy.copy(layer)
    )
    twin.params = Params({name: params[name] for name in layer.params})
    return twin


def caches(cache: object) -> Iterator[object]:
    """The caches of the leaves in the cache of a model, in the order of `leaves`."""
    if not hasattr(cache, "parts"):
        yield cache
    for part in getattr(cache, "parts", ()):
        yield from caches(part)


def engine(cache: object) -> str:
    """Which engine ran, by the cache of a model: "fused-cpu"; several names where parts of it ran on several."""
    return ", ".join(dict.fromkeys(part.engine for part in caches(cache) if hasattr(part, "engine")))


def by_leaf(layer: Layer, state: State | Array | None) -> Iterator[State | Array | None]:
    """The state of each leaf in the state of a model, in the order of `leaves`; None where there is none."""
    if not parts(layer):
        yield state
    for k, part in enumerate(parts(layer).values()):
        yield from by_leaf(part, state and state[k])


def state_names(layer: Layer, name: str = "") -> Names:
    """The names of the arrays of the model's state: ("h0", "c0"), or (("0.h0", "0.c0"), None), ..."""
    if parts(layer):
        return tuple(state_names(part, dotted(name, key)) for key, part in parts(layer).items())
    return tuple(dotted(name, f"{state}0") for state in getattr(layer, "states", ())) or None
