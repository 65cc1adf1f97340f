"""What an engine is: four functions, a name, and the array library that it is for.

A module is an engine if it has them, and so is an object. Shapes: T time, B batch, I input width, H hidden width.
"""

from collections.abc import Mapping
from typing import Protocol, TypeAlias

from lstmcore.arrays import Array
from lstmcore.ops.cells import Cell
from lstmcore.ops.recurrence.cache import Cache
from lstmcore.ops.recurrence.directions import Backward, Forward, Gradients


class Engine(Protocol):
    """What runs a cell over time, forward and back."""

    @property
    def NAME(self) -> str:
        """What a user calls it, and what the cache says ran."""

    @property
    def LIBRARY(self) -> str | None:
        """The array library that it is for, "numpy" or "cupy"; None: any."""

    def supports(self, cell: Cell, dtype: object) -> bool:
        """Whether it runs this cell in this dtype."""

    def forward(
        self,
        cell: Cell,
        x: Array,  # (T, B, I)
        params: Mapping[str, Array],
        state0: tuple[Array, ...],  # (B, H) each
        mask: Array | None,  # (T, B) bool
        reuse: Cache | None = None,
    ) -> Cache:
        """All steps, with everything kept that `backward` needs. Buffers of `reuse` are overwritten where they fit."""

    def predict(
        self, cell: Cell, x: Array, params: Mapping[str, Array], state0: tuple[Array, ...], mask: Array | None
    ) -> tuple[Array, tuple[Array, ...]]:
        """All steps, with nothing kept but the outputs: y (T, B, H), zero at masked steps, and the final state."""

    def backward(
        self,
        cell: Cell,
        dy: Array | None,  # (T, B, H); None: nothing reaches the outputs
        dstate: tuple[Array, ...],  # (B, H) each: the gradients of the final state
        params: Mapping[str, Array],
        cache: Cache,
    ) -> Gradients:
        """Undoes `forward`: dx (T, B, I), dstate0, and the gradient of every parameter. dx may be (0, B, I)
        where `cache.dx_wanted` is false."""


class PairedEngine(Engine, Protocol):
    """An engine that runs one direction, or both directions of a bidirectional layer at once, to the same bits."""

    def forward_all(self, cell: Cell, directions: tuple[Forward, ...]) -> tuple[Cache, ...]:
        """`forward` of each direction."""

    def predict_all(self, cell: Cell, directions: tuple[Forward, ...]) -> tuple[tuple[Array, tuple[Array, ...]], ...]:
        """`predict` of each direction."""

    def backward_all(self, cell: Cell, directions: tuple[Backward, ...]) -> tuple[Gradients, ...]:
        """`backward` of each direction, of caches that one call of `forward_all` made."""


EngineName: TypeAlias = str | Engine | None  # a name, an engine itself, or None for the best available
