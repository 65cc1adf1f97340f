"""Who pays for a gradient: every weight's gradient, split by step, gate and path.

The gradient of a weight is a sum over steps, dW = sum_t x_t^T da_t, and da_t is a sum over two paths: what reached the
step through its output h_t, and what came along c (see step_back.py). The ledger writes down every part. All parts
together are the engine's own gradient, to rounding, which is checked; padded steps stand in it with exactly nothing.
Weights of other layers than recurrent ones, Linear and Embedding are named, and not split.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Unpack

import numpy as np

from lstmcore.arrays import Array, to_numpy
from lstmcore.debug.ledger.parts import Entry, at_padding, recurrent_entries, rowwise_entries
from lstmcore.debug.show.page import notebook
from lstmcore.debug.show.picture import heat_map, panels
from lstmcore.debug.show.tables import bars, paragraphs, percent, spans, table
from lstmcore.debug.step.visits import Run, StepOptions, Upstream, run_step
from lstmcore.layers import Embedding, Layer, Linear
from lstmcore.shapes import SWAPPED

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MUCH = 0.9  # "most of it" in words
SIGNS = ("WRONG", "no gradient", "not finite")  # of a finding that is a cause for worry


@dataclass(frozen=True)
class Ledger:
    """The answer. Prints as a table of shares by step, and by gate and path."""

    entries: tuple[Entry, ...]
    padding: int  # how many steps of how many rows are padding, of
    places: int  # T B
    padding_gives: float  # the largest number that a padded step adds to any gradient
    not_split: tuple[str, ...] = ()  # weights of layers that cannot be seen through

    @property
    def ok(self) -> bool:
        """True if all parts add up and padding gives exactly nothing."""
        return all(entry.ok for entry in self.entries) and self.padding_gives == 0

    def __getitem__(self, name: str) -> Entry:
        for entry in self.entries:
            if entry.name == name:
                return entry
        if name in self.not_split:
            raise KeyError(f"{name!r} is not split: its layer is neither recurrent nor a Linear or an Embedding")
        raise KeyError(f"no weight {name!r}; there are {', '.join(entry.name for entry in self.entries) or 'none'}")

    @property
    def findings(self) -> tuple[str, ...]:
        """The answer in words."""
        return tuple(_findings(self))

    @property
    def worries(self) -> tuple[str, ...]:
        """The findings that are a cause for worry."""
        return tuple(text for text in self.findings if any(sign in text for sign in SIGNS))

    def __str__(self) -> str:
        parts = [paragraphs(self.findings)]
        for group in _by_length(self.entries):
            T = len(group[0].steps)
            end = 1 + int(np.flatnonzero(group[0].rows).max(initial=0))  # behind the last real step all is padding
            where = spans(end, 32) + ([(f"{end}..{T - 1}", slice(end, T))] if end < T else [])
            header = ["step", "rows", *(entry.name for entry in group)]
            rows = [
                [label, _range(group[0].rows[s]), *(percent(entry.steps[s].sum()) for entry in group)]
                for label, s in where
            ]
            parts.append(table(header, rows, "share of each step in the gradient"))
        rows = []
        for entry in self.entries:
            shares = entry.shares.sum(0)  # (K, P)
            for k, gate in enumerate(entry.gates):
                rows.append(
                    [entry.name if k == 0 else "", gate, percent(shares[k].sum()), bars(entry.shares[:, k].sum(-1))]
                    + [f"{path} {percent(shares[k, p])}" for p, path in enumerate(entry.paths) if len(entry.paths) > 1]
                )
        width = max((len(row) for row in rows), default=0)
        header = ["weight", "gate", "share", "over the steps", *[""] * (width - 4)]
        parts.append(table(header, rows, "by gate and path"))
        rows = [
            [e.name, f"{e.norm:.3e}", f"{e.error:.1e}", f"{e.allowed:.1e}", "" if e.ok else "WRONG"]
            for e in self.entries
        ]
        parts.append(table(["weight", "norm", "error", "allowed", ""], rows, "the parts against the engine's total"))
        return "\n\n".join(parts)

    def picture(self) -> "Figure":
        """A heat map per weight: norms over steps, gates and paths. Needs matplotlib; returns its Figure."""
        drawn = [(entry, np.argwhere(entry.reached)) for entry in self.entries]
        figure, axes = panels(*(0.9 + 0.22 * len(parts) for _, parts in drawn))
        for axis, (entry, parts) in zip(axes, drawn):
            names = [", ".join([entry.gates[k], *[entry.paths[p]][: len(entry.paths) - 1]]) for k, p in parts]
            heat_map(axis, entry.norms[:, parts[:, 0], parts[:, 1]], names, "norm")
            axis.set_title(f"d{entry.name}: norm of each part", fontsize="medium")
        return figure

    _repr_html_ = notebook


def ledger(
    layer: Layer,
    x: Array,
    dy: Upstream = None,
    *,
    parts: bool = False,
    **step: Unpack[StepOptions],
) -> Ledger:
    """Splits the gradient of every weight of `layer` by step, gate and path.

    layer: any layer, container or model, on any engine. x (T, B, I), or integers for an Embedding; dy as y, or a loss
    `y -> (value, dy)`, or None: random from `seed`; state, mask (T, B), dstate as for the layer; dropout_seed: draw
    dropout masks from this seed. parts: keep every part as an array too (T times the memory of the weights, per path).
    Cost: one loop back more and T products; at (31, 200, 21, 64) 2.9 forward + backward passes of fused-cpu in all, 1.4
    of the reference engine (benchmarks/debug.py). Raises whatever the layer raises for bad input.
    """
    return ledger_of(run_step(layer, x, dy, **step), parts)


def ledger_of(run: Run, parts: bool = False) -> Ledger:
    """The ledger of a training step that was recorded."""
    entries: list[Entry] = []
    padding_gives = 0.0
    for visit in run.visits:
        if not visit.grads:
            continue
        if visit.recurrent:
            entries += recurrent_entries(visit, parts)
        elif isinstance(visit.layer, Linear | Embedding):
            entries += rowwise_entries(visit, parts)
        padding_gives = max(padding_gives, at_padding(visit))
    places = int(np.prod(run.x.shape[:2]))
    real = places if run.mask is None else int(to_numpy(run.mask).sum())
    split = {entry.name for entry in entries}
    not_split = tuple(name for name in run.grads if name not in split)
    return Ledger(tuple(entries), places - real, places, padding_gives, not_split)


def _by_length(entries: tuple[Entry, ...]) -> list[list[Entry]]:
    """Entries that share their steps stand in one table, at most eight to a table."""
    groups: list[list[Entry]] = []
    for entry in entries:
        if not groups or len(groups[-1][0].steps) != len(entry.steps) or len(groups[-1]) == 8:
            groups.append([])
        groups[-1].append(entry)
    return groups


def _range(rows: np.ndarray) -> str:
    return f"{rows.min()}" if rows.min() == rows.max() else f"{rows.min()}..{rows.max()}"


def _findings(book: Ledger) -> Iterator[str]:
    for entry in book.entries:
        if not np.isfinite(entry.norm):
            yield f"d{entry.name} is not finite: ask the tripwire where it begins"
        elif not entry.ok:
            yield (
                f"WRONG: the parts of d{entry.name} do not add up to the engine's gradient: off by "
                f"{entry.error:.1e}, where rounding explains {entry.allowed:.1e}"
            )
    if book.padding:
        gives = "exactly nothing" if book.padding_gives == 0 else f"up to {book.padding_gives:.1e}: WRONG"
        yield f"{book.padding} of {book.places} steps are padding; they give {gives}"
    if book.not_split:
        yield f"not split, for their layers are none that the ledger knows: {', '.join(book.not_split)}"
    for entry in book.entries:
        T = len(entry.steps)
        if T == 1 or not entry.norm > 0:
            one_step = T == 1 and "W_hh" in entry.name
            why = " (one step from a state of zeros? then nothing is learnt about time)" if one_step else ""
            if entry.norm == 0:
                yield f"{entry.name} has no gradient at all{why}"
            if one_step and entry.rows[0] > 1:
                yield f"{entry.name}: there is but one step; {SWAPPED}"
            continue
        norms = np.sqrt((entry.norms**2).sum((1, 2)))
        learning, real = int((norms > 0).sum()), int((entry.rows > 0).sum())
        yield f"{entry.name} learns from {learning} of {real} real steps; {_concentration(norms)}"


def _concentration(norms: np.ndarray) -> str:
    """The shortest run of steps that holds most of the sum of the norms."""
    sums = np.concatenate([[0.0], np.cumsum(norms)])
    T = len(norms)
    for length in range(1, T + 1):
        inside = sums[length:] - sums[:-length]
        t = int(np.argmax(inside))
        if inside[t] >= MUCH * sums[-1]:
            where = f"step {t}" if length == 1 else f"steps {t} to {t + length - 1}"
            return f"{percent(MUCH)} of what the steps give comes from {where}"
    return "it comes from all of them"
