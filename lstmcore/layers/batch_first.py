"""The one place where the batch may come first: a wrapper around a model whose arrays are time-major."""

from collections.abc import Mapping

from lstmcore.arrays import Array, Maybe, State, is_array, namespace
from lstmcore.layers.inside import Turning, step_inside
from lstmcore.layers.layer import Layer
from lstmcore.layers.params import Params, joined
from lstmcore.layers.tree import walk


class BatchFirst(Turning):
    """The model for x (B, T, I) and mask (B, T): y (B, T, O), or (B, O) where the model gives final states.

    Keys of params "model.W_ih", ...; state: (the model's,), whose arrays are (B, H) as everywhere. Nothing is copied.
    Raises what the model raises, in its own time-major letters; ValueError for a BatchFirst within it.
    """

    def __init__(self, model: Layer):
        check_time_first("BatchFirst", model)
        self.model = model
        self.parts: Mapping[str, Layer] = {"model": model}
        self.params: Params = joined(self.parts)

    def step(self, x: Array, state: State | None = None) -> tuple[Array, State]:
        return step_inside(self, x, state)

    def _turned(self, a: Maybe) -> Maybe:
        return swapped(a)


def check_time_first(owner: str, *parts: Layer) -> None:
    """Raises ValueError where the batch comes first inside a layer that goes by time."""
    for part in parts:
        inner = next((layer for _, layer in walk(part) if isinstance(layer, BatchFirst)), None)
        if inner is not None:
            raise ValueError(
                f"{owner} takes time for the first axis, and in {inner!r} the batch is: put BatchFirst around the "
                "whole model, once"
            )


def swapped(a: Maybe) -> Maybe:
    """Batch and time exchanged, as a view. What has no two axes, the model refuses."""
    if a is None or not is_array(a) or a.ndim < 2:
        return a
    return namespace(a).permute_dims(a, (1, 0, *range(2, a.ndim)))
