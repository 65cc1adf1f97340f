"""What it costs to watch: `python -m benchmarks.debug`, on one thread, in CPU time.

A training step is timed plainly, and under each tool of `lstmcore.debug` that watches one. Everything takes turns, so
that a busy machine slows down all of it, and a row's ratio is the median over the rounds of time / plain time.
"""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

if __name__ == "__main__":  # CPU time counts threads that wait: to be said before they start
    for library in (
        "OMP",
        "OPENBLAS",
        "MKL",
        "NUMBA",
    ):  # CPU time counts threads that wait; to be said before they start
        os.environ[f"{library}_NUM_THREADS"] = "1"

import numpy as np
import typer

import lstmcore as lc
from benchmarks import machine, rows, shapes
from benchmarks.machine import cli
from benchmarks.shapes import Shape

TOOLS = ("ledger", "flow", "tripwire")
LIMIT = 3.0  # what a tool may cost at the shape "peptide", in plain steps


class Watched(NamedTuple):
    """One tool on one engine and shape."""

    date: str  # UTC, ISO 8601
    machine: str
    shape: str
    T: int
    B: int
    I: int
    H: int
    dtype: str
    engine: str
    tool: str  # "plain": forward + backward alone
    version: str
    rounds: int
    cpu_ms: float  # median
    ratio: float  # CPU time / that of the plain step, median over the rounds
    ratio_q20: float
    ratio_q80: float


def turns(engine: str, shape: Shape, dtype: str, rounds: int) -> dict[str, np.ndarray]:
    """CPU seconds of every turn, by tool. The first turns, which compile, do not count."""
    rng = np.random.default_rng(0)
    layer = lc.LSTM(shape.I, shape.H, dtype=dtype, seed=1, engine=engine)
    x, dy = (rng.standard_normal((shape.T, shape.B, width)).astype(dtype) for width in (shape.I, shape.H))

    def plain() -> None:
        _, _, cache = layer.forward(x)
        layer.backward(dy, cache)

    jobs: dict[str, Callable] = {"plain": plain}
    jobs |= {tool: lambda tool=tool: getattr(lc.debug, tool)(layer, x, dy) for tool in TOOLS}
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(rounds + 2):
        for name, job in jobs.items():
            start = time.process_time()
            job()
            seconds[name].append(time.process_time() - start)
    return {name: np.array(values[2:]) for name, values in seconds.items()}


def measured(engine: str, name: str, shape: Shape, dtype: str, rounds: int) -> list[Watched]:
    seconds = turns(engine, shape, dtype, rounds)
    where = (machine.now(), machine.processor(), name, *shape[:4], dtype, engine)
    return [
        Watched(
            *where, tool, lc.__version__, rounds, 1e3 * float(np.median(s)),
            *map(float, np.quantile(s / seconds["plain"], (0.5, 0.2, 0.8))),
        )
        for tool, s in seconds.items()
    ]  # fmt: skip


def table(written: Sequence[Watched]) -> str:
    """Markdown: CPU time, and how many plain steps that is."""
    lines = [
        "| engine, shape, dtype | tool | CPU, ms | plain steps | 20 % to 80 % |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    for r in written:
        lines.append(
            f"| {r.engine}, ({r.T}, {r.B}, {r.I}, {r.H}), {r.dtype} | {r.tool} | {r.cpu_ms:.1f} | {r.ratio:.2f} "
            f"| {r.ratio_q20:.2f} to {r.ratio_q80:.2f} |"
        )
    return "\n".join(lines)


def command(
    shape_names: Annotated[str, typer.Option("--shapes", help="Groups and names of shapes.py.")] = "peptide",
    engines: Annotated[str, typer.Option(help="Of lstmcore, with commas between.")] = "fused-cpu,reference",
    dtype: Annotated[str, typer.Option(help="float32 or float64.")] = "float32",
    rounds: Annotated[int, typer.Option(min=3, help="Turns of each.")] = 30,
    out: Annotated[Path, typer.Option(help="CSV file that the rows are added to.")] = Path("runs/debug.csv"),
) -> None:
    """What ledger, flow and tripwire cost, in forward + backward passes of the same engine."""
    written = []
    for name, shape in shapes.choose(shape_names).items():
        for engine in engines.split(","):
            written += measured(engine, name, shape, dtype, rounds)
    rows.append(out, written)
    print(table(written))
    over = [f"{r.tool} on {r.engine}" for r in written if r.shape == "peptide" and r.ratio > LIMIT]
    if over:
        typer.echo(f"more than {LIMIT:g} plain steps: {', '.join(over)}", err=True)
        raise typer.Exit(1)


if __name__ == "__main__":
    cli(command)
