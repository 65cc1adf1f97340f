"""Which mistake stands behind a broken rule of padding, as far as the numbers tell."""

from collections.abc import Iterator

import numpy as np

from lstmcore.debug.padding.batch import EXTRA, PaddedBatch
from lstmcore.debug.padding.rules import Rule


def name_mistakes(batch: PaddedBatch, rules: tuple[Rule, ...]) -> Iterator[str]:
    """Sentences, likeliest first, for the four rules as they came out."""
    poison, zeros, alone, longer = (rule.broken for rule in rules)
    broken = poison | alone | longer
    found = []
    if _loss_counts_padding(batch):
        found.append("the loss is divided by the padded count: T B steps, in place of the real ones")
    last = _copies_the_last(batch)
    if last:
        found.append(
            "padded outputs copy the last real one"
            + (", and their upstream gradients pile up on it" if _listens_to_padded_dy(batch) else "")
        )
    elif "y" in zeros:
        found.append("padded steps give outputs")
    if batch.timed and ("y" in alone or "y" in poison or "y" in longer):
        columns = _columns_off(batch)
        half = f"columns {columns.min()} to {columns.max()} of y" if len(columns) else "y"
        if _ends_padded(batch):
            found.append(
                f"the backward direction starts in the padding: {half} at real steps depend on what stands behind them"
            )
        else:
            found.append(f"the state runs on through padding: {half} at real steps depend on padded ones before")
    if any("state" in name for name in broken) or (not batch.timed and "y" in broken):
        names = [name for name in broken if "state" in name] + (["y"] if not batch.timed and "y" in broken else [])
        if _ignores_the_mask(batch, names):
            found.append(f"the state runs on through padding: {', '.join(names)} as if there were no mask")
        elif not any("state runs on" in f or "backward direction" in f for f in found):
            found.append(f"the state runs on through padding: {', '.join(names)} depends on it")
    if _listens_to_padded_dy(batch) and not last:
        found.append("upstream gradients at padded steps are not left out: they reach the results")
    if any(name in poison for name in batch.clean) and not any(name in alone | longer for name in poison):
        found.append(
            "padding is multiplied out, not selected out: harmless while it is finite, and NaN times zero is NaN"
        )
    if not found:
        found.append(f"padding reaches {', '.join(dict.fromkeys([*zeros, *broken]))}")
    return iter(found)


def _loss_counts_padding(batch: PaddedBatch) -> bool:
    """Three more padded steps shrink the loss by T / (T + 3)."""
    if "loss" not in batch.clean or batch.clean["loss"] == 0:
        return False
    ratio = float(batch.run(*batch.extended())["loss"] / batch.clean["loss"])
    return abs(ratio - batch.T / (batch.T + EXTRA)) < 1e-6  # rounding is 1e-16


def _copies_the_last(batch: PaddedBatch) -> bool:
    """Every padded output equals its row's last real one."""
    if not batch.timed or not _ends_padded(batch):
        return False
    y, lengths = batch.clean["y"], batch.mask.sum(0)
    copies = [
        np.array_equal(y[t, b], y[lengths[b] - 1, b])
        for b in range(batch.B)
        if lengths[b]
        for t in range(lengths[b], batch.T)
    ]
    return all(copies) and y[~batch.mask].any()


def _listens_to_padded_dy(batch: PaddedBatch) -> bool:
    """Finite upstream gradients at padded steps change a result."""
    if batch.dy is None or not batch.dy_by_step():
        return False
    other = batch.run(batch.x, batch.mask, batch.filled(batch.dy, 2.0))
    return any(other[name].tobytes() != value.tobytes() for name, value in batch.clean.items() if name != "loss")


def _ignores_the_mask(batch: PaddedBatch, names: list[str]) -> bool:
    """Without padding's mask, on the same numbers, the same comes out."""
    other = batch.run(batch.x, np.ones_like(batch.mask), batch.dy)
    zero = batch.run(batch.filled(batch.x, 0), np.ones_like(batch.mask), batch.dy)
    return any(all((abs(o[n] - batch.clean[n]) <= batch.allowed[n]).all() for n in names) for o in (other, zero))


def _ends_padded(batch: PaddedBatch) -> bool:
    """True if all padding stands at the end of its row."""
    return bool((batch.mask[:-1] >= batch.mask[1:]).all())


def _columns_off(batch: PaddedBatch) -> np.ndarray:
    """The columns of y that are wrong at real steps."""
    off = np.zeros(batch.clean["y"].shape[-1], bool)
    for b, row in batch.alone():
        steps = np.flatnonzero(batch.mask[:, b])
        apart = abs(batch.clean["y"][steps, b] - row["y"][:, 0])
        off |= ~(apart <= batch.allowed["y"][steps, b]).reshape(-1, len(off)).all(0)
    return np.flatnonzero(off)
