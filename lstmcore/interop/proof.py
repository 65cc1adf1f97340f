"""Was it read right? Both sides run on the same random input, in float64 where the other side can."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lstmcore.layers import Embedding, Layer
from lstmcore.layers.tree import leaves

T, B = 7, 3
LENGTHS = np.array([5, T, 1])
ROUNDINGS = 4096  # units of rounding, as in debug.gradcheck


class Proof(NamedTuple):
    """What came of it: `error`, the largest difference beside the largest output; None where nothing was run."""

    error: float | None
    words: str

    def __str__(self) -> str:
        return f"unproved: {self.words}" if self.error is None else f"proved: {self.words}, equal to {self.error:.1e}"


class Differs(ValueError):
    """Both sides ran, and what they gave is not the same."""


def inputs(model: Layer) -> np.ndarray:
    """Random input for a model: (T, B, I) in its dtype, or classes (T, B)."""
    rng = np.random.default_rng(0)
    first = next(leaf for _, leaf in leaves(model) if leaf.params)
    if isinstance(first, Embedding):
        return rng.integers(0, first.classes, (T, B))
    W = next(iter(first.params.values()))  # (I, ...)
    return rng.standard_normal((T, B, len(W))).astype(W.dtype)


def compare(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray], eps: float) -> float:
    """The largest difference beside the largest value. Raises Differs if it is more than rounding."""
    worst = 0.0
    for a, b in zip(ours, theirs, strict=True):
        if a.shape != b.shape:
            raise Differs(f"shapes {a.shape} here and {b.shape} there")
        scale = max(float(np.max(np.abs(b), initial=0)), 1e-30)
        worst = max(worst, float(np.max(np.abs(a - b), initial=0)) / scale)
        if np.isnan(a).any() or np.isnan(b).any():
            raise Differs("NaN in the outputs")
    if worst > ROUNDINGS * eps:
        raise Differs(f"outputs differ by {worst:.1e} of the largest")
    return worst
