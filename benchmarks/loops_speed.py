"""Time per epoch of the per-step model of `lstmcore train loops`, against torch, on sequences of unequal length.

    python -m benchmarks.loops_speed FILE.npz

Same weights, same batches (similar lengths together, cut behind the longest), same loss, clipping and optimizer. torch
runs packed (PackedSequence), which is the same computation, and padded, where the backward direction starts in the
padding: no right answer, but the cheapest that there is. The epochs take turns in one process and on one thread, and
what is taken is the processor's time, so that what else the machine does matters little; ratios are of neighbouring
epochs. The first round, in which kernels are compiled, does not count. Before anything is timed, an epoch of both is
held against each other.
"""

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from benchmarks import machine, rows
from benchmarks.machine import cli
from lstmcore import __version__, train
from lstmcore.recipes import loops
from lstmcore.recipes.loops import npz, split

LIKE = 1e-3  # relative: losses of the first epoch, of which dropout (switched off here) draws nothing


def command(
    file: Annotated[Path, typer.Argument(help="A .npz file of loops.")],
    rounds: Annotated[int, typer.Option(min=3, help="Epochs of each.")] = 12,
    out: Annotated[Path, typer.Option(help="CSV file that the rows are added to.")] = Path("runs/loops-speed.csv"),
) -> None:
    """Race, and add a row for each."""
    import torch

    torch.set_num_threads(1)
    if os.environ.get("NUMBA_NUM_THREADS") != "1":
        raise SystemExit("set NUMBA_NUM_THREADS=1: what is taken is the time of one thread")
    data = npz.read(file)
    options = loops.MODELS["per-step"]
    _check(data, replace(options, dropout=0.0))
    epochs = runners(data, options)
    seconds: dict[str, list[float]] = {name: [] for name in epochs}
    for done in range(rounds + 1):
        for name, epoch in epochs.items():
            began = time.process_time()
            epoch()
            if done:
                seconds[name].append(time.process_time() - began)
    versions = {"lstmcore": __version__}
    written = [
        _row(name, versions.get(name, torch.__version__), times, seconds["lstmcore"], data, options)
        for name, times in seconds.items()
    ]
    rows.append(out, written)
    for row in written:
        typer.echo(f"{row.contestant}: {row.median_ms:.0f} ms per epoch, {row.ratio:.2f} times lstmcore's")


def runners(data: loops.Loops, options: loops.Options) -> dict[str, Callable[[], object]]:
    """One more epoch of each, when called."""
    from benchmarks.loops_torch import Trainer, packed, padded

    ours, *theirs = (loops.prepare(data, options) for _ in range(3))
    training = ours.training
    fit = {"epochs": 1, "clip": 1.0, "rng": training.options["rng"], "progress": False}
    trainers = [Trainer(job, options, prepare) for job, prepare in zip(theirs, (packed, padded))]
    return {
        "lstmcore": lambda: train.fit(training.model, training.loss, training.batches, training.opt, **fit),
        "torch packed": lambda: trainers[0].epoch(theirs[0].training.batches),
        "torch padded": lambda: trainers[1].epoch(theirs[1].training.batches),
    }


def _check(data: loops.Loops, options: loops.Options) -> None:
    """Without dropout, ours and torch's packed run are the same: so are their validation errors after an epoch."""
    from benchmarks.loops_torch import Trainer

    ours, theirs = (loops.prepare(data, options) for _ in range(2))
    training = ours.training
    train.fit(training.model, training.loss, training.batches, training.opt, epochs=1, clip=1.0,
              schedule=training.options["schedule"], progress=False)  # fmt: skip
    trainer = Trainer(theirs, options)
    trainer.epoch(theirs.training.batches)
    validation = training.options["validation"]
    got, want = train.evaluate(training.model, training.loss, validation), trainer.evaluate(validation)
    if not np.isclose(got, want, rtol=LIKE, atol=0):
        raise SystemExit(f"the two do not compute the same: after an epoch the errors are {got:.6f} and {want:.6f}")


def _row(
    name: str,
    version: str,
    seconds: list[float],
    base: list[float],
    data: loops.Loops,
    options: loops.Options,
) -> rows.Row:
    ms = 1e3 * np.array(seconds)
    ratios = ms / (1e3 * np.array(base))
    return rows.Row(
        date=machine.now(),
        machine=machine.processor(),
        cores=machine.cores(),
        threads=1,
        shape="loops",
        T=int(data.lengths.max()),
        B=options.batch,
        I=len(data.alphabet),
        H=options.widths[0],
        lengths=f"{data.lengths.min()}-{data.lengths.max()}",
        dtype="float32",
        mode="epoch",
        contestant=name,
        version=version,
        rounds=len(ms),
        calls=1,
        **dict(zip(("q20_ms", "median_ms", "q80_ms"), np.quantile(ms, (0.2, 0.5, 0.8)).tolist())),
        base="lstmcore",
        **dict(zip(("ratio_q20", "ratio", "ratio_q80"), np.quantile(ratios, (0.2, 0.5, 0.8)).tolist())),
        note=f"processor's time; {len(options.widths)} layers, {round(split.PARTS[0] * len(data)):,} loops",
    )


if __name__ == "__main__":
    cli(command)
