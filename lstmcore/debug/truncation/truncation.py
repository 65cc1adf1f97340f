"""What truncated backpropagation through time leaves out of the gradient: a bias, the same in every update."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lstmcore.arrays import Array, State, to_numpy
from lstmcore.debug.show.page import notebook
from lstmcore.debug.show.tables import table
from lstmcore.debug.step.visits import Upstream
from lstmcore.layers import Layer
from lstmcore.train.truncated import truncated_gradients


class Row(NamedTuple):
    """One parameter."""

    name: str
    norm: float  # of the full gradient
    bias: float  # ||truncated - full|| / ||full||
    cosine: float  # between the two: 1 where truncation changes the length alone


@dataclass(frozen=True)
class Truncation:
    """The answer. Prints as a table; the last row is all parameters together."""

    k1: int
    k2: int
    rows: tuple[Row, ...]
    grads: dict[str, Array]  # the truncated gradients

    @property
    def bias(self) -> float:
        """||truncated - full|| / ||full|| over all parameters."""
        return self.rows[-1].bias

    def __str__(self) -> str:
        rows = [[r.name, f"{r.norm:.2e}", f"{r.bias:.1e}", f"{r.cosine:+.4f}"] for r in self.rows]
        title = f"every {self.k1} steps, {self.k2} steps back: {self.bias:.1e} of the full gradient is missing"
        return table(["parameter", "full", "bias", "cosine"], rows, title)

    _repr_html_ = notebook


def truncation(
    layer: Layer,
    x: Array,
    dy: Upstream,
    k1: int,
    k2: int | None = None,
    *,
    state: State | None = None,
    mask: Array | None = None,
) -> Truncation:
    """How far BPTT(k1, k2) is from the full gradient, for these weights and this sequence.

    dy as y, or a loss `y -> (value, dy)` over all steps. Other arguments, and what is raised, as for
    `lc.train.truncated_gradients`. In the layer's own dtype and on its own engine.
    """
    y, _, cache = layer.forward(x, state, mask)
    upstream = dy(y)[1] if callable(dy) else dy
    if upstream is None:
        raise TypeError("`dy` should be an array like y, or a loss y -> (value, dy); got None")
    got, _ = truncated_gradients(layer, x, upstream, k1, k2, state=state, mask=mask)
    _, _, full = layer.backward(upstream, cache)
    flat = [[to_numpy(grads[name]).ravel() for name in full] for grads in (got, full)]
    rows = [_row(*pair) for pair in zip(full, *flat)]
    rows.append(_row("all together", *map(np.concatenate, flat)))
    return Truncation(k1, k1 if k2 is None else k2, tuple(rows), got)


def _row(name: str, got: np.ndarray, full: np.ndarray) -> Row:
    got, full = got.astype(float), full.astype(float)
    norm, length = float(np.linalg.norm(full)), float(np.linalg.norm(got))
    missing = float(np.linalg.norm(got - full))
    cosine = float(got @ full) / (norm * length) if norm * length else float(norm == length)
    return Row(name, norm, missing / norm if norm else float(missing != 0), cosine)
