"""What one direction of a layer hands to an engine, as one value, and memory for what it gets back.

An engine that can run both directions of a bidirectional layer at once is given two of these in one call. The end of
this file says how an engine hands them on to a kernel: the other side of ops/gpu/directions.cuh. Shapes: T time, B
batch, I input width, H hidden width.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from lstmcore.arrays import Array, namespace
from lstmcore.ops.cells import Cell
from lstmcore.ops.gpu.launch import Struct, contiguous
from lstmcore.ops.recurrence.cache import Cache
from lstmcore.ops.recurrence.products import contract

Gradients = tuple[Array, tuple[Array, ...], dict[str, Array]]  # what `backward` gives: dx, dstate0, dparams


class Forward(NamedTuple):
    """What `forward` takes beside the cell, in the seam's order; `predict` the same, but for `reuse`."""

    x: Array  # (T, B, I)
    params: Mapping[str, Array]
    state0: tuple[Array, ...]  # (B, H) each
    mask: Array | None  # (T, B) bool
    reuse: Cache | None = None  # its memory is overwritten where it fits

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        """T, B, I, H."""
        T, B, I = self.x.shape
        return T, B, I, self.state0[0].shape[-1]

    def empty(self, *shape: int) -> Array:
        """New memory, of the dtype of x and beside it."""
        return namespace(self.x).empty(shape, dtype=self.x.dtype)

    def states(self) -> tuple[Array, ...]:
        """Memory for the states, (T+1, B, H) each."""
        T, B, _, H = self.sizes
        if self.reuse is not None and self.reuse.states[0].shape == (T + 1, B, H):
            return self.reuse.states
        return tuple(self.empty(T + 1, B, H) for _ in self.state0)

    def gates(self) -> Array:
        """Memory for an LSTM's gates, (T, B, 4, H)."""
        T, B, _, H = self.sizes
        if self.reuse is not None and self.reuse.gates.shape == (T, B, 4, H):
            return self.reuse.gates
        return self.empty(T, B, 4, H)

    def outputs(self) -> tuple[Array, tuple[Array, ...]]:
        """Memory for what `predict` gives: y (T, B, H), and the final state."""
        T, B, _, H = self.sizes
        return self.empty(T, B, H), tuple(self.empty(B, H) for _ in self.state0)


class Backward(NamedTuple):
    """What `backward` takes beside the cell, in the seam's order."""

    dy: Array | None  # (T, B, H); None: nothing reaches the outputs
    dstate: tuple[Array, ...]  # (B, H) each: the gradients of the final state
    params: Mapping[str, Array]
    cache: Cache

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        """T, B, I, H."""
        T, B, I = self.cache.x.shape
        return T, B, I, self.cache.gates.shape[-1]

    def empty(self, *shape: int) -> Array:
        """New memory, of the dtype of x and beside it."""
        return namespace(self.cache.x).empty(shape, dtype=self.cache.x.dtype)

    def da(self) -> Array:
        """Memory for an LSTM's da, (T, B, 4, H): the cache keeps its own."""
        return self.empty(*self.cache.gates.shape)

    def dstate0(self) -> tuple[Array, ...]:
        """Memory for the gradients of the initial state, (B, H) each."""
        return tuple(self.empty(*d.shape) for d in self.dstate)

    def gradients(self, cell: Cell, da: Array, dstate0: tuple[Array, ...]) -> Gradients:
        """All that `backward` gives, once the loop over time has made da."""
        dx, dparams = contract(
            cell, self.cache.x, self.cache.states[0][:-1, ...], da, self.params, self.cache.dx_wanted
        )
        return dx, dstate0, dparams


def both(directions: Sequence[Struct]) -> Struct:
    """The structs of one direction or two as a kernel has them: one that runs alone stands there twice."""
    return directions[0], directions[-1]


class Strides(NamedTuple):
    """An array over (step, row, ...) as a kernel takes it: where it begins, and how many numbers on the next one is.
    Steps and rows may have any strides (flipped time is a view); one row is contiguous.
    """

    array: Array | None
    step: np.int64
    row: np.int64

    @classmethod
    def of(cls, array: Array | None) -> "Strides":
        """None stays None. An array whose last axis does not lie in a row is copied."""
        if array is None:
            return cls(None, np.int64(0), np.int64(0))
        if array.ndim > 2 and array.shape[-1] > 1 and array.strides[-1] != array.itemsize:
            array = contiguous(array)
        step, row = (np.int64(stride // array.itemsize) for stride in array.strides[:2])
        return cls(array, step, row)
