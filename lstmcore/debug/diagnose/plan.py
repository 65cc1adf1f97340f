"""The way from lstmcore's gradients to a program's own arrays, found once for each layout: it only moves numbers."""

from collections.abc import Mapping
from functools import lru_cache

import numpy as np

from lstmcore import interop
from lstmcore.interop import Layout

Shapes = tuple[tuple[str, tuple[int, ...]], ...]


def from_lstmcore(
    params: dict[str, np.ndarray], layout: str | Layout, cell: str, gradients: bool, options: Mapping[str, object]
) -> dict[str, np.ndarray]:
    """As lstmcore.interop's, which it asks once where every number comes from."""
    plan = _plan(_Key(layout), cell, _shapes(params), gradients, tuple(options.items()))
    numbers = np.concatenate([value.ravel() for value in params.values()])
    return {key: numbers[places] for key, places in plan.items()}


def _shapes(params: dict[str, np.ndarray]) -> Shapes:
    return tuple((name, value.shape) for name, value in params.items())


class _Key:
    """A layout as a key: by its name, or by all that it says."""

    def __init__(self, layout: str | Layout):
        self.layout, self.text = layout, layout if isinstance(layout, str) else repr(layout)

    def __hash__(self) -> int:
        return hash(self.text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self.text == other.text


@lru_cache(maxsize=256)
def _plan(
    layout: _Key, cell: str, shapes: Shapes, gradients: bool, options: tuple[tuple[str, object], ...]
) -> dict[str, np.ndarray]:
    """Where each number of the answer stands in the parameters, one after the other."""
    counted, n = {}, 0
    for name, shape in shapes:
        size = int(np.prod(shape))
        counted[name] = np.arange(n, n + size, dtype=float).reshape(shape)
        n += size
    answer = interop.from_lstmcore(counted, layout.layout, cell, gradients=gradients, options=dict(options) or None)
    return {key: value.astype(int) for key, value in answer.items()}
