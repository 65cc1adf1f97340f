"""One training on many ranks, by MPI: each takes its rows of every batch, and all make the same update.

Data-parallel training. Rows of a batch meet in the sum of the gradients alone, so every rank computes that of its rows,
times how many valid items it is a mean over; one exchange adds these sums and the counts, and their quotient is the
mean over the whole batch, whatever the lengths of its rows. All ranks then hold the same gradient and take the same
step; nothing else is sent.

A sum depends on its order. `exact` fixes it: the rows are cut into `shares` parts, whatever the number of ranks, and
the gradients of the parts are added in pairs, pairs of pairs, and so on. A rank holds a whole branch of that tree, so
the bits are the same on 1, 2, 4, ... up to `shares` ranks.
"""

import hashlib
import math
import operator
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from lstmcore.arrays import Array, is_array, library_name, to_numpy
from lstmcore.layers import BatchFirst, Layer
from lstmcore.layers.tree import walk

Value = TypeVar("Value")


class Ranks:
    """The ranks of a communicator of mpi4py: `lc.fit(..., ranks=lc.Ranks(MPI.COMM_WORLD))`, the same call on each.

    exact     True: the same bits for 1, 2, 4, ... ranks, up to `shares`. False: one part for each rank and one sum of
              MPI's, which is equal to rounding and spares small batches the cutting.
    shares    how many parts, a power of two.

    All ranks call `fit` with the same model, data, seeds and callbacks: what differs is found before the first update.
    Callbacks run on every rank, those that write files on the first alone. Raises TypeError for what is no
    communicator, ValueError for more ranks than shares, or a number of them that is no power of two, where the sum is
    to be exact.
    """

    def __init__(self, comm: Any, exact: bool = True, shares: int = 8):
        if not all(hasattr(comm, name) for name in ("rank", "size", "allgather", "Sendrecv", "Abort")):
            raise TypeError(f"`comm` should be a communicator of mpi4py, such as MPI.COMM_WORLD; got {comm!r:.80}")
        if isinstance(shares, bool) or not isinstance(shares, int) or shares < 1 or shares & (shares - 1):
            raise ValueError(f"`shares` should be a power of two; got {shares!r}")
        self.comm: Any = comm
        self.rank: int = comm.rank
        self.size: int = comm.size
        self.exact: bool = exact
        if exact and (self.size > shares or self.size & (self.size - 1)):
            raise ValueError(
                f"on {self.size} ranks the sum cannot be exact in {shares} shares: start 1, 2, 4, ... up to {shares} "
                "ranks, say more shares, or exact=False"
            )
        self.shares: int = shares if exact else self.size
        self.first: bool = self.rank == 0  # the one that writes and tells
        self.asked_to_end: bool = False  # here; all end together, after the next exchange
        self.caches: dict[int, Any] = {}  # of each share, for their memory

    def own(self, B: int) -> list[tuple[int, int, int]]:
        """(share, first row, row behind the last) of each of this rank's shares of B rows."""
        mine = range(self.rank * self.shares // self.size, (self.rank + 1) * self.shares // self.size)
        return [(k, k * B // self.shares, (k + 1) * B // self.shares) for k in mine]

    def total(self, parts: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
        """The sum over all shares of all ranks of (counts, gradient); parts: this rank's, in their order."""
        counts, flat = (in_pairs(list(column), operator.add) for column in zip(*parts))
        if self.size == 1:
            return counts, flat
        if not self.exact:
            from mpi4py import MPI

            both = np.empty_like(counts), np.empty_like(flat)
            self.comm.Allreduce(counts, both[0], op=MPI.SUM)
            self.comm.Allreduce(flat, both[1], op=MPI.SUM)
            return both
        return self._in_pairs(counts), self._in_pairs(flat)

    def _in_pairs(self, mine: np.ndarray) -> np.ndarray:
        """The sum over all ranks, of neighbours first, then of neighbouring pairs (recursive doubling: Thakur et al.
        2005, section 4.2): log2 N exchanges. a + b has the bits of b + a, so all ranks end with the same."""
        distance = 1
        while distance < self.size:
            theirs = np.empty_like(mine)
            self.comm.Sendrecv(mine, self.rank ^ distance, recvbuf=theirs, source=self.rank ^ distance)
            mine, distance = mine + theirs, 2 * distance
        return mine

    def states(self, own: list[Any]) -> Any:
        """The state of the whole batch, (B, H) each, from those of the shares."""
        return _joined([state for states in self.comm.allgather(own) for state in states])

    def same(self, what: Mapping[str, object]) -> None:
        """Raises ValueError if any of the named things is not the same on all ranks."""
        mine = {name: digest(value) for name, value in what.items()}
        theirs = self.comm.allgather(mine)
        for name in mine:
            odd = [rank for rank, other in enumerate(theirs) if other[name] != theirs[0][name]]
            if odd:
                raise ValueError(
                    f"{name} should be the same on all ranks; on rank {', '.join(map(str, odd))} it differs from rank "
                    "0's (another file, seed or argument there?)"
                )

    def from_first(self, value: Value) -> Value:
        """The value that the first rank has."""
        return self.comm.bcast(value)

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

    def failed(self) -> None:
        """Ends all ranks, because of the exception that is under way on this one: the others would wait for ever."""
        if self.size > 1:
            print(
                f"lstmcore: rank {self.rank} of {self.size} has failed, so all end; what was saved last stands.\n"
                f"{traceback.format_exc()}",
                file=sys.stderr,
                flush=True,
            )
            self.comm.Abort(1)


class SharedDraws:
    """Draws noise for the rows of a share as for a whole batch: what N ranks draw is what one draws.

    Every share begins where the batch began. A number takes one step of PCG64, so the generator jumps over those of
    other rows (O'Neill 2014, section 4.3.1), and a rank draws no more than its own; another generator draws them all.
    """

    def __init__(self, rng: np.random.Generator, B: int):
        self.rng, self.B, self.rows = rng, B, slice(0, B)
        self.start = rng.bit_generator.state

    @property
    def bit_generator(self) -> np.random.BitGenerator:
        return self.rng.bit_generator

    def of(self, first: int, end: int) -> "SharedDraws":
        """For these rows, from the first draw on."""
        self.rng.bit_generator.state, self.rows = self.start, slice(first, end)
        return self

    def random(self, shape: tuple[int, ...]) -> np.ndarray:
        """As that of a generator: shape (..., rows, width), or (n,), which is the same for all rows."""
        if len(shape) < 2:
            return self.rng.random(shape)
        (*outer, _, width), bits = shape, self.rng.bit_generator
        if not isinstance(bits, np.random.PCG64):
            return self.rng.random((*outer, self.B, width))[..., self.rows, :]
        drawn = np.empty((math.prod(outer), self.rows.stop - self.rows.start, width))
        for part in drawn:
            bits.advance(self.rows.start * width)
            self.rng.random(out=part)
            bits.advance((self.B - self.rows.stop) * width)
        return drawn.reshape(*outer, *drawn.shape[1:])


def in_pairs(parts: list[Value], add: Callable[[Value, Value], Value]) -> Value:
    """((0 + 1) + (2 + 3)) + ...: the sum whose order does not depend on who holds which branch."""
    while len(parts) > 1:
        parts = [add(*parts[k : k + 2]) if k + 1 < len(parts) else parts[k] for k in range(0, len(parts), 2)]
    return parts[0]


def rows_of_state(state: Any, first: int, end: int) -> Any:
    """Some rows of a state, (B, H) each."""
    if state is None:
        return None
    return state[first:end, ...] if is_array(state) else tuple(rows_of_state(part, first, end) for part in state)


def flat(grads: Mapping[str, Array], names: Iterable[str], times: float) -> np.ndarray:
    """The gradients of these names, times a number, in one row."""
    return np.concatenate([(times * grads[name]).reshape(-1) for name in names])


def unflat(row: np.ndarray, like: Mapping[str, Array]) -> dict[str, Array]:
    """Undoes `flat`: arrays of the shapes of `like`, seen in the row."""
    found, at = {}, 0
    for name, w in like.items():
        found[name] = row[at : at + w.size].reshape(w.shape)
        at += w.size
    return found


def digest(value: object) -> str:
    """A checksum of arrays, plain data, and what is made of them."""
    sha = hashlib.sha256()
    _read(value, sha.update, set())
    return sha.hexdigest()


def _read(value: object, update: Callable[[bytes], None], met: set[int]) -> None:
    if is_array(value):
        host = np.ascontiguousarray(to_numpy(value))
        update(f"{host.dtype} {host.shape}".encode())
        update(host.tobytes())
    elif isinstance(value, Mapping):
        for key, part in value.items():
            update(repr(key).encode())
            _read(part, update, met)
    elif isinstance(value, list | tuple):
        for part in value:
            _read(part, update, met)
    elif value is None or isinstance(value, str | bytes | int | float | complex):
        update(repr(value).encode())
    elif isinstance(value, np.random.Generator):
        _read(value.bit_generator.state, update, met)
    elif hasattr(value, "__dict__") and id(value) not in met:
        met.add(id(value))
        update(type(value).__qualname__.encode())
        _read(vars(value), update, met)


def _joined(states: list[Any]) -> Any:
    """Rows of states, one below the other."""
    if states[0] is None:
        return None
    if is_array(states[0]):
        return np.concatenate(states)
    return tuple(_joined(list(parts)) for parts in zip(*states))
