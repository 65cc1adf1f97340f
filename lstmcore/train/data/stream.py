"""One long sequence as batches that follow each other, for training with a state that is carried on.

Truncated backpropagation through time (Williams & Peng 1990): the sequence is cut into strands that are read side by
side, some steps per batch. Each batch begins where the one before ended, with its final state (`fit` with
carry_state=True); gradients end at the first step of the batch.
"""

from collections.abc import Iterator
from functools import partial

from lstmcore.arrays import Array, is_array, library_name, namespace
from lstmcore.shapes import check_size
from lstmcore.train.data.batch import Batch, Rows


class Stream:
    """The long sequence x (N, ...), with a target at each of its steps, targets (N, ...), in batches (T, B, ...).

    `batch_size` strands of N // batch_size steps; what is left over at the end, fewer than batch_size steps, is not
    read. Batch k holds steps k T to (k + 1) T of every strand, T = `steps`; the last one may be shorter. One pass of a
    `for` loop is one epoch, in the same order every time.

    `state` says where in the epoch we are, as that of `Batches`. Raises TypeError for what is no array, ValueError for
    lengths that differ and for a sequence with fewer steps than strands.
    """

    x: Array  # (N // B, B, ...), a view of what was given: strands are read when they are asked for
    targets: Array
    batch_size: int
    steps: int

    def __init__(self, x: Array, targets: Array, *, batch_size: int, steps: int):
        check_size("batch_size", batch_size)
        check_size("steps", steps)
        if not (is_array(x) and is_array(targets) and library_name(x) == library_name(targets)):
            raise TypeError(
                f"`x` and `targets` should be arrays of one library; got {type(x).__name__}, {type(targets).__name__}"
            )
        if x.ndim < 1 or targets.ndim < 1 or x.shape[0] != targets.shape[0]:
            raise ValueError(
                f"`x` and `targets` should be (N, ...), a target for each step; got {tuple(x.shape)} and "
                f"{tuple(targets.shape)}"
            )
        if x.shape[0] < batch_size:
            raise ValueError(f"`x` should have a step for each of the {batch_size} strands; got N = {x.shape[0]}")
        self.x, self.targets = _strands(x, batch_size), _strands(targets, batch_size)  # (N // B, B, ...)
        self.batch_size, self.steps = batch_size, steps
        self._position = 0  # batches handed out in the epoch under way
        self._resume = 0  # how many batches the next loop skips

    def __len__(self) -> int:
        """Batches in an epoch."""
        return -(-self.x.shape[0] // self.steps)

    def __iter__(self) -> Iterator[Batch]:
        return (rows.whole for rows in self.by_rows())

    def by_rows(self) -> Iterator[Rows]:
        """The same batches, unread."""
        first, self._resume = self._resume, 0
        self._position = first
        for k in range(first, len(self)):
            self._position = k + 1  # counted when handed out: a state saved after its update continues after it
            yield Rows(self.batch_size, partial(self._batch, k))
        self._position = 0

    def _batch(self, k: int, first: int, end: int) -> Batch:
        xp, steps = namespace(self.x), slice(k * self.steps, (k + 1) * self.steps)
        every = xp.arange(end - first)
        return Batch(*(xp.take(a[steps, first:end, ...], every, axis=1) for a in (self.x, self.targets)))

    def rewind(self) -> None:
        """Forgets a `for` loop that was left early. `fit` begins with this; a state that was assigned stays."""
        self._position = self._resume

    @property
    def state(self) -> dict[str, int]:
        """{"position": batches handed out in this epoch}; plain data."""
        return {"position": self._position}

    @state.setter
    def state(self, state: dict[str, int]) -> None:
        if set(state) != {"position"} or not 0 <= state["position"] <= len(self):
            raise ValueError(f"`state` should be the state of a stream of {len(self)} batches; got {state}")
        self._position = self._resume = state["position"]


def _strands(x: Array, B: int) -> Array:
    """(N, ...) -> (N // B, B, ...): column b is the b-th piece of the sequence."""
    xp, S = namespace(x), x.shape[0] // B
    return xp.moveaxis(xp.reshape(x[: B * S, ...], (B, S, *x.shape[1:])), 0, 1)
