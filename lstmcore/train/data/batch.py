"""One batch, whole, or by its rows, of which those are read that are asked for."""

from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from itertools import starmap
from typing import NamedTuple, TypeAlias

import numpy as np

from lstmcore.arrays import Array


class Batch(NamedTuple):
    """What one update learns from."""

    x: Array  # (T, B, I), or (T, B) class indices
    targets: Array  # (B, ...), one per row; or (T, B, ...), one per step
    mask: Array | None = None  # (T, B) bool, true on real steps


Data: TypeAlias = Iterable[tuple[Array, Array] | tuple[Array, Array, Array | None]]  # a pass over it is an epoch


class Rows:
    """A batch of B rows that nobody has read yet: each rank reads its own. Whoever asks for x, targets or mask, as of a
    Batch, reads all rows."""

    def __init__(self, B: int, read: Callable[[int, int], Batch]):
        self.B: int = B
        self.read: Callable[[int, int], Batch] = read  # the rows from one to before another; C-contiguous

    @cached_property
    def whole(self) -> Batch:
        return self.read(0, self.B)

    @property
    def x(self) -> Array:
        return self.whole.x

    @property
    def targets(self) -> Array:
        return self.whole.targets

    @property
    def mask(self) -> Array | None:
        return self.whole.mask

    def __iter__(self) -> Iterator[Array | None]:
        return iter(self.whole)


def by_rows(data: Data) -> Iterator[Batch | Rows]:
    """The batches of an epoch, by rows where the data can give them so; a subclass, whose own loop may change what it
    gives, is not asked for them."""
    own = getattr(data, "by_rows", None) if type(data).__module__.startswith("lstmcore.") else None
    return starmap(Batch, data) if own is None else own()


def as_rows(batch: Batch | Rows, data: Data) -> Rows:
    """The same by rows. Where T = B leaves open whether targets are per step, `data.per_step` says so, if there is one.
    Raises ValueError for arrays that have not these rows in common."""
    if isinstance(batch, Rows):
        return batch
    x, targets, mask = [tuple(getattr(a, "shape", ())) for a in batch]
    T, B = (*x, 0, 0)[:2]
    per_step = targets[:2] == (T, B) and (T != B or getattr(data, "per_step", True))
    if len(x) < 2 or targets[per_step : per_step + 1] != (B,) or (batch.mask is not None and mask != (T, B)):
        raise ValueError(
            "ranks deal out the rows of x (T, B, ...), mask (T, B) and targets (T, B, ...) or (B, ...); got "
            f"{', '.join(map(str, (x, targets, mask)))}"
        )

    def read(first: int, end: int) -> Batch:
        return Batch(
            np.ascontiguousarray(batch.x[:, first:end, ...]),
            batch.targets[:, first:end, ...] if per_step else batch.targets[first:end, ...],
            None if batch.mask is None else np.ascontiguousarray(batch.mask[:, first:end]),
        )

    return Rows(B, read)
