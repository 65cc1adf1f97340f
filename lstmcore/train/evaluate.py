"""The loss of a model on data, and its metrics, in evaluation."""

from collections.abc import Iterable, Mapping
from itertools import starmap
from typing import cast

import numpy as np

from lstmcore.arrays import State
from lstmcore.layers import Layer
from lstmcore.train.data.batch import Batch, Data, Rows, as_rows, by_rows
from lstmcore.train.metrics import Loss, Metric, items_of, valid
from lstmcore.train.ranks import Ranks
from lstmcore.train.segments import Segments


def evaluate(model: Layer, loss: Loss, batches: Data, carry_state: bool = False) -> float:
    """The mean loss of `batches` in evaluation, each batch counted by its valid items. carry_state: as in `fit`."""
    return measured(model, {"": loss}, batches, carry_state)[""]


def measured(
    model: Layer | Segments,
    wanted: Mapping[str, Loss | Metric],
    batches: Data,
    carry_state: bool,
    ranks: Ranks | None = None,
) -> dict[str, float]:
    """The means of losses and metrics over the valid items of all batches.

    On ranks each takes its shares of the rows of every batch, as in training; the sums and counts of the shares are
    added at the end, in the same order: for what is a mean over items. Raises ValueError where there is no valid item.
    """
    width, shares = len(wanted), 1 if ranks is None else len(ranks.own(1))
    sums = [np.zeros(width) for _ in range(shares)]  # over items
    items = [np.zeros(width) if ranks is None else ranks.row(width, np.dtype(float)) for _ in range(shares)]
    for row in items:
        row[...] = 0
    states: list[State | None] = [None] * shares
    for batch in starmap(Batch, batches) if ranks is None else by_rows(batches):
        for k, rows in enumerate([batch] if ranks is None else _shares(model, wanted, batch, batches, ranks)):
            if rows is None:
                continue
            y, last = model.predict(rows.x, states[k], rows.mask)
            states[k] = last if carry_state else None
            n, mask = valid(y, rows.mask)
            for j, function in enumerate(wanted.values()):
                count = items_of(function, n, y, rows.targets, mask) if n or ranks is None else 0
                if count or ranks is None:  # a share, unlike a batch, may be without an item
                    value = function(y, rows.targets, mask)
                    sums[k][j] += float(value[0] if isinstance(value, tuple) else value) * count
                    items[k][j] += count
    total, of = (sums[0], items[0]) if ranks is None else ranks.total(zip(sums, items))
    if not of.all():
        raise ValueError("no batches to evaluate (a generator that was run through before? pass a list or Batches)")
    means = dict(zip(wanted, (total / of).tolist()))
    return {name: getattr(function, "finish", float)(means[name]) for name, function in wanted.items()}


def _shares(
    model: Layer | Segments, wanted: Mapping[str, Loss | Metric], batch: Batch | Rows, batches: Data, ranks: Ranks
) -> Iterable[Batch | None]:
    """Those of this rank; None for one without a row. What is wrong with a batch is said as without ranks."""
    try:
        rows = as_rows(batch, batches)
    except ValueError:
        measured(model, wanted, [cast(Batch, batch)], False)
        raise
    return (rows.read(first, end) if first < end else None for first, end in ranks.own(rows.B))
