"""What a watch on somebody's layer brings back: `watch` reads it, watch_torch.py and watch_keras.py fill it in."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np

from lstmcore.arrays import State

Notes: TypeAlias = dict[str, Any]  # of one call, by name: host arrays, and what a framework has of its own


class Call(NamedTuple):
    """One call of the watched layer, told in lstmcore's terms: time-major host arrays in float64."""

    x: np.ndarray  # (T, B, I)
    state: State | None  # as the lstmcore layer takes it
    mask: np.ndarray | None  # (T, B) bool
    y: np.ndarray  # the framework's own output, zero at padded steps
    dy: np.ndarray  # as y; zero where nothing arrived
    dstate: State | None
    dx: np.ndarray | None  # the framework's own; None where it wanted none
    dstate0: State | None


class Seen(NamedTuple):
    """What a recorder brings back."""

    layout: str  # a row of interop's table
    cell: str
    weights: Mapping[str, np.ndarray]  # under that layout's keys
    grads: Mapping[str, np.ndarray]  # the framework's, of those weights that wanted one
    calls: tuple[Call, ...]
    return_sequences: bool
    eps: float  # the rounding unit of the framework's dtype
    notes: tuple[str, ...]  # what is worth knowing
    obstacles: tuple[str, ...]  # what cannot be replayed, and why: then nothing is compared


class Recorder(Protocol):
    """What watch_torch.py and watch_keras.py give: the hooks of one framework."""

    def attach(self) -> None: ...

    def detach(self) -> None: ...

    def seen(self) -> Seen: ...
