"""The state that is carried from batch to batch, as plain data: what `Run.state` holds of it.

A state is None, an array (B, H), or a tuple of states: one per state of the cell, or one per part of a container.
"""

from typing import Any

from lstmcore.arrays import Array, is_array, namespace, to_numpy


def as_plain(state: Any) -> Any:
    """The same as nested lists of numbers. Python's float holds every float32 and float64 exactly, and so does JSON."""
    if state is None:
        return None
    return to_numpy(state).tolist() if is_array(state) else [as_plain(part) for part in state]


def from_plain(plain: Any, like: Array) -> Any:
    """Undoes `as_plain`; the arrays are of the library and dtype of `like`, a parameter of the model."""
    if plain is None:
        return None
    if _is_matrix(plain):
        return namespace(like).asarray(plain, dtype=like.dtype)
    return tuple(from_plain(part, like) for part in plain)


def _is_matrix(plain: list) -> bool:
    """True for a list of rows of numbers; False for a tuple of states, which has no number so high up."""
    return isinstance(plain[0], list) and isinstance(plain[0][0], float)
