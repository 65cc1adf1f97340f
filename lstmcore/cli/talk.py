"""How the commands talk: to a terminal, a pipe or a person with a mistake; and the options that they share."""

import json
import shlex
import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

import lstmcore
from lstmcore.recipes import job as finished
from lstmcore.recipes.job import Keep

out, err = Console(highlight=False, soft_wrap=True), Console(stderr=True, highlight=False, soft_wrap=True)


class Cell(StrEnum):
    lstm = "lstm"
    gru = "gru"
    rnn = "rnn"


CaseArgument = Annotated[Path, typer.Argument(help="A case file: see docs/case-format.md.")]
SeedOption = Annotated[int, typer.Option(min=0, help="Everything random comes from it.")]
EngineOption = Annotated[
    str | None, typer.Option(help=f"One of {', '.join(lstmcore.ENGINES)}; by default the fastest that is there.")
]
OutOption = Annotated[
    Path | None,
    typer.Option("--out", help="Folder for checkpoints, model, metrics and picture. Without it nothing is kept."),
]
ResumeOption = Annotated[
    bool, typer.Option("--resume", help="Go on with the run in the folder; begin one if there is none.")
]
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="Begin anew in a folder that holds a run; that one is lost.")
]
FindLrOption = Annotated[
    bool, typer.Option("--find-lr", help="No training: let the learning rate rise for 200 updates, and see.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="The metrics as one JSON object, the last line.")]


def keeping(folder: Path | None, resume: bool, overwrite: bool) -> Keep | None:
    """Where the run is kept, once it is clear that nothing gets lost there. Made now: it would be a pity to find after
    the training that it cannot be."""
    if folder is None:
        if resume or overwrite:
            fail(f"--{'resume' if resume else 'overwrite'} needs the folder of the run: --out FOLDER", 2)
        return None
    if resume and overwrite:
        fail("--resume goes on with a run and --overwrite deletes it: one of the two", 2)
    or_complain(lambda: folder.mkdir(parents=True, exist_ok=True))
    words = [word for word in sys.argv[1:] if word not in ("--resume", "--overwrite")]
    command = shlex.join(["lstmcore", *words, "--resume"])
    keep = Keep(folder, resume, overwrite, tell, f"go on with: {command}")
    if keep.holds_a_run and not (resume or overwrite):
        fail(f"{folder} holds a run; go on with it: {command}; or begin anew with --overwrite, or in another folder", 2)
    if resume and keep.holds_only_results:
        fail(f"{folder} holds a model, but no checkpoint to go on from; --overwrite begins anew", 2)
    if resume and not keep.holds_a_run:
        tell(f"{folder} holds no run to go on with; one begins")
    return keep


def hand_over(recipe: Any, result: Any, options: Any, keep: Keep | None, as_json: bool, hint: str = "") -> None:
    """What ends every training: the folder, the JSON object, and the exit code of an interrupted run."""
    metrics = recipe.metrics(result, options)
    if keep is not None:
        or_complain(lambda: recipe.save(keep.folder, result, options))
        written = [*finished.FILES, *picture(lambda path: recipe.draw(path, result), keep.folder / "picture.png")]
        out.print(f"{keep.folder}: {', '.join(written)}{hint}")
    if as_json:
        print(json.dumps(metrics))
    if metrics["ended"] == "interrupted":
        if keep is None:
            tell("interrupted, and nothing is kept; with --out FOLDER, --resume could go on")
        raise typer.Exit(130)


def range_test(job: finished.Job, folder: Path | None, as_json: bool) -> NoReturn:
    """What --find-lr does in place of training: a table, a picture if there is a folder, and the end."""
    found = or_complain(job.find_lr)
    table = Table("learning rate", "loss", box=None, header_style="bold")
    for lr, loss in found.table():
        table.add_row(f"{lr:.2g}", f"{loss:.4g}")
    out.print(table)
    out.print(
        f"{found.ended}; the loss falls fastest at {found.fastest:.1g} and is lowest at {found.lowest:.1g}: try --lr "
        f"{found.fastest:.1g} first, and not more than a tenth of the other, {found.lowest / 10:.1g}"
    )
    if folder is not None:
        or_complain(lambda: folder.mkdir(parents=True, exist_ok=True))
        written = picture(lambda path: finished.draw_range_test(path, found), folder / "learning-rate.png")
        out.print(f"{folder}: {', '.join(written) or 'no picture'}")
    if as_json:
        print(json.dumps({"fastest": found.fastest, "lowest": found.lowest, "ended": found.ended}))
    raise typer.Exit(130 if found.ended == "interrupted" else 0)


def tell(message: str) -> None:
    """A word while the training goes on."""
    err.print(Text(message))


def picture(draw: Callable[[Path], None], path: Path) -> list[str]:
    """Draws it and returns its name; without matplotlib one line says what is missing."""
    try:
        draw(path)
    except ImportError:
        err.print("no picture: pip install 'lstmcore[plot]'")
        return []
    return [path.name]


def or_complain(work: Callable[[], Any]) -> Any:
    """What `work` returns; bad input and trouble with files end in one line and exit code 2."""
    try:
        return work()
    except (ValueError, TypeError, OSError) as error:
        fail(str(error), 2)


def fail(message: str, code: int = 1) -> NoReturn:
    err.print(Text.assemble(("lstmcore: ", "red"), message))
    raise typer.Exit(code)
