"""Mini-batches: rows drawn without replacement, and sequences of unequal length padded to one array."""

import copy
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np

from lstmcore.arrays import Array, Plain, dtype_name, is_array, library_name, namespace, to_numpy
from lstmcore.hints import hinted
from lstmcore.layers.initialise import Seed, generator
from lstmcore.shapes import check_size
from lstmcore.train.data.batch import Batch, Rows

POOL = 32  # batches; this many are drawn before their rows are sorted by length


class Batches:
    """Mini-batches of a data set in memory; one pass of a `for` loop over it is one epoch.

    x (T, N, ...), time-major. targets (N, ...), one per row, or (T, N, ...), one per step; `per_step` says which where
    T = N leaves it open. mask (T, N) bool or None. Every epoch gives every row exactly once, in a new order; the last
    batch may be smaller. shuffle=False keeps the order, as for a validation set. With targets per step a row without a
    real step is refused (ValueError): a batch of such rows has no mean loss, and would end a training in its middle.

    bucketed=True puts rows of similar length together and cuts each batch after its last real step, which spares the
    work on padding: rows are drawn as usual, sorted by length within pools of 32 batches, and the batches come in
    random order. The length of a row ends with its last real step.

    weights (N,), not negative: an epoch is N draws with replacement, row n coming with probability weights[n] over the
    sum of all, so that rare classes can be shown more often. None: every row once.

    `state` says where in which epoch we are. Assigned to an equal data set, with the same arguments, it makes the next
    `for` loop give exactly the rest of that epoch, and all later epochs as they would have been. Without that every
    `for` loop starts a new epoch, also after one that was left early. seed: None, an int or a NumPy Generator, of which
    a child is taken (Generator.spawn): its own stream does not move.
    """

    x: Array
    targets: Array
    mask: Array | None
    batch_size: int
    shuffle: bool
    bucketed: bool

    @hinted
    def __init__(
        self,
        x: Array,
        targets: Array,
        mask: Array | None = None,
        *,
        batch_size: int,
        seed: Seed = None,
        shuffle: bool = True,
        bucketed: bool = False,
        per_step: bool | None = None,
        weights: np.ndarray | None = None,
    ):
        self.N: int = _check_data(x, targets, mask)
        check_size("batch_size", batch_size)
        if bucketed and mask is None:
            raise ValueError("`bucketed` needs a mask: without one all rows have the same length")
        self.weights: np.ndarray | None = None if weights is None else _probabilities(weights, self.N, shuffle)
        self.x, self.targets, self.mask = x, targets, mask
        self.batch_size, self.shuffle, self.bucketed = batch_size, shuffle, bucketed
        self.per_step: bool = _targets_per_step(x, targets, per_step)
        if self.per_step and mask is not None:
            _check_rows(mask, self.weights)
        self.lengths: np.ndarray | None = _lengths(mask) if bucketed and mask is not None else None  # (N,)
        self._rng = generator(seed).spawn(1)[0]  # its own, so that `state` holds no other draws
        self._epoch: Plain | None = None  # the state of an epoch under way
        self._resume = 0  # how many batches the next loop skips

    def __len__(self) -> int:
        """Batches in an epoch."""
        return -(-self.N // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        return (rows.whole for rows in self.by_rows())

    def by_rows(self) -> Iterator[Rows]:
        """The same batches, unread."""
        first, self._resume = self._resume, 0
        self._epoch = {"generator": self._rng.bit_generator.state, "position": first}
        for rows in self._order()[first:]:
            self._epoch["position"] += 1  # counted when handed out: a state saved after its update continues after it
            yield Rows(len(rows), partial(self._batch, rows))
        self._epoch = None

    def rewind(self) -> None:
        """Forgets a `for` loop that was left early. `fit` begins with this; a state that was assigned stays."""
        if not self._resume:
            self._epoch = None

    @property
    def state(self) -> Plain:
        """{"generator": the random state at the start of the epoch, "position": batches handed out}; plain data."""
        return copy.deepcopy(self._epoch or {"generator": self._rng.bit_generator.state, "position": 0})

    @state.setter
    def state(self, state: Plain) -> None:
        if set(state) != {"generator", "position"} or not 0 <= state["position"] <= len(self):
            raise ValueError(f"`state` should be the state of batches like these, of {len(self)} an epoch; got {state}")
        self._rng.bit_generator.state = state["generator"]
        self._epoch, self._resume = copy.deepcopy(state), state["position"]

    def _order(self) -> list[np.ndarray]:
        """The rows of each batch of one epoch."""
        size = self.batch_size
        if self.weights is not None:
            rows = self._rng.choice(self.N, self.N, p=self.weights)
        else:
            rows = self._rng.permutation(self.N) if self.shuffle else np.arange(self.N)
        if self.lengths is not None:
            pools = [rows[k : k + POOL * size] for k in range(0, self.N, POOL * size)]
            rows = np.concatenate([pool[np.argsort(self.lengths[pool], kind="stable")] for pool in pools])
        batches = [rows[k : k + size] for k in range(0, self.N, size)]
        if self.lengths is not None and self.shuffle:
            batches = [batches[k] for k in self._rng.permutation(len(batches))]
        return batches

    def _batch(self, rows: np.ndarray, first: int, end: int) -> Batch:
        T = self.x.shape[0] if self.lengths is None else max(int(self.lengths[rows].max()), 1)
        xp = namespace(self.x)
        index = xp.asarray(rows[first:end])
        # take, not x[:, rows]: it gives C-contiguous arrays
        return Batch(
            xp.take(self.x[:T, ...], index, axis=1),
            xp.take(self.targets[:T, ...], index, axis=1) if self.per_step else xp.take(self.targets, index, axis=0),
            None if self.mask is None else xp.take(self.mask[:T, ...], index, axis=1),
        )


def pad(sequences: Sequence[Array], T: int | None = None) -> tuple[Array, Array]:
    """Sequences (T_n, ...) of unequal length -> x (T, N, ...), zero after the end of each, and mask (T, N) bool.

    T: the length of x; None for the longest sequence. Raises ValueError for no sequences, for none with a step, for
    shapes that differ beyond the first axis and for a sequence longer than T; TypeError for mixed dtypes or libraries.
    """
    if len(sequences) == 0:
        raise ValueError("`sequences` should hold at least one sequence; got none")
    first = sequences[0]
    for n, sequence in enumerate(sequences):
        if not is_array(sequence) or library_name(sequence) != library_name(first) or sequence.ndim == 0:
            raise TypeError(f"`sequences` should be arrays of one library; got {type(sequence).__name__} at {n}")
        if sequence.dtype != first.dtype:
            raise TypeError(
                f"`sequences` should have one dtype; got {dtype_name(first.dtype)} at 0, "
                f"{dtype_name(sequence.dtype)} at {n}"
            )
        if sequence.shape[1:] != first.shape[1:]:
            raise ValueError(
                f"`sequences` should be (T_n, ...) and agree behind T_n; got {tuple(first.shape)} at 0, "
                f"{tuple(sequence.shape)} at {n}"
            )
    longest = max(sequence.shape[0] for sequence in sequences)
    T = longest if T is None else T
    if longest > T or T == 0:
        raise ValueError(f"`T` should be at least 1 and the longest length, {longest}; got {T}")
    xp = namespace(first)
    x = xp.zeros((T, len(sequences), *first.shape[1:]), dtype=first.dtype)
    mask = xp.zeros((T, len(sequences)), dtype=xp.bool)
    for n, sequence in enumerate(sequences):
        x[: sequence.shape[0], n, ...] = sequence
        mask[: sequence.shape[0], n] = True
    return x, mask


def _lengths(mask: Array) -> np.ndarray:
    """(N,): steps up to the last real one of each row; 0 for a row without any."""
    real = to_numpy(mask)  # (T, N)
    return np.where(real.any(axis=0), real.shape[0] - np.argmax(real[::-1], axis=0), 0)


def _check_rows(mask: Array, weights: np.ndarray | None) -> None:
    """No row without a real step can be drawn."""
    empty = np.logical_not(to_numpy(mask)).all(axis=0)  # (N,)
    rows = np.flatnonzero(empty if weights is None else empty & (weights > 0))
    if len(rows):
        shown = ", ".join(map(str, rows[:8])) + (", ..." if len(rows) > 8 else "")
        raise ValueError(
            f"`mask` should have a real step in every row; {len(rows)} of {mask.shape[1]} have none: {shown} "
            "(leave them out: keep = mask.any(axis=0), then x[:, keep], targets[:, keep], mask[:, keep])"
        )


def _probabilities(weights: Array, N: int, shuffle: bool) -> np.ndarray:
    """The weights over their sum, once they are found to be weights."""
    weights = np.asarray(weights, np.float64)
    if weights.shape != (N,):
        raise ValueError(f"`weights` should be (N,) = ({N},), as x fixes it; got {weights.shape}")
    if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.any()):
        raise ValueError("`weights` should be finite, not negative, and not all zero")
    if not shuffle:
        raise ValueError("`weights` are for drawing at random; got shuffle=False")
    return weights / weights.sum()


def _check_data(x: Array, targets: Array, mask: Array | None) -> int:
    """N, once the arrays are found to belong together."""
    for name, value in (("x", x), ("targets", targets), ("mask", mask)):
        if not (name == "mask" and value is None) and (
            not is_array(value) or not is_array(x) or library_name(value) != library_name(x)
        ):
            raise TypeError(f"x, targets and mask should be arrays of one library; `{name}` is {type(value).__name__}")
    if x.ndim < 2 or 0 in x.shape:
        raise ValueError(f"`x` should be (T, N, ...) without an empty axis; got {tuple(x.shape)}")
    if mask is not None and (dtype_name(mask.dtype) != "bool" or tuple(mask.shape) != tuple(x.shape[:2])):
        hint = " (batch first?)" if tuple(mask.shape) == tuple(x.shape[1::-1]) != tuple(x.shape[:2]) else ""
        raise ValueError(
            f"`mask` should be bool (T, N) = {tuple(x.shape[:2])}, as x fixes it; got {dtype_name(mask.dtype)} "
            f"{tuple(mask.shape)}{hint}"
        )
    return x.shape[1]


def _targets_per_step(x: Array, targets: Array, per_step: bool | None) -> bool:
    """True for targets (T, N, ...), False for (N, ...)."""
    T, N = x.shape[:2]
    fits = {True: tuple(targets.shape[:2]) == (T, N), False: tuple(targets.shape[:1]) == (N,)}
    if per_step is None and fits[True] and fits[False]:
        raise ValueError(f"T = N = {N}, so `targets` {tuple(targets.shape)} may be per step or per row: say per_step=")
    if not fits[fits[True] if per_step is None else per_step]:
        wanted = {None: f"({N}, ...) or ({T}, {N}, ...)", True: f"({T}, {N}, ...)", False: f"({N}, ...)"}[per_step]
        raise ValueError(f"`targets` should be {wanted}, as x {tuple(x.shape)} fixes it; got {tuple(targets.shape)}")
    return fits[True] if per_step is None else per_step
