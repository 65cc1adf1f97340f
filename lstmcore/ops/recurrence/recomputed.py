"""Long sequences in little memory: states are kept every k steps, and all else is computed again on the way back.

Chen et al. 2016 ("Training deep nets with sublinear memory cost"), for the loop over time: with k near sqrt(T) the
states kept and the gates of one piece of k steps are some 2 sqrt(T) steps in place of T. Forward runs twice, so a step
of training takes about 4/3 of its time.

Here it is an engine around another engine, so that it is the same for every cell, mask and layer. Where that engine has
`in_pieces` the gradients have the same bits as without it; else the weights' gradients are added up piece by piece, the
last piece first, and agree to rounding: a sum of T B terms in another order. Shapes: T time, B batch, I input width, H
hidden width.
"""

import math
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import NamedTuple, cast

from lstmcore.arrays import Array, namespace
from lstmcore.ops.cells import Cell
from lstmcore.ops.recurrence.cache import Cache
from lstmcore.ops.recurrence.directions import Gradients
from lstmcore.ops.recurrence.engine import Engine


class Kept(NamedTuple):
    """What the cache of a forward pass has in `private`."""

    cuts: tuple[int, ...]  # 0, the first steps of all pieces but the first, T
    engine: Engine


class Recomputed:
    """`engine`, with the states of every k-th step kept; k True: near sqrt(T). k grows to whole chunks of the engine.

    Its caches hold the states at the cuts, (pieces + 1, B, H) each, no gates, and y if `outputs` are wanted.
    """

    def __init__(self, engine: Engine, k: int | bool, outputs: bool = True):
        self.engine: Engine = engine
        self.k: int | bool = k
        self.outputs: bool = outputs
        self.NAME, self.LIBRARY = engine.NAME, engine.LIBRARY
        self.supports, self.predict = engine.supports, engine.predict

    def forward(
        self,
        cell: Cell,
        x: Array,
        params: Mapping[str, Array],
        state0: tuple[Array, ...],
        mask: Array | None,
        reuse: Cache | None = None,
    ) -> Cache:
        """All steps. The cache has x itself, at masked steps too."""
        xp, T = namespace(x), len(x)
        run = _in_pieces(self.engine, cell, x, state0, mask)
        cuts = cuts_of(T, self.k, run.chunk)
        shapes = [(len(cuts), *s0.shape) for s0 in state0] + [(T if self.outputs else 0, *state0[0].shape)]
        again = () if reuse is None else (*reuse.states, cast(Array, reuse.y))
        if [a.shape for a in again] != shapes:
            again = tuple(xp.empty(shape, dtype=x.dtype) for shape in shapes)
        *states, y = again
        state = state0
        for n, (first, end) in enumerate(pairwise(cuts)):
            for s, now in zip(states, state):
                s[n, ...] = now
            y_piece, state = run.predict(x[first:end, ...], params, state, _piece(mask, first, end))
            if self.outputs:
                y[first:end, ...] = y_piece
        for s, now in zip(states, state):
            s[-1, ...] = now
        no_gates = xp.empty((0, x.shape[1], len(cell.gates), state0[0].shape[-1]), dtype=x.dtype)
        return Cache(x, tuple(states), no_gates, mask, self.NAME, Kept(cuts, self.engine), None, y)

    def backward(
        self, cell: Cell, dy: Array | None, dstate: tuple[Array, ...], params: Mapping[str, Array], cache: Cache
    ) -> Gradients:
        """Piece by piece, the last one first: forward once more, from its first state, and back."""
        cuts, state0 = cast(Kept, cache.private).cuts, tuple(s[0, ...] for s in cache.states)
        run = _in_pieces(self.engine, cell, cache.x, state0, cache.mask)
        dx = namespace(cache.x).empty(cache.x.shape, dtype=cache.x.dtype)
        kept = None
        for n in reversed(range(len(cuts) - 1)):
            first, end = cuts[n : n + 2]
            state = tuple(s[n, ...] for s in cache.states)
            kept = run.forward(cache.x[first:end, ...], params, state, _piece(cache.mask, first, end), kept)
            dx[first:end, ...], dstate = run.backward(_piece(dy, first, end), dstate, params, kept)
        return dx, dstate, run.gradients(params)


class Added:
    """One sequence, run piece by piece on any engine: the gradients of the weights are added, the last piece first.

    An engine may have its own, which its `in_pieces` makes, with these methods.
    """

    chunk: int = 1  # pieces end at multiples of this many steps, counted from T

    def __init__(self, engine: Engine, cell: Cell):
        self.engine: Engine = engine
        self.cell: Cell = cell
        self.sums: dict[str, Array] = {}

    def forward(
        self,
        x: Array,
        params: Mapping[str, Array],
        state0: tuple[Array, ...],
        mask: Array | None,
        reuse: Cache | None = None,
    ) -> Cache:
        return self.engine.forward(self.cell, x, params, state0, mask, reuse)

    def predict(
        self, x: Array, params: Mapping[str, Array], state0: tuple[Array, ...], mask: Array | None
    ) -> tuple[Array, tuple[Array, ...]]:
        return self.engine.predict(self.cell, x, params, state0, mask)

    def backward(
        self, dy: Array | None, dstate: tuple[Array, ...], params: Mapping[str, Array], cache: Cache
    ) -> tuple[Array, tuple[Array, ...]]:
        dx, dstate0, grads = self.engine.backward(self.cell, dy, dstate, params, cache)
        self.sums = {name: self.sums[name] + g if self.sums else g for name, g in grads.items()}
        return dx, dstate0

    def gradients(self, params: Mapping[str, Array]) -> dict[str, Array]:
        return self.sums


def in_full(cell: Cell, params: Mapping[str, Array], cache: Cache) -> Cache:
    """The cache with the states and gates of every step, for tools that read them; any other cache as it is."""
    if not isinstance(cache.private, Kept):
        return cache
    state0 = tuple(s[0, ...] for s in cache.states)
    full = cache.private.engine.forward(cell, cache.x, params, state0, cache.mask)
    return full._replace(owner=cache.owner, seen=cache.seen)


def _in_pieces(engine: Engine, cell: Cell, x: Array, state0: tuple[Array, ...], mask: Array | None) -> Added:
    own: Callable[..., Added] | None = getattr(engine, "in_pieces", None)
    if own is None:
        return Added(engine, cell)
    return own(cell, x.shape, state0[0].shape[-1], x.dtype, mask is not None)


def cuts_of(T: int, k: int | bool, chunk: int = 1) -> tuple[int, ...]:
    """0, ..., T - 2k, T - k, T; k True: near sqrt(T). It grows to a multiple of `chunk`."""
    k = math.isqrt(T) if k is True else k
    k = -(-max(k, 1) // chunk) * chunk
    return 0, *range(T - (T - 1) // k * k, T, k), T


def _piece(a: Array | None, first: int, end: int) -> Array | None:
    return None if a is None else a[first:end, ...]
