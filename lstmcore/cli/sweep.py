"""`lstmcore sweep`: which learning rate is right, and everything else that can be told a recipe."""

import json
import math
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from lstmcore.arrays import Plain
from lstmcore.cli.talk import JsonOption, bar, fail, named, or_complain, out, picture, print_or_go_on, say, tell, typed
from lstmcore.ops.cpu.processors import processors
from lstmcore.recipes import sweep as sweeping

sweep = typer.Typer()
EPILOG = """Examples:

lstmcore sweep count --param lr=1e-3,3e-3,1e-2 --seeds 5 --out runs/rates

lstmcore sweep text book.txt --param hidden=64,256 --param dropout=0,0.2 --set epochs=2 --seeds 3 --out runs/book

lstmcore sweep series load.csv --set column=MW --param window=48,96,192 --seeds 3 --out runs/load

On any number of machines, the same on each: lstmcore sweep count --param lr=1e-3,3e-3 --seeds 5
--storage postgresql://ada@host/sweeps --out SHARED

The metric is that of the part tested on: the best of many trials owes a little of it to chance."""


@sweep.command("sweep", epilog=EPILOG)
def sweep_recipe(
    recipe: Annotated[str, typer.Argument(help=f"One of {', '.join(sweeping.RECIPES)}.")],
    file: Annotated[Path | None, typer.Argument(help="The recipe's data, where it reads a file.")] = None,
    param: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE,VALUE,...: try them all; once per option. 64+32 is a tuple.")
    ] = None,
    fixed: Annotated[list[str] | None, typer.Option("--set", help="NAME=VALUE: the same in every trial.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds each value is tried with.")] = 3,
    metric: Annotated[str | None, typer.Option(help="What is to be small; by default the recipe's error.")] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Trials side by side; by default as cores allow.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="Of each trial.")] = 1,
    storage: Annotated[
        str,
        typer.Option(help="Shared with other machines: a database's URL, or a journal's path on a disk they all see."),
    ] = "",
    patience: Annotated[
        float, typer.Option(min=1, help="Seconds without a sign of life, after which another machine is dead.")
    ] = sweeping.PATIENCE,
    folder: Annotated[
        Path,
        typer.Option(
            "--out", parser=named, metavar="FOLDER", help="Folder of the sweep: results, models, logs, picture."
        ),
    ] = ...,  # type: ignore[assignment]
    as_json: JsonOption = False,
) -> None:
    """Try values of a recipe's options, each with several seeds, and tell which is best.

    Every trial is a process of its own. Ctrl-C and the same command again go on: what is finished is kept, what was
    begun goes on from its last checkpoint, what failed is tried again. More values or seeds can be added that way too.
    With --storage other machines may do the same at the same time; the trials of one that dies are taken up by another.
    """
    print_or_go_on()
    space = or_complain(lambda: sweeping.read(recipe, param or [], fixed or [], seeds, metric, file))
    show = _Show(space)
    try:
        with show.bar:
            outcome = or_complain(
                lambda: sweeping.run(
                    space, folder, jobs or max(1, processors() // threads), threads, show, storage, patience
                )
            )
    except ImportError as error:
        if error.__cause__ is not None:  # SQLAlchemy's, of a driver
            fail(
                f"no driver for this storage ({error.__cause__}); for PostgreSQL: pip install 'lstmcore[postgresql]'", 2
            )
        fail(f"a sweep needs Optuna ({error}): pip install 'lstmcore[sweep]'", 2)
    found = sweeping.configurations(outcome.trials)
    written = or_complain(lambda: _write(folder, space, outcome, found))
    out.print(_table(space, found))
    say(sweeping.verdict(found))
    say(f"{folder}: {', '.join(written)}")
    again = typed(["lstmcore", *sys.argv[1:]])
    failed = sum(trial.state == "failed" for trial in outcome.trials)
    if failed:
        tell(f"{failed} of {len(outcome.trials)} trials failed; {folder}/trials has their logs; again: {again}")
    if as_json:
        print(json.dumps(_plain(space, outcome, found)))
    if outcome.ended == "interrupted":
        tell(f"interrupted; go on with: {again}")
        raise typer.Exit(130)
    if failed == len(outcome.trials):
        raise typer.Exit(1)


class _Show:
    """A line for every trial that ends, on stderr, and, if that is a terminal, a bar with the time left below them."""

    def __init__(self, space: sweeping.Space):
        self.space = space
        self.bar = bar()
        self.task = self.bar.add_task("")

    def __call__(self, standing: sweeping.Standing) -> None:
        done = standing.finished + standing.failed
        left = "" if standing.seconds_left is None else f", about {_time(standing.seconds_left)} left"
        failed = f", {standing.failed} failed" if standing.failed else ""
        elsewhere = f", {standing.elsewhere} on other machines" if standing.elsewhere else ""
        words = f"{standing.running} running{elsewhere}{failed}{left}"
        self.bar.update(self.task, completed=done, total=standing.total, description=words)
        latest = standing.latest
        if latest is not None:
            said = f"{self.space.metric} {latest.value:.4g}" if latest.value is not None else latest.state
            tell(
                f"[{done}/{standing.total}{left}] {latest.point}: {said}, {_time(latest.seconds or 0)}; {latest.ended}"
            )


def _time(seconds: float) -> str:
    """41 s, 2 min 05 s, 3 h 20 min."""
    s = round(seconds)
    if s < 60:
        return f"{s} s"
    return f"{s // 60} min {s % 60:02} s" if s < 3600 else f"{s // 3600} h {s % 3600 // 60:02} min"


def _number(value: float) -> str:
    return "" if math.isnan(value) else "diverged" if math.isinf(value) else f"{value:.4g}"


def _table(space: sweeping.Space, found: list[sweeping.Configuration]) -> Table:
    table = Table(*space.swept, space.metric, "spread", "best", "worst", "seeds", "time", box=None, header_style="bold")
    failures = any(c.count("failed") for c in found)
    if failures:
        table.add_column("failed")
    for column in table.columns[len(space.swept) :]:
        column.justify = "right"
    for c in found:
        scores = c.scores or [math.nan]
        cells = [*map(sweeping.told, c.values.values())]
        cells += [_number(v) for v in (c.mean, c.spread, min(scores), max(scores))]
        cells += [f"{c.count('finished')} of {len(c.trials)}", "" if math.isnan(c.seconds) else _time(c.seconds)]
        table.add_row(*cells, *([str(c.count("failed"))] if failures else []))
    return table


def _write(
    folder: Path, space: sweeping.Space, outcome: sweeping.Outcome, found: list[sweeping.Configuration]
) -> list[str]:
    sweeping.write_csv(folder / "trials.csv", space, outcome.trials)
    return ["trials.csv", *picture(lambda path: sweeping.draw(path, space, found), folder / "picture.png")]


def _plain(space: sweeping.Space, outcome: sweeping.Outcome, found: list[sweeping.Configuration]) -> Plain:
    """What --json prints. What is no number is null."""

    def number(value: float | None) -> float | None:
        return value if value is not None and math.isfinite(value) else None

    rows = [
        {
            "values": c.values,
            "mean": number(c.mean),
            "spread": number(c.spread),
            "scores": [number(score) for score in c.scores],
            "seconds": number(c.seconds),
            **{state: c.count(state) for state in ("finished", "failed", "open")},
        }
        for c in found
    ]
    return {
        "recipe": space.recipe,
        "metric": space.metric,
        "fixed": {name: sweeping.told(value) for name, value in {**space.fixed, **space.inputs}.items()},
        "seeds": list(space.seeds),
        "best": rows[0]["values"] if rows[0]["mean"] is not None else None,
        "configurations": rows,
        "trials": len(outcome.trials),
        "kept": outcome.kept,
        **{state: sum(t.state == state for t in outcome.trials) for state in ("finished", "failed", "open")},
        "seconds": outcome.seconds,
        "ended": outcome.ended,
    }
