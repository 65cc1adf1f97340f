"""Peak memory of forward + backward, each contestant and shape in a fresh process: `python -m benchmarks.memory`."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from benchmarks import machine, rows, shapes
from benchmarks.machine import cli
from benchmarks.measure import Absent, Contestant, Failed, Process
from benchmarks.peers import PEERS
from benchmarks.problem import make
from benchmarks.race import contestants, fastest_engine, listed
from benchmarks.rows import Memory
from benchmarks.shapes import TINY, Shape
from benchmarks.truth import Truth, Wrong, truth

CALLS = 3
MIB = 2**20


def measure(contestant: Contestant, shape: Shape, dtype: str, threads: int, right: Truth) -> tuple[str, int, int]:
    """Version, peak bytes of the process, and how many of them were added since a tiny problem was run.

    Raises Absent, Failed, or Wrong for numbers that rounding does not explain.
    """
    with Process(contestant, threads) as process:
        if "full" not in process.modes:
            raise Absent(f"no full in {contestant.name}")
        process.ask("memory", make(TINY, dtype), "full", CALLS)  # loads kernels, starts thread pools
        before = process.ask("resident")
        peak, got = process.ask("memory", make(shape, dtype), "full", CALLS)
        right.check(got)
        return process.version, peak, peak - before


def measured(entrants: Sequence[Contestant], name: str, shape: Shape, dtype: str, threads: int) -> list[Memory]:
    """A row for every entrant; the first is the base of the ratios."""
    right = truth(make(shape, dtype), "full", threads)
    lengths = "" if shape.lengths is None else f"{shape.lengths[0]}-{shape.lengths[1]}"
    written: list[Memory] = []
    for entrant in entrants:
        blank = Memory(
            machine.now(), machine.processor(), name, *shape[:4], lengths, dtype, "full", entrant.name, version=""
        )
        try:
            version, peak, added = measure(entrant, shape, dtype, threads, right)
        except (Absent, Failed, Wrong) as reason:
            kind = {Absent: "absent", Failed: "failed", Wrong: "wrong"}[type(reason)]
            written.append(blank._replace(note=f"{kind}: {reason}"))
            continue
        row = blank._replace(version=version, peak_mib=peak / MIB, added_mib=added / MIB)
        base = written[0] if written else row
        if base.added_mib:
            row = row._replace(base=base.contestant, ratio=row.added_mib / base.added_mib)
        written.append(row)
    return written


def table(written: Sequence[Memory]) -> str:
    """Markdown: MiB that a problem adds to the process, and how many times the base's that is."""
    lines = ["| shape | who | added, MiB | ratio | whole process, MiB |", "| --- | --- | ---: | ---: | ---: |"]
    for r in written:
        if r.added_mib is None:
            lines.append(f"| {r.shape} | {r.contestant} | {' '.join(r.note.split())} | - | - |")
        else:
            ratio = "-" if r.ratio is None else f"{r.ratio:.2f}"
            lines.append(f"| {r.shape} | {r.contestant} {r.version} | {r.added_mib:.1f} | {ratio} | {r.peak_mib:.0f} |")
    return "\n".join(lines)


def command(
    shape_names: Annotated[str, typer.Option("--shapes", help="Groups and names of shapes.py.")] = "named",
    peers: Annotated[str, typer.Option(help=f"Of {', '.join(PEERS)}.")] = "torch",
    engines: Annotated[str, typer.Option(help="Of lstmcore; the first is the base of the ratios.")] = "",
    python: Annotated[list[str] | None, typer.Option(help="LIBRARY=PATH: another interpreter.")] = None,
    dtype: Annotated[str, typer.Option(help="float32 or float64.")] = "float32",
    threads: Annotated[int | None, typer.Option(min=1, help="For everybody; by default one per core.")] = None,
    out: Annotated[Path, typer.Option(help="CSV file that the rows are added to.")] = Path("runs/memory.csv"),
) -> None:
    """Peak memory of forward + backward against other libraries. Needs Linux, which counts it."""
    try:
        if sys.platform != "linux":
            raise ValueError("peak memory is read from /proc, which only Linux has")
        entrants = contestants(listed(engines) or [fastest_engine()], listed(peers), python or [])
        chosen = shapes.choose(shape_names)
    except ValueError as error:
        typer.echo(f"benchmarks: {error}", err=True)
        raise typer.Exit(2) from None
    everything = []
    for name, shape in chosen.items():
        everything += measured(entrants, name, shape, dtype, threads or machine.cores())
        rows.append(out, everything[-len(entrants) :])
    print(table(everything))


if __name__ == "__main__":
    cli(command)
