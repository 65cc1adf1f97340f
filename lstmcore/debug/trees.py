"""Nested tuples of arrays, as the states of containers are, and the names of what is in them."""

from collections.abc import Callable, Iterator
from typing import Any

from lstmcore.arrays import Array, Dtype, State, is_array
from lstmcore.layers.tree import Names


def cast(tree: "State | Array | None", dtype: Dtype) -> Any:
    """Floating and complex arrays of a nested tuple in another dtype; integers stay indices."""
    return tree_map(lambda a: a.astype(dtype) if a.dtype.kind in "fc" else a, tree)


def tree_map(function: Callable[..., object], tree: "State | Array | None") -> Any:
    """The tree of nested tuples with every array replaced; None stays."""
    if tree is None or is_array(tree):
        return None if tree is None else function(tree)
    return tuple(tree_map(function, part) for part in tree)


def leaves(tree: "State | Array | None") -> Iterator[Array]:
    """The arrays of a nested tuple, in order."""
    if is_array(tree):
        yield tree
    elif tree is not None:
        for part in tree:
            yield from leaves(part)


def named(tree: "State | Array | None", names: Names) -> dict[str, Array]:
    """The arrays of a nested tuple by the names in another. Raises ValueError for arrays without names."""
    if is_array(tree):
        return {str(names): tree}
    if tree is None or (isinstance(tree, tuple) and not tree):
        return {}
    if names is None or len(names) != len(tree):
        raise ValueError(f"a layer with a state should name its arrays in `states`; {len(tree)} have no names")
    return {name: array for part, inside in zip(tree, names) for name, array in named(part, inside).items()}


def gradient_of(name: str) -> str:
    """The name of a parameter's gradient: "0.fw.W_hh" -> "0.fw.dW_hh"."""
    head, dot, last = name.rpartition(".")
    return f"{head}{dot}d{last}"
