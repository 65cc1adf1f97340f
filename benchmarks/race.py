"""The race: `python -m benchmarks`. Writes CSV rows, and prints the table of report.py at the end."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from benchmarks import machine, report, rows, shapes
from benchmarks.machine import cli
from benchmarks.measure import Contestant, Result, race, ratios, start
from benchmarks.peers import PEERS, USUAL, product
from benchmarks.problem import MODES, Problem, make
from benchmarks.shapes import Shape, gigaflops
from benchmarks.truth import truth
from lstmcore.ops import cells
from lstmcore.ops.recurrence import choose

CAPS = {  # what the libraries are told to compute without anything newer: all but onnxruntime can be told
    "avx2": {
        "NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2,+fma", "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2", "OPENBLAS_CORETYPE": "Haswell",
        "XLA_FLAGS": "--xla_cpu_max_isa=AVX2",
    },
}  # fmt: skip
FLOOR = Contestant("product", "benchmarks.peers.product")


def contestants(engines: Sequence[str], peers: Sequence[str], pythons: Sequence[str] = ()) -> list[Contestant]:
    """Engines of lstmcore first. pythons: "tensorflow=/path/to/python" runs that library under another interpreter.

    Raises ValueError for a peer or a library that is unknown.
    """
    for name in peers:
        if name not in PEERS:
            raise ValueError(f"a peer should be one of {', '.join(PEERS)}; got {name!r}")
    where = dict(entry.split("=", 1) for entry in pythons if "=" in entry)
    if len(where) < len(pythons) or not where.keys() <= {module for module, _ in PEERS.values()}:
        raise ValueError(f"`python` should be LIBRARY=PATH, such as tensorflow=PATH; got {' '.join(pythons)}")
    own = [Contestant(f"lstmcore {engine}", "benchmarks.peers.lstmcore", engine) for engine in engines]
    return own + [
        Contestant(name, f"benchmarks.peers.{module}", variant, where.get(module, sys.executable))
        for name, (module, variant) in ((name, PEERS[name]) for name in peers)
    ]


def fastest_engine() -> str:
    """The engine that lstmcore takes by itself for NumPy arrays."""
    return choose(None, cells.lstm, np.zeros(1, "float32")).NAME


def run(
    entrants: Sequence[Contestant],
    chosen: Mapping[str, Shape],
    modes: Sequence[str],
    dtype: str,
    rounds: int,
    seconds: float,
    threads: int,
    out: Path,
    isa: str = "",
) -> list[rows.Row]:
    """Races everybody over shapes and modes; rows go into the CSV file as they come. The first entrant is the base."""
    processes, absent = start([FLOOR, *entrants], threads)
    floor, *processes = processes
    written = []
    try:
        floor.ask("prepare", make(shapes.TINY, dtype), "forward")
        for name, reason in absent.items():
            typer.echo(f"{name} is absent: {reason}", err=True)
        for shape_name, shape in chosen.items():
            problem = make(shape, dtype)
            for mode in modes:
                results, floor_result = race(
                    processes, floor, problem, mode, truth(problem, mode, threads), rounds, seconds
                )
                versions = {process.name: process.version for process in processes}
                results |= {name: Result([], note=f"absent: {reason}") for name, reason in absent.items()}
                fresh = [
                    row(entrant.name, versions.get(entrant.name, ""), shape_name, shape, problem, mode, threads,
                        results, entrants[0].name, floor_result)
                    for entrant in entrants
                ]  # fmt: skip
                fresh = [one._replace(machine=f"{one.machine}, as {isa}") for one in fresh] if isa else fresh
                rows.append(out, fresh)
                written += fresh
                typer.echo(report.line(fresh), err=True)
    finally:
        for process in [floor, *processes]:
            process.close()
    return written


def row(
    name: str,
    version: str,
    shape_name: str,
    shape: Shape,
    problem: Problem,
    mode: str,
    threads: int,
    results: Mapping[str, Result],
    base: str,
    floor: Result,
) -> rows.Row:
    """One contestant's row of a race."""
    result, lengths = results[name], "" if shape.lengths is None else f"{shape.lengths[0]}-{shape.lengths[1]}"
    blank = rows.Row(
        machine.now(), machine.processor(), machine.cores(), threads, shape_name, *shape[:4], lengths,
        str(problem.dy.dtype), mode, name, version, len(result.turns), sum(map(len, result.turns)), note=result.note,
    )  # fmt: skip
    if not result.turns:
        return blank
    q20, median, q80 = result.quantiles()
    filled = blank._replace(
        median_ms=1e3 * median,
        q20_ms=1e3 * q20,
        q80_ms=1e3 * q80,
        gflops=gigaflops(shape, mode, problem.batch.steps()) / median,
        product_gflops=product.GIGAFLOPS / floor.quantiles()[1],
        error=result.error,
    )
    if not results[base].turns:
        return filled
    low, ratio, high = ratios(result, results[base])
    return filled._replace(base=base, ratio=ratio, ratio_q20=low, ratio_q80=high)


def listed(text: str) -> list[str]:
    """A comma-separated option; "none" and "" are empty."""
    return [name for name in text.split(",") if name and name != "none"]


def command(
    shape_names: Annotated[
        str, typer.Option("--shapes", help=f"Of {', '.join([*shapes.GROUPS, 'all'])}, or names of shapes.py.")
    ] = "named",
    modes: Annotated[str, typer.Option(help=f"Of {', '.join(MODES)}.")] = "forward,full",
    peers: Annotated[str, typer.Option(help=f"Of {', '.join(PEERS)}, or none.")] = ",".join(USUAL),
    engines: Annotated[str, typer.Option(help="Of lstmcore; the first is the base of all ratios.")] = "",
    python: Annotated[list[str] | None, typer.Option(help="LIBRARY=PATH: another interpreter.")] = None,
    dtype: Annotated[str, typer.Option(help="float32 or float64.")] = "float32",
    rounds: Annotated[int, typer.Option(min=1, help="Turns of everybody.")] = 7,
    seconds: Annotated[float, typer.Option(min=0, help="The length of a turn, at least three calls.")] = 0.3,
    threads: Annotated[str, typer.Option(help="For everybody, such as 1,2,4; by default one per core.")] = "",
    isa: Annotated[str, typer.Option(help="avx2: nobody uses anything newer (but onnxruntime, which stays out).")] = "",
    out: Annotated[Path, typer.Option(help="CSV file that the rows are added to.")] = Path("runs/bench.csv"),
    pictures: Annotated[Path | None, typer.Option(help="Folder for pictures of this file.")] = None,
) -> None:
    """Race lstmcore against other libraries: check the numbers, then time, then write rows."""
    try:
        unknown = set(listed(modes)) - set(MODES)
        if unknown or dtype not in ("float32", "float64"):
            raise ValueError(f"`modes` should be some of {', '.join(MODES)}, `dtype` float32 or float64")
        if isa and isa not in CAPS:
            raise ValueError(f"`isa` should be one of {', '.join(CAPS)}; got {isa!r}")
        os.environ.update(CAPS.get(isa, {}))
        invited = [name for name in listed(peers) if not (isa and name == "onnxruntime")]
        entrants = contestants(listed(engines) or [fastest_engine()], invited, python or [])
        counts = [int(count) for count in listed(threads)] or [machine.cores()]
        if min(counts) < 1:
            raise ValueError(f"`threads` should be 1 or more; got {threads}")
        chosen = shapes.choose(shape_names)
    except ValueError as error:
        typer.echo(f"benchmarks: {error}", err=True)
        raise typer.Exit(2) from None
    for count in counts:
        print(report.table(run(entrants, chosen, listed(modes), dtype, rounds, seconds, count, out, isa)))
    if pictures is not None:
        report.draw(rows.read(out), pictures)


def main() -> None:
    """The command line."""
    cli(command)
