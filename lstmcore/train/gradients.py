"""Loss and gradients of one update: of a batch, of several that make one, and of the rows that ranks share."""

import math
from collections.abc import Iterator, Sequence
from itertools import starmap
from typing import cast

import numpy as np

from lstmcore.arrays import Array, State
from lstmcore.layers import Layer
from lstmcore.layers.layer import Rng
from lstmcore.layers.without_dx import without_dx
from lstmcore.train.data.batch import Batch, Rows, as_rows, by_rows
from lstmcore.train.metrics import Loss, items_of, valid
from lstmcore.train.ranks import Ranks
from lstmcore.train.ranks.draws import SharedDraws
from lstmcore.train.ranks.ranks import Part, flat, rows_of_state, unflat
from lstmcore.train.recorded_cpu import Recorded
from lstmcore.train.run import Run
from lstmcore.train.segments import Segments


class Gradients:
    """Of the batches of an update, as of one batch that holds them all. recorded: forward and backward may run on
    memory that stays (recorded_cpu.py)."""

    def __init__(self, run: Run, through: Layer | Segments, loss: Loss, carry_state: bool, recorded: bool):
        self.run: Run = run
        self.through: Layer | Segments = through
        self.loss: Loss = loss
        self.carry_state: bool = carry_state
        self.rng: Rng = self._draws()
        self.recorded: Recorded | None = Recorded(run.model, self.rng) if recorded else None

    def _draws(self) -> Rng:
        return self.run.rng

    def batches(self) -> Iterator[Batch | Rows]:
        """Those of an epoch, or the rest of it."""
        return starmap(Batch, self.run.batches)

    def of(self, group: Sequence[Batch | Rows]) -> tuple[float, float]:
        """The sum of the losses, and of how many items; `run.loss` and `run.grads` are the means. Ends at a loss that
        is not finite."""
        run, total, items = self.run, 0.0, 0.0
        sums: dict[str, Array] = {}
        for batch in group:
            last, n, run.loss, run.grads = self._passes(batch, run.carried)
            run.carried = last if self.carry_state else None
            if not math.isfinite(run.loss):
                return total, items
            total, items = total + run.loss * n, items + n
            if len(group) > 1:
                sums = {name: n * g if name not in sums else sums[name] + n * g for name, g in run.grads.items()}
        if len(group) > 1:
            run.loss, run.grads = total / items, {name: g / items for name, g in sums.items()}
        return total, items

    def _passes(
        self, batch: Batch | Rows, state: State | None, share: bool = False
    ) -> tuple[State | None, float, float, dict[str, Array]]:
        """Forward, loss and backward: the final state, how many items, their mean loss and its gradients, none where
        the loss is not finite. A share of a batch, unlike a batch, may be without an item."""
        run, recorded = self.run, self.recorded
        passes = recorded.of(batch.x) if recorded is not None and batch.mask is None else None
        if passes is None:
            spare = None if recorded is not None and recorded.owns(run.cache) else run.cache
            y, last, cache = self.through.forward(batch.x, state, batch.mask, self.rng, reuse=spare)
        else:
            y, last, cache = passes.forward(batch.x), None, passes.cache
        run.batch, run.y, run.cache = batch, y, cache
        n, mask = valid(y, batch.mask)
        items = items_of(self.loss, n, y, batch.targets, mask) if n or not share else 0
        if share and not items:
            return last, 0, 0.0, {}
        value, dy = self.loss(y, batch.targets, mask)
        if not math.isfinite(float(value)):
            return last, items, float(value), {}
        if passes is None:
            return last, items, float(value), self.through.backward(dy, without_dx(self.through, cache))[2]
        passes.backward(dy)
        return last, items, float(value), passes.grads


class SharedGradients(Gradients):
    """The same, where every rank takes its shares of the rows (ranks.py)."""

    def __init__(
        self, run: Run, through: Layer | Segments, loss: Loss, carry_state: bool, recorded: bool, ranks: Ranks
    ):
        self.ranks: Ranks = ranks
        self.draws: SharedDraws = SharedDraws(run.rng)
        self.caches: dict[int, object] = {}  # for their memory, of shares of this many rows more than the fewest
        super().__init__(run, through, loss, carry_state, recorded)

    def _draws(self) -> Rng:
        return cast(np.random.Generator, self.draws)  # for those who draw masks it is one

    def batches(self) -> Iterator[Batch | Rows]:
        return by_rows(self.run.batches)

    def of(self, group: Sequence[Batch | Rows]) -> tuple[float, float]:
        run, ranks = self.run, self.ranks
        total: Part | None = None
        for batch in map(self._by_rows, group):
            lasts: list[State | None] = []
            part = ranks.total(self._parts(batch, lasts))
            run.batch, run.y, run.carried = batch, None, ranks.states(lasts) if self.carry_state else None
            total = part if total is None else ranks.absorb(total, part)
        counts, sums = cast(Part, total)
        if not counts[1]:
            raise ValueError("a batch should have a valid item; one is masked everywhere")
        run.loss = float(counts[0] / counts[1])
        run.grads = unflat(sums / float(counts[1]), run.model.params)
        ranks.spare.append(sums)
        return float(counts[0]), float(counts[1])

    def _parts(self, batch: Rows, lasts: list[State | None]) -> Iterator[Part]:
        """(losses, items) and gradients of each of this rank's shares, times its items; `lasts` gets final states."""
        run, ranks, params, B = self.run, self.ranks, self.run.model.params, batch.B
        size, dtype = sum(w.size for w in params.values()), np.result_type(*params.values())
        self.draws.begin(B)
        for first, end in ranks.own(B):
            n, mean, grads, longer = 0.0, 0.0, dict[str, Array](), end - first - B // ranks.shares
            if first < end:
                state, run.cache = rows_of_state(run.carried, first, end), self.caches.get(longer)
                self.draws.of(first, end)
                last, n, mean, grads = self._passes(batch.read(first, end), state, True)
                self.caches[longer] = run.cache
                lasts.append(last)
            yield np.array([mean * n, n]), flat(grads, params, n, ranks.row(size, dtype))
        if not lasts:  # fewer rows than shares: draw what the others draw, for the generators to stay alike
            self.draws.of(0, 1)
            one = batch.read(0, 1)
            self.through.forward(one.x, rows_of_state(run.carried, 0, 1), one.mask, self.rng)

    def _by_rows(self, batch: Batch | Rows) -> Rows:
        """Raises for what has no rows to deal out, in the model's or the loss's own words, as without ranks."""
        try:
            return as_rows(batch, self.run.batches)
        except ValueError:
            Gradients(self.run, self.through, self.loss, self.carry_state, False).of([batch])
            raise
