"""What a forward pass keeps for its backward pass. The fields mean the same on every engine."""

from typing import Any, NamedTuple

from lstmcore.arrays import Array


class Cache(NamedTuple):
    """Nothing in it is changed by a backward pass: backward twice gives the same answer."""

    x: Array  # (T, B, I) inputs, zero at masked steps
    states: tuple[Array, ...]  # one (T+1, B, H) per state of the cell; row 0 is the initial state
    gates: Array  # (T, B, K, H) activated gates in the cell's order, zero at masked steps
    mask: Array | None  # (T, B) bool
    engine: str  # the engine that ran
    private: object = None  # what that engine alone understands (packed weights, row order)
    owner: object = None  # the layer whose forward made it; no other layer may use it
    y: Array | None = None  # (T, B, H) outputs, zero at masked steps; None where states[0][1:] is still to be masked
    seen: Any = None  # what that forward pass has seen, for its backward pass to compare (layers/seen.py)
    dx_wanted: bool = True  # False: a backward pass may give dx (0, B, I) (layers/without_dx.py)
