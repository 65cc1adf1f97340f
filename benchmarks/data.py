"""Whole jobs on public data, in lstmcore and in torch from the same weights: `python -m benchmarks.data FOLDER`.

The folder holds the files that benchmarks/sets.py lists, with where they are from; a set whose files are not there is
named and left out. From each seed both sides start from the same weights (`lc.to_torch`) and learn from the same
batches in the same order, with the same rates, clipping and Adam; dropout, where there is any, each draws for itself.
Both keep the weights of the epoch that is best on the part for validation. What torch has learnt is read back
(`lc.from_torch`), and judged on the part for testing by the same lines as what lstmcore has learnt.

Steps that a mask leaves out, gaps in the middle too, are taken out before torch reads a row: a state that is carried
over them comes to the same. Each side has one thread. That it is the same problem is measured before any update:
`start` is by how much the losses of the first batch differ, as a part of the loss.
"""

import copy
import math
import os
import time
from collections.abc import Callable, Iterator
from itertools import starmap
from pathlib import Path
from typing import Annotated, NamedTuple

if __name__ == "__main__":  # whoever only reads this keeps its threads
    for library in ("OMP", "OPENBLAS", "MKL", "NUMBA"):  # one thread each, for CPU time counts threads that wait
        os.environ[f"{library}_NUM_THREADS"] = "1"

import numpy as np
import torch
import typer
from torch import Tensor, nn

import lstmcore as lc
from benchmarks import machine, rows
from benchmarks.machine import cli
from benchmarks.sets import SETS, Set, Work
from lstmcore.layers import Layer
from lstmcore.train.data.batch import Batch, Data
from lstmcore.train.metrics import Loss

CLIP = 1.0
LOSSES: dict[Loss, Callable[[Tensor, Tensor], Tensor]] = {  # means over all that they are given
    lc.softmax_cross_entropy: nn.functional.cross_entropy,
    lc.binary_cross_entropy: nn.functional.binary_cross_entropy_with_logits,
    lc.squared_error: nn.functional.mse_loss,
}


class Learnt(NamedTuple):
    """A contestant's score on a set, from one seed."""

    date: str  # UTC, ISO 8601
    machine: str
    cores: int
    set: str
    items: str  # learnt from, validated, tested on
    model: str
    epochs: int
    updates: int
    contestant: str
    version: str
    seed: int
    metric: str  # on the part for testing
    score: float
    floors: str  # of the same, what costs nothing
    cpu_seconds: float  # of the training, on one thread
    start: float  # relative difference of the first batch's losses, before any update


class Twin:
    """The model in torch. The second bias of its cells stays zero: as two, they would learn twice as fast."""

    def __init__(self, work: Work, loss: Loss):
        self.module, self.loss, self.work = lc.to_torch(work.model), LOSSES[loss], work
        self.params = [w for name, w in self.module.named_parameters() if "bias_hh" not in name]

    def losses(self, batches: Data) -> Iterator[tuple[Tensor, int]]:
        """The mean loss of each batch, and over how many steps or rows it is. A state is carried on if the work says
        so, and without its gradient."""
        state = None
        for batch in starmap(Batch, batches):
            x, targets, lengths = compressed(batch)
            if self.work.carry_state:
                y, state = self._step(x, state)
            else:
                y = self.module(x, lengths)
            if y.ndim == 3:  # an answer per step
                real = (
                    torch.ones(y.shape[:2], dtype=bool) if lengths is None else torch.arange(len(x))[:, None] < lengths
                )
                y, targets = y[real], targets[real]
            yield self.loss(y, targets), len(y)

    def _step(self, x: Tensor, state: object) -> tuple[Tensor, object]:
        """The module's own layers one after the other, with the state of its LSTM handed in and out."""
        for layer in self.module.children():
            if isinstance(layer, nn.LSTM):
                x, (h, c) = layer(x, state)
                state = (h.detach(), c.detach())
            else:
                x = layer(x)
        return x, state

    def train(self) -> None:
        """As `lc.fit` with `EarlyStopping`, which puts the best epoch's weights back."""
        opt, step = torch.optim.Adam(self.params), 0
        best, weights = math.inf, None
        for _ in range(self.work.epochs):
            self.module.train()
            for loss, _ in self.losses(self.work.batches):
                opt.param_groups[0]["lr"] = self.work.schedule(step)
                opt.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(self.params, CLIP)
                opt.step()
                step += 1
            if self.work.validation is not None:
                found = self.mean_loss(self.work.validation)
                if found < best:
                    best, weights = found, copy.deepcopy(self.module.state_dict())
        if weights is not None:
            self.module.load_state_dict(weights)

    @torch.no_grad()
    def mean_loss(self, batches: Data) -> float:
        """In evaluation, over the valid items of all batches."""
        self.module.eval()
        found = [(float(loss) * n, n) for loss, n in self.losses(batches)]
        return sum(total for total, _ in found) / sum(n for _, n in found)


def compressed(batch: Batch) -> tuple[Tensor, Tensor, Tensor | None]:
    """x and targets without the steps that the mask leaves out, and how many steps each row then has."""
    x, targets = np.asarray(batch.x), np.asarray(batch.targets)
    if batch.mask is None:
        return torch.from_numpy(x), torch.from_numpy(targets), None
    steps = np.argsort(~batch.mask, axis=0, kind="stable")  # (T, B): the real steps first, in their order
    rows_ = np.arange(x.shape[1])
    if targets.shape[:2] == x.shape[:2]:
        targets = targets[steps, rows_]
    return torch.from_numpy(x[steps, rows_]), torch.from_numpy(targets), torch.from_numpy(batch.mask.sum(axis=0))


def measured(name: str, found: Set, seed: int) -> list[Learnt]:
    """Both sides, one after the other: a row for each score of each."""
    torch.set_num_threads(1)
    own, other = found.work(seed), found.work(seed)  # alike, bit for bit
    twin = Twin(other, found.loss)
    first = [next(iter(found.work(seed).batches))]
    losses = lc.train.evaluate(own.model, found.loss, first), twin.mean_loss(first)
    best = [] if own.validation is None else [lc.EarlyStopping(own.epochs)]  # keeps the best, and ends nothing

    def fit() -> Layer:
        given = {"epochs": own.epochs, "validation": own.validation, "schedule": own.schedule, "clip": CLIP}
        given |= {"callbacks": best, "rng": seed, "carry_state": own.carry_state, "progress": False}
        lc.fit(own.model, found.loss, own.batches, lc.Adam(), **given)
        return own.model

    def torch_fit() -> Layer:
        torch.manual_seed(seed)
        twin.train()
        return lc.from_torch(twin.module, tell=lambda words: None)

    written = []
    for contestant, version, train in (("lstmcore", lc.__version__, fit), ("torch", torch.__version__, torch_fit)):
        began = time.process_time()
        model = train()
        seconds = time.process_time() - began
        for score in found.judge(model):
            floors = "; ".join(f"{floor} {value:.4g}" for floor, value in score.floors.items())
            written.append(
                Learnt(
                    machine.now(), machine.processor(), machine.cores(), name, found.items, str(own.model), own.epochs,
                    own.epochs * len(own.batches), contestant, version, seed, score.metric, score.value, floors,
                    seconds, abs(losses[1] - losses[0]) / losses[0],
                )
            )  # fmt: skip
            typer.echo(
                f"{name}, seed {seed}, {contestant}: {score.metric} {score.value:.4f}, {seconds:.0f} s", err=True
            )
    return written


def table(written: list[Learnt]) -> str:
    """Markdown: mean and spread (standard deviation) over the seeds."""
    lines = ["| set | score | lstmcore | torch | what costs nothing | CPU time, torch / lstmcore |", "|" + " --- |" * 6]
    for name, metric in dict.fromkeys((row.set, row.metric) for row in written):
        own = [row for row in written if (row.set, row.metric) == (name, metric)]
        cells, seconds = [], []
        for contestant in ("lstmcore", "torch"):
            scores = np.array([row.score for row in own if row.contestant == contestant])
            spread = f" +- {scores.std(ddof=1):.2g}" if len(scores) > 1 else ""
            cells.append(f"{scores.mean():.4g}{spread}")
            seconds.append(sum(row.cpu_seconds for row in own if row.contestant == contestant))
        lines.append(f"| {name} | {metric} | {' | '.join(cells)} | {own[0].floors} | {seconds[1] / seconds[0]:.2f} |")
    return "\n".join(lines)


def command(
    folder: Annotated[Path, typer.Argument(help="Where the files of benchmarks/sets.py lie.")],
    sets: Annotated[str, typer.Option(help=f"Of {', '.join(SETS)}.")] = ",".join(SETS),
    seeds: Annotated[int, typer.Option(min=1, help="0, 1, ... so many.")] = 3,
    out: Annotated[Path, typer.Option(help="CSV file that the rows are added to.")] = Path("runs/data.csv"),
) -> None:
    """Learn public data in lstmcore and in torch, from the same weights and batches."""
    chosen = [name.strip() for name in sets.split(",")]
    if unknown := sorted(set(chosen) - set(SETS)):
        typer.echo(f"benchmarks: there is no set {', '.join(unknown)}; there are {', '.join(SETS)}", err=True)
        raise typer.Exit(2)
    written, read = [], {}
    for name in chosen:
        try:
            read[name] = SETS[name](folder)
        except FileNotFoundError as error:
            typer.echo(
                f"benchmarks: {name} is left out, for {error.filename} is not there: benchmarks/sets.py", err=True
            )
    for seed in range(seeds):
        for name, found in read.items():
            these = measured(name, found, seed)
            rows.append(out, these)
            written += these
    print(table(written))
    raise typer.Exit(1 if len(read) < len(chosen) else 0)


if __name__ == "__main__":
    cli(command)
