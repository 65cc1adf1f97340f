"""The four rules of padding, each checked on one padded batch."""

from typing import NamedTuple

import numpy as np

from lstmcore.debug.padding.batch import EXTRA, PaddedBatch, at_places

POISONS = {"NaN": np.nan, "infinity": np.inf, "huge": 1e30}


class Rule(NamedTuple):
    """One rule, and the results that break it."""

    name: str
    broken: dict[str, str]  # result -> how, in words
    checked: int  # how many results were looked at

    @property
    def ok(self) -> bool:
        return not self.broken


def poison(batch: PaddedBatch) -> Rule:
    """Padding of x and dy full of what must not be read."""
    broken: dict[str, str] = {}
    for name_of, value in POISONS.items():
        dy = None if batch.dy is None else batch.filled(batch.dy, value)
        other = batch.run(batch.filled(batch.x, value), batch.mask, dy)
        for name, clean in batch.clean.items():
            if other[name].tobytes() != clean.tobytes() and name not in broken:
                where = other[name] != clean
                broken[name] = f"changes with {name_of} in the padding, {batch.places(where)}"
                if batch.by_step(name):
                    batch.wrong |= at_places(where)
    return Rule("poison in the padding changes no bit", broken, len(batch.clean))


def zeros(batch: PaddedBatch) -> Rule:
    """y and dx where there is no step."""
    broken: dict[str, str] = {}
    names: list[str] = [name for name in ("y", "dx") if name in batch.clean and batch.by_step(name)]
    for name in names:
        bad = at_places(batch.clean[name] != 0) & ~batch.mask
        batch.wrong |= bad
        if bad.any():
            broken[name] = f"is not zero at {bad.sum()} of {(~batch.mask).sum()} padded steps"
    return Rule("outputs and input gradients are zero at padded steps", broken, len(names))


def rows_alone(batch: PaddedBatch) -> Rule:
    """Each row by itself without its padding; gradients of weights add up over the rows."""
    whole = batch.clean
    sums = {name: np.zeros_like(a) for name, a in whole.items() if not batch.per_row(name)}
    broken: dict[str, str] = {}
    for b, row in batch.alone():
        steps = np.flatnonzero(batch.mask[:, b])
        weight = len(steps) / batch.mask.sum() if "loss" in whole else 1.0
        for name, value in row.items():
            if name in sums:
                sums[name] = sums[name] + weight * value
                continue
            if batch.by_step(name) and not len(steps):
                continue  # nothing but padding: the rule of zeros is enough
            if batch.by_step(name):
                got, limit = whole[name][steps, b], batch.allowed[name][steps, b]
                want = value[:, 0] * (weight if name == "dx" else 1.0)
            else:
                got, limit, want = whole[name][b], batch.allowed[name][b], value[0]
            off = ~(abs(got - want) <= limit)
            if off.any() and batch.by_step(name):
                batch.wrong[steps, b] |= off.reshape(len(off), -1).any(-1)
            if off.any() and name not in broken:
                broken[name] = f"of row {b} is {distance(got, want)} away from that of the row alone"
    for name, value in sums.items():
        if not (abs(whole[name] - value) <= batch.allowed[name]).all():
            broken[name] = f"is {distance(whole[name], value)} away from what the rows alone add up to"
    return Rule("rows run alone give the same", broken, len(whole))


def longer(batch: PaddedBatch) -> Rule:
    """The same batch with more padding behind it."""
    more = batch.run(*batch.extended())
    broken: dict[str, str] = {}
    for name, clean in batch.clean.items():
        value = more[name][: batch.T] if batch.by_step(name) else more[name]
        if not (abs(value - clean) <= batch.allowed[name]).all():
            broken[name] = f"changes by {distance(value, clean)} with {EXTRA} more steps of padding"
    return Rule("more padding changes nothing", broken, len(batch.clean))


def distance(got: np.ndarray, want: np.ndarray) -> str:
    """The largest difference, relative to the largest number wanted."""
    size = np.max(abs(want), initial=0)
    worst = np.max(abs(got - want), initial=0)
    return f"{100 * worst / size:.2g} %" if size > 0 else f"{worst:.2g}"
