"""A whole job: the counting tutorial of 2016 in lstmcore and in torch, `python -m benchmarks.tutorial`.

10,000 strings of 20 bits in batches of 1,000, ten updates an epoch, 5,000 epochs, Adam, an LSTM of 24 units whose last
output goes through a linear layer to 21 classes. Both sides start from the same weights and see the same batches in the
same order. First the losses of FIRST epochs are held to the reference, then both start anew and take turns, some epochs
at a time; the row's times are per update, and its ratio is the median over the turns.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from benchmarks import machine, report, rows
from benchmarks.machine import cli
from benchmarks.measure import Failed, Process, Result, start
from benchmarks.peers import PEERS
from benchmarks.peers.lstmcore import Peer
from benchmarks.problem import Batch, Problem, Recipe, make
from benchmarks.race import FLOOR, contestants, fastest_engine, listed, row
from benchmarks.shapes import TINY, Shape
from benchmarks.truth import Truth, Wrong, bounded
from lstmcore.recipes import count

BATCH, EXAMPLES, H = 1000, 10_000, 24
ADAM = Recipe(lr=1e-3)
FIRST = 5  # epochs that are checked: 50 updates
SHAPE = Shape(count.BITS, BATCH, 1, H)


def job(dtype: str, seed: int = 0) -> tuple[Problem, list[Batch]]:
    """The initial weights, and the batches of every epoch."""
    index = count.examples(np.random.default_rng(seed), EXAMPLES, balanced=False)
    x, ones = count.bits(index).astype(dtype), count.ones(index)
    cuts = range(0, EXAMPLES, BATCH)
    batches = [Batch(np.ascontiguousarray(x[:, k : k + BATCH]), ones[k : k + BATCH]) for k in cuts]
    problem = make(SHAPE, dtype, seed)
    for weights in (problem.params, problem.head):
        for name, value in weights.items():
            weights[name] = value * np.asarray(0.0 if name == "b" else 0.5, dtype)  # a start from which it learns
    return problem, batches


def losses(problem: Problem, batches: Sequence[Batch], epochs: int) -> np.ndarray:
    """The reference's loss at each update, in the problem's dtype."""
    trainer = Peer(1, "reference").trainer(problem, ADAM)
    placed = [trainer.place(batch) for batch in batches]
    return np.array([trainer.update(batch) for _ in range(epochs) for batch in placed])


def truth(dtype: str, epochs: int) -> Truth:
    """The losses of the first epochs, each a mean over a batch; `own`, the yardstick's error, is the largest of all."""
    double, single = (losses(*job(kind), epochs) for kind in ("float64", "float32"))
    return bounded({"losses": double}, {"losses": single}, dtype, BATCH)


def race(processes: Sequence[Process], dtype: str, epochs: int, chunk: int, first: int = FIRST) -> dict[str, Result]:
    """Everybody's turns: seconds per update, one number per turn; the note tells the whole."""
    problem, batches = job(dtype)
    right = truth(dtype, first)
    results: dict[str, Result] = {}
    for process in processes:
        process.ask("train", problem, ADAM)
        process.ask("place", batches)
        try:
            error = right.check({"losses": np.array(process.ask("epochs", first)[0])})
        except (Wrong, Failed) as reason:
            results[process.name] = Result([], note=f"wrong: {reason}")
            continue
        process.ask("train", problem, ADAM)  # anew; the batches stay
        results[process.name] = Result([], error)
    runners = [process for process in processes if not results[process.name].note]
    last: dict[str, float] = {}
    totals: dict[str, float] = {}
    for done in range(0, epochs, chunk):
        size = min(chunk, epochs - done)
        for process in runners:
            trace, seconds = process.ask("epochs", size)
            results[process.name].turns.append([seconds / (size * len(batches))])
            totals[process.name] = totals.get(process.name, 0.0) + seconds
            last[process.name] = float(np.mean(trace[-len(batches) :]))
        typer.echo(f"epoch {done + size}: " + ", ".join(
            f"{name} {1e3 * results[name].turns[-1][0]:.1f} ms, loss {loss:.4g}" for name, loss in last.items()
        ), err=True)  # fmt: skip
    for name, loss in last.items():
        note = f"{epochs} epochs took {totals[name]:.1f} s; the last one's mean loss is {loss:.4g}"
        results[name] = results[name]._replace(note=note)
    return results


def command(
    epochs: Annotated[int, typer.Option(min=1, help="Of ten updates each; the tutorial has 5,000.")] = 5000,
    chunk: Annotated[int, typer.Option(min=1, help="Epochs in a turn.")] = 50,
    peers: Annotated[str, typer.Option(help=f"Of {', '.join(PEERS)}.")] = "torch",
    engines: Annotated[str, typer.Option(help="Of lstmcore; the first is the base of the ratio.")] = "",
    python: Annotated[list[str] | None, typer.Option(help="LIBRARY=PATH: another interpreter.")] = None,
    dtype: Annotated[str, typer.Option(help="float32 or float64.")] = "float32",
    threads: Annotated[int | None, typer.Option(min=1, help="For everybody; by default one per core.")] = None,
    out: Annotated[Path, typer.Option(help="CSV file that the rows are added to.")] = Path("runs/bench.csv"),
) -> None:
    """Train the counting network as the tutorial did, in lstmcore and in others, and compare the times."""
    threads = threads or machine.cores()
    try:
        entrants = contestants(listed(engines) or [fastest_engine()], listed(peers), python or [])
    except ValueError as error:
        typer.echo(f"benchmarks: {error}", err=True)
        raise typer.Exit(2) from None
    processes, absent = start([FLOOR, *entrants], threads)
    floor, *processes = processes
    try:
        floor.ask("prepare", *(make(TINY, dtype), "forward"))
        rate = Result([floor.ask("turn", 0.3, 1)])
        results = race(processes, dtype, epochs, chunk)
        versions = {process.name: process.version for process in processes}
    finally:
        for process in [floor, *processes]:
            process.close()
    results |= {name: Result([], note=f"absent: {reason}") for name, reason in absent.items()}
    problem = make(SHAPE, dtype)
    written = [
        row(
            e.name,
            versions.get(e.name, ""),
            "tutorial",
            SHAPE,
            problem,
            "train",
            threads,
            results,
            entrants[0].name,
            rate,
        )
        for e in entrants
    ]
    rows.append(out, written)
    print(report.table(written))


if __name__ == "__main__":
    cli(command)
