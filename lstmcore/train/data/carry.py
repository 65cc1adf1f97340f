"""The state that is carried from batch to batch, as `Run.state` holds it: on the host, in lists.

A state is None, an array (B, H), or a tuple of states: one per state of the cell, or one per part of a container.
"""

from typing import TypeAlias

import numpy as np

from lstmcore.arrays import Array, State, is_array, to_library, to_numpy

Host: TypeAlias = "np.ndarray | list[Host] | None"


def to_host(state: Array | State | None) -> Host:
    """A copy: NumPy arrays in nested lists."""
    if state is None:
        return None
    return np.array(to_numpy(state)) if is_array(state) else [to_host(part) for part in state]


def from_host(host: Host, library: str) -> State | None:
    """Undoes `to_host`; the arrays are of the named library, that of the model's parameters."""
    if host is None:
        return None
    if isinstance(host, np.ndarray):
        return to_library(np.array(host), library)  # type: ignore[return-value]
    return tuple(from_host(part, library) for part in host)
