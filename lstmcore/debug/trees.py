"""Nested tuples of arrays, as the states of containers are."""

from collections.abc import Callable, Iterator
from typing import Any

from lstmcore.arrays import Array, is_array


def cast(tree: Any, dtype: Any) -> Any:
    """Floating and complex arrays of a nested tuple in another dtype; integers stay indices."""
    return tree_map(lambda a: a.astype(dtype) if a.dtype.kind in "fc" else a, tree)


def tree_map(function: Callable, tree: Any) -> Any:
    """The tree of nested tuples with every array replaced; None stays."""
    if tree is None or is_array(tree):
        return None if tree is None else function(tree)
    return tuple(tree_map(function, part) for part in tree)


def leaves(tree: Any, names: Any = None) -> Iterator[tuple[str, Array]]:
    """(name, array) of a nested tuple; without names, the names are empty."""
    if is_array(tree):
        yield names or "", tree
    elif tree is not None:
        for k, part in enumerate(tree):
            yield from leaves(part, names[k] if names is not None else None)


def state_names(layer: Any, prefix: str = "") -> Any:
    """A tree like the layer's state that holds names: ("h0", "c0"), or with the prefixes of a container."""
    if hasattr(layer, "cell"):
        return tuple(f"{prefix}{name}0" for name in layer.cell.states)
    if hasattr(layer, "layers"):
        return tuple(state_names(part, f"{prefix}{k}.") for k, part in enumerate(layer.layers))
    if hasattr(layer, "fw"):
        return tuple(state_names(part, f"{prefix}{name}.") for name, part in (("fw", layer.fw), ("bw", layer.bw)))
    return None
