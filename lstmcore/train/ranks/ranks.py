"""One training on many ranks, by MPI: each takes its rows of every batch, and all make the same update.

Data-parallel training. Rows of a batch meet in the sum of the gradients alone, so every rank computes that of its rows,
times how many valid items it is a mean over; one exchange adds these sums and the counts, and their quotient is the
mean over the whole batch, whatever the lengths of its rows. All ranks then hold the same gradient and take the same
step; nothing else is sent.

A sum depends on its order. An exact one fixes it: the rows are cut into as many shares, whatever the number of ranks,
and the gradients of the shares are added in pairs, pairs of pairs, and so on. A rank holds a whole branch of that tree,
so the bits are the same on 1, 2, 4, ... ranks, up to the number of shares.
"""

import math
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from contextlib import contextmanager, suppress
from typing import Any, TypeAlias, TypeVar

import numpy as np

from lstmcore.arrays import Array, is_array, library_name
from lstmcore.layers import BatchFirst, Layer
from lstmcore.layers.tree import walk
from lstmcore.train.ranks.checksum import digest
from lstmcore.train.ranks.pulse import PATIENCE, Pulse, end_all

Value = TypeVar("Value")
# sums over items: (losses, items), and the gradients in one row; in evaluation losses and metrics, and how many items
Part: TypeAlias = tuple[np.ndarray, np.ndarray]


FULL = 96  # rows of a share, for which products run about as well as for the whole batch (docs/scale.md)


class Ranks:
    """The ranks of a communicator of mpi4py: `lc.fit(..., ranks=lc.Ranks(MPI.COMM_WORLD))`, the same call on each.

    exact     True: the same bits for 1, 2, 4, ... ranks, up to `shares`. False: one part for each rank and one sum of
              MPI's, which is equal to rounding and spares small batches the cutting. None: exact where it costs little,
              in as many shares, 8 at most, as leave each of them 96 rows of a batch; on more ranks than these, and on
              numbers that are no power of two, as False. A batch of 400 rows: 4 shares, the same bits on 1, 2 and 4.
    shares    how many at most, a power of two.
    patience  seconds without a sign of life from a rank, after which all others end; None: they wait for ever. Signs
              come from a thread of its own, so a long update, evaluation or compilation is none.

    All ranks call `fit` with the same model, data, seeds and callbacks: what differs is found before the first update.
    Callbacks run on every rank, those that write files on the first alone. Raises TypeError for what is no
    communicator, ValueError for more ranks than shares, or a number of them that is no power of two, where the sum is
    to be exact.
    """

    def __init__(self, comm: Any, exact: bool | None = None, shares: int = 8, patience: float | None = PATIENCE):
        if not all(hasattr(comm, name) for name in ("rank", "size", "allgather", "Sendrecv", "Abort")):
            raise TypeError(f"`comm` should be a communicator of mpi4py, such as MPI.COMM_WORLD; got {comm!r:.80}")
        if isinstance(shares, bool) or not isinstance(shares, int) or shares < 1 or shares & (shares - 1):
            raise ValueError(f"`shares` should be a power of two; got {shares!r}")
        if patience is not None and not 1 <= patience < math.inf:
            raise ValueError(f"`patience` should be seconds, 1 or more, or None; got {patience!r}")
        self.comm: Any = comm
        self.rank: int = comm.rank
        self.size: int = comm.size
        self.most = shares
        self.want(exact)
        self.first: bool = self.rank == 0  # the one that writes and tells
        self.asked_to_end: bool = False  # here; all end together, after the update under way
        self.spare: list[np.ndarray] = []  # rows of gradients
        self.pulse: Pulse = Pulse(comm, patience)
        self.over: bool = False  # all have given up

    def want(self, exact: bool | None) -> None:
        """As `exact` above."""
        if exact not in (None, True, False):
            raise ValueError(f"`exact` should be True, False or None; got {exact!r}")
        if exact and (self.size > self.most or self.size & (self.size - 1)):
            raise ValueError(
                f"on {self.size} ranks the sum cannot be exact in {self.most} shares: start 1, 2, 4, ... up to "
                f"{self.most} ranks, or do without `exact`"
            )
        self.wanted = exact
        self._cut(self.most)

    def begin(self, model: Layer, data: Mapping[str, Iterable[Any] | None]) -> None:
        """A training of this model begins, with "batches" and "validation"; nothing of the one before is left. Raises
        ValueError for a model that ranks cannot train, TypeError for data without a length, which may end sooner on
        one rank than on another."""
        self.check(model)
        for name, part in data.items():
            if part is not None and not isinstance(part, Sized):
                raise TypeError(
                    f"on ranks `{name}` should have a length: lc.Batches or a list; got {type(part).__name__}"
                )
        self.settle(data["batches"])
        self.asked_to_end = False
        self.spare.clear()

    def settle(self, batches: object) -> None:
        """Decides about the shares of a training, by the rows of its batches, the largest where they are a list. As
        many as there may be where the batches do not tell."""
        if isinstance(batches, list | tuple):
            shapes: list[tuple[int, ...]] = [getattr(batch[0], "shape", ()) for batch in batches]
            rows = max((shape[1] for shape in shapes if len(shape) > 1), default=None)
        else:
            rows = getattr(batches, "batch_size", None)
            rows = rows and min(rows, getattr(batches, "N", rows))
        shares = self.most
        while self.wanted is None and rows is not None and shares > 1 and rows < FULL * shares:
            shares //= 2
        self._cut(shares)

    def _cut(self, shares: int) -> None:
        self.exact: bool = self.wanted is not False and self.size <= shares and not self.size & (self.size - 1)
        self.shares: int = shares if self.exact else self.size

    def __str__(self) -> str:
        if not self.exact:
            return f"{self.size} ranks of MPI, a part of every batch each: equal to rounding on another number of them"
        numbers = ", ".join(str(2**k) for k in range(self.shares.bit_length()))
        return f"{self.size} ranks of MPI, every batch in shares: {self.shares}; the same bits on {numbers}"

    @property
    def order(self) -> str:
        """Of the terms of a sum: where it is the same, the bits are."""
        return "whole" if self.shares == 1 else f"in {self.shares} {'shares' if self.exact else 'parts'}"

    def own(self, B: int) -> list[tuple[int, int]]:
        """(first row, row behind the last) of each of this rank's shares of B rows."""
        mine = range(self.rank * self.shares // self.size, (self.rank + 1) * self.shares // self.size)
        return [(k * B // self.shares, (k + 1) * B // self.shares) for k in mine]

    def total(self, parts: Iterable[Part]) -> Part:
        """The sum over all shares of all ranks, given those of this rank, in their order. Writes over them."""
        counts, row = in_pairs(parts, self.absorb)
        if self.size > 1 and self.exact:
            self._exchange(counts)
            self._exchange(row)
        elif self.size > 1:
            from mpi4py import MPI

            self.comm.Allreduce(MPI.IN_PLACE, counts, op=MPI.SUM)
            self.comm.Allreduce(MPI.IN_PLACE, row, op=MPI.SUM)
        return counts, row

    def _exchange(self, mine: np.ndarray) -> None:
        """Adds all ranks' to it, neighbours first, then neighbouring pairs (recursive doubling: Thakur et al. 2005,
        section 4.2): log2 N exchanges. a + b has the bits of b + a, so all ranks end with the same."""
        theirs, distance = self.row(mine.size, mine.dtype), 1
        while distance < self.size:
            self.comm.Sendrecv(mine, self.rank ^ distance, recvbuf=theirs, source=self.rank ^ distance)
            mine += theirs
            distance *= 2
        self.spare.append(theirs)

    def row(self, size: int, dtype: np.dtype) -> np.ndarray:
        """Memory for so many numbers; what is put into `spare` is used again."""
        for k, a in enumerate(self.spare):
            if (a.size, a.dtype) == (size, dtype):
                return self.spare.pop(k)
        return np.empty(size, dtype)

    def absorb(self, a: Part, b: Part) -> Part:
        for mine, other in zip(a, b):
            mine += other
        self.spare.append(b[1])
        return a

    def states(self, own: list[Any]) -> Any:
        """The state of the whole batch, (B, H) each, from those of the shares."""
        return _joined([state for states in self.comm.allgather(own) for state in states])

    def same(self, what: Mapping[str, object]) -> None:
        """Raises ValueError if any of the named things is not the same on all ranks."""
        with self.together():
            mine = {name: digest(value) for name, value in what.items()}
        theirs = self.comm.allgather(mine)
        for name in mine:
            odd = [rank for rank, other in enumerate(theirs) if other[name] != theirs[0][name]]
            if odd:
                self.over = True
                raise ValueError(
                    f"{name} should be the same on all ranks; on rank {', '.join(map(str, odd))} it differs from rank "
                    "0's (another file, seed or argument there?)"
                )

    @contextmanager
    def training(self) -> Iterator[None]:
        """What stands inside gives signs of life, and ends all ranks where it fails on one: the others would wait for
        ever."""
        with self.pulse.beating():
            try:
                yield
            except BaseException:
                if self.size > 1 and not self.over:
                    words = "has failed, so all end; what was saved last stands"
                    end_all(self.comm, f"rank {self.rank} of {self.size} {words}.\n{traceback.format_exc()}")
                raise

    def from_first(self, value: Value) -> Value:
        """The value that the first rank has."""
        return self.comm.bcast(value)

    @contextmanager
    def together(self) -> Iterator[None]:
        """What stands inside may fail on some ranks: then it ends on all, elsewhere by ConnectionAbortedError."""
        self.over = False  # all have come here, whatever was refused before
        try:
            yield
        except Exception as error:
            self.give_up(error)
            raise
        self._meet(None)

    def give_up(self, error: Exception) -> None:
        """At the place of the next `together`: the others hear of it."""
        if not self.over:
            with suppress(ConnectionAbortedError):
                self._meet("; ".join([*filter(None, [str(error)]), *getattr(error, "__notes__", [])]) or repr(error))

    def _meet(self, trouble: str | None) -> None:
        heard = self.comm.allgather(trouble)
        self.over = any(heard)  # nobody comes to another meeting
        for rank, words in enumerate(heard):
            if words is not None:
                raise ConnectionAbortedError(f"rank {rank} of {self.size} could not go on: {words}")

    def agreed(self, ended: str | None) -> str | None:
        """Why all end now: what the first rank with a reason says. A callback may see another clock than that of the
        other ranks, or run on one of them alone."""
        mine = ended or ("interrupted" if self.asked_to_end else None)
        return mine if self.size == 1 else next(filter(None, self.comm.allgather(mine)), None)

    def check(self, model: Layer) -> None:
        """Raises ValueError for a model that is not on a CPU, and for one whose batch is not the second axis."""
        if any(library_name(w) != "numpy" for w in model.params.values()):
            raise ValueError("ranks exchange arrays of NumPy; the model lies on a GPU (lc.to_cpu(model))")
        for name, layer in walk(model):
            if isinstance(layer, BatchFirst):
                raise ValueError(
                    f"ranks deal out the second axis, the batch; {layer!r} ({name or 'the model'}) has it first (hand "
                    "over its model and time-major arrays)"
                )


def in_pairs(parts: Iterable[Value], add: Callable[[Value, Value], Value]) -> Value:
    """((0 + 1) + (2 + 3)) + ...: the sum whose order does not depend on who holds which branch. Of 2^n parts, each
    taken when it is wanted: no more than n + 1 wait."""
    waiting: list[Value] = []
    for n, part in enumerate(parts, 1):
        while n % 2 == 0:
            part, n = add(waiting.pop(), part), n // 2
        waiting.append(part)
    (whole,) = waiting
    return whole


def rows_of_state(state: Any, first: int, end: int) -> Any:
    """Some rows of a state, (B, H) each."""
    if state is None:
        return None
    return state[first:end, ...] if is_array(state) else tuple(rows_of_state(part, first, end) for part in state)


def flat(grads: Mapping[str, Array], like: Mapping[str, Array], times: float, out: np.ndarray) -> np.ndarray:
    """The gradients of parameters like these, times a number, in one row; zeros for none."""
    for name, place in unflat(out, like).items():
        np.multiply(grads[name] if grads else 0, times, out=place)
    return out


def unflat(row: np.ndarray, like: Mapping[str, Array]) -> dict[str, Array]:
    """Arrays of the shapes of `like`, seen in the row."""
    found, at = {}, 0
    for name, w in like.items():
        found[name] = row[at : at + w.size].reshape(w.shape)
        at += w.size
    return found


def _joined(states: list[Any]) -> Any:
    """Rows of states, one below the other."""
    if states[0] is None:
        return None
    if is_array(states[0]):
        return np.concatenate(states)
    return tuple(_joined(list(parts)) for parts in zip(*states))
