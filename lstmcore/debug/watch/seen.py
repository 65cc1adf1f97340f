"""What a watch on somebody's layer brings back: the recorders of torch and Keras fill it in, `watch` reads it."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np

from lstmcore.arrays import Plain, State

Notes: TypeAlias = dict[str, np.ndarray]  # of one call: host arrays by name, "dNAME" the gradient of NAME


class Precision(NamedTuple):
    """What a number format can tell."""

    eps: float  # from 1 to the next number
    least: float  # the smallest number above 0


PRECISIONS = {
    "float64": Precision(2.0**-52, 2.0**-1074),
    "float32": Precision(2.0**-23, 2.0**-149),
    "tfloat32": Precision(2.0**-10, 2.0**-149),  # what a GPU may make of float32 inside its products
    "float16": Precision(2.0**-10, 2.0**-24),
    "bfloat16": Precision(2.0**-7, 2.0**-133),
}


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
    drawn: Mapping[str, np.ndarray] = MappingProxyType({})  # by parts, what dropout drew for their x: 0 or 1 / (1 - p)
    follows: int | None = None  # the call whose final state, unchanged, is the initial one of this


class Seen(NamedTuple):
    """What a recorder brings back."""

    layout: str  # a row of interop's table
    cell: str
    options: Plain  # of the lstmcore layer
    weights: Mapping[str, np.ndarray]  # under that layout's keys
    grads: Mapping[str, np.ndarray]  # the framework's, of those weights that wanted one
    calls: tuple[Call, ...]
    return_sequences: bool
    precision: str  # the coarsest format in which the framework computed, of `PRECISIONS`
    notes: tuple[str, ...]  # what is worth knowing
    cuts: tuple[str, ...]  # where a state went from call to call, and its gradient did not come back
    obstacles: tuple[str, ...]  # what cannot be replayed, and why: then nothing is compared


class Recorder(Protocol):
    """What the recorders of torch and Keras give: the hooks of one framework."""

    def attach(self) -> None: ...

    def detach(self) -> None: ...

    def seen(self) -> Seen: ...
