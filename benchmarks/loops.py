"""`lstmcore train loops` on loop sets, several seeds: errors beside the floors, and torch trained the same way.

    python -m benchmarks.loops FILE.npz --model per-step --seeds 0,1,2 --torch

Each run is a row of benchmarks/results/loops.csv. The seed draws the split as well, so rows of one seed and one split
have the same loops to learn from and to be tested on, whatever the model.
"""

import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from benchmarks import machine, rows
from benchmarks.machine import cli
from lstmcore import __version__
from lstmcore.recipes import loops
from lstmcore.recipes.loops import floors, npz, scores, split


class Run(NamedTuple):
    """One training. Errors are masked squared errors; phi and psi mean errors in degrees."""

    date: str
    machine: str
    cores: int
    threads: int
    data: str
    split: str
    seed: int
    contestant: str
    version: str
    model: str
    topology: str
    head: str
    widths: str
    batch: int
    lr: float
    patience: int
    epochs: int  # at most
    ran: int  # epochs done
    learnt: int
    tested: int
    leaked: int
    validation: float
    mse: float
    phi: float
    psi: float
    constant: float
    residue: float
    triple: float
    memory: float
    nearest: float
    seconds: float


def command(
    file: Annotated[Path, typer.Argument(help="A .npz file of loops.")],
    model: Annotated[str, typer.Option(help=f"Of {', '.join(loops.MODELS)}.")] = "per-step",
    topology: Annotated[str, typer.Option(help="By default the model's.")] = "",
    head: Annotated[str, typer.Option(help="By default the model's.")] = "",
    epochs: Annotated[int, typer.Option(help="At most; 0 for the model's.")] = 0,
    patience: Annotated[int, typer.Option(help="Epochs; 0 for the model's.")] = 0,
    kind: Annotated[str, typer.Option("--split", help="grouped or random.")] = "grouped",
    seeds: Annotated[str, typer.Option(help="Separated by commas.")] = "0,1,2",
    torch: Annotated[bool, typer.Option("--torch", help="torch in place of lstmcore.")] = False,
    threads: Annotated[int, typer.Option(help="Of torch, and for the row; set NUMBA_NUM_THREADS too.")] = 1,
    out: Annotated[Path, typer.Option(help="CSV file that the rows are added to.")] = Path("runs/loops.csv"),
) -> None:
    """Train, test, and add a row per seed."""
    data = npz.read(file)
    told = {"topology": topology, "head": head, "epochs": epochs, "patience": patience}
    options = replace(loops.MODELS[model], split=kind, **{name: value for name, value in told.items() if value})
    for seed in map(int, seeds.split(",")):
        train = with_torch if torch else with_lstmcore
        row = train(data, replace(options, seed=seed), file.stem, threads)
        rows.append(out, [row])
        typer.echo(
            f"{row.data} {row.split} {row.seed} {row.contestant} {row.head}: {row.mse:.4f}, after {row.ran} epochs"
        )


def with_lstmcore(data: loops.Loops, options: loops.Options, name: str, threads: int) -> Run:
    result = loops.run(data, options, progress=False, tell=lambda message: typer.echo(message, err=True))
    history = result.history["epochs"]
    validation = min(row["validation"] for row in history)
    return _row(
        ("lstmcore", __version__), result.score, validation, len(history), result.train_seconds, result.parts, options,
        name, threads,
    )  # fmt: skip


def with_torch(data: loops.Loops, options: loops.Options, name: str, threads: int) -> Run:
    import torch

    from benchmarks.loops_torch import trained

    torch.set_num_threads(threads)
    began = time.perf_counter()
    ran, validation, trainer = trained(data, options)
    seconds = time.perf_counter() - began
    parts = loops.prepare(data, options).parts
    predicted = trainer.answers(parts.tested.index, len(data.alphabet))
    score = scores.score(predicted, parts.tested.targets)
    return _row(("torch", torch.__version__), score, validation, ran, seconds, parts, options, name, threads)


def _row(
    contestant: tuple[str, str],
    score: scores.Score,
    validation: float,
    ran: int,
    seconds: float,
    parts: split.Split,
    options: loops.Options,
    name: str,
    threads: int,
) -> Run:
    guesses = floors.floors(parts.learnt, parts.tested).values()
    return Run(
        machine.now(), machine.processor(), machine.cores(), threads, name, options.split, options.seed, *contestant,
        options.model, options.topology, options.head, " ".join(map(str, options.widths)), options.batch, options.lr,
        options.patience, options.epochs, ran, len(parts.learnt), len(parts.tested), split.leaked(parts),
        validation, score.mse, score.phi, score.psi,
        *(scores.score(guess, parts.tested.targets).mse for guess in guesses), seconds,
    )  # fmt: skip


if __name__ == "__main__":
    cli(command)
