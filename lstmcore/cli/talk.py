"""How the commands talk: to a terminal, a pipe or a person with a mistake; and the options that they share."""

import contextlib
import io
import json
import math
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from types import ModuleType
from typing import Annotated, NoReturn, TextIO, TypeVar

import numpy as np
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

import lstmcore
from lstmcore.cli.ranks import first_alone, started
from lstmcore.ops.cells import CELLS
from lstmcore.recipes import job as finished
from lstmcore.recipes.job import Keep
from lstmcore.recipes.lock import locked

# No markup, no emoji codes: what is printed is plain text, brackets and colons included.
out = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
err = Console(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)


Cell = StrEnum("Cell", list(CELLS))  # type: ignore[misc]  # what layers are made of
LSTM = Cell("lstm")

Result = TypeVar("Result")
Options = TypeVar("Options")


CaseArgument = Annotated[Path, typer.Argument(help="A case file: see docs/case-format.md.")]
SeedOption = Annotated[int, typer.Option(min=0, help="Everything random comes from it.")]
EngineOption = Annotated[
    str | None, typer.Option(help=f"One of {', '.join(lstmcore.ENGINES)}; by default the fastest available.")
]


def named(name: str) -> Path:
    if not name.strip():
        raise typer.BadParameter("a folder should have a name; got an empty one (. is this folder)")
    return Path(name)


OutOption = Annotated[
    Path | None,
    typer.Option(
        "--out",
        parser=named,
        metavar="FOLDER",
        help="Folder for checkpoints, model, metrics and picture. Without it nothing is kept.",
    ),
]
ResumeOption = Annotated[
    bool, typer.Option("--resume", help="Go on with the run in the folder; begin one if there is none.")
]
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="Begin anew in a folder that holds a run; that one is lost.")
]


def _of_run(context: typer.Context, folder: Path | None) -> Path | None:
    """Options not given are as they were in that run."""
    if folder is not None and not context.resilient_parsing:
        options = or_complain(lambda: finished.options_of(folder))
        recipe = options.pop("recipe")
        if recipe != context.info_name:
            fail(f"{folder} holds a run of `train {recipe}`", 2)
        several = {option.name for option in context.command.params if getattr(option, "multiple", False)}
        listed = {
            name: ",".join(map(str, v)) if isinstance(v, list) and name not in several else v
            for name, v in options.items()
        }
        context.default_map = {**(context.default_map or {}), **listed}
    return folder


FromOption = Annotated[
    Path | None,
    typer.Option(
        "--from",
        metavar="RUN",
        is_eager=True,
        callback=_of_run,
        help="Begin with the weights of this finished run; options not given are as they were there.",
    ),
]
FindLrOption = Annotated[
    bool, typer.Option("--find-lr", help="No training: let the learning rate rise for 200 updates, and see.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="The metrics as one JSON object, the last line.")]


def number(help: str, min: float | None = 0, max: float | None = None) -> object:
    """An option that is a finite number within these limits."""
    return typer.Option(help=help, min=min, max=max, callback=_finite)


def _finite(value: float | None) -> float | None:
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"should be a finite number; got {value}")
    return value


@contextlib.contextmanager
def keeping(
    folder: Path | None, resume: bool, overwrite: bool, begin_from: Path | None = None
) -> Iterator[Keep | None]:
    """Where the run is kept, once it is clear that nothing is lost there; no other process writes there meanwhile. Made
    now, so that a failure shows before the training."""
    ranks = or_complain(started)
    if folder is None:
        if ranks is not None and ranks.size > 1:
            fail("several ranks need a folder, where the first of them writes: --out FOLDER", 2)
        if begin_from is not None:
            fail("--from needs a folder for what becomes of it: --out FOLDER", 2)
        if resume or overwrite:
            fail(f"--{'resume' if resume else 'overwrite'} needs the folder of the run: --out FOLDER", 2)
        yield None
        return
    if resume and overwrite:
        fail("--resume goes on with a run and --overwrite deletes it: one of the two", 2)
    words = [word for word in sys.argv[1:] if word not in ("--resume", "--overwrite")]
    command = typed(["lstmcore", *words, "--resume"])
    keep = Keep(folder, resume, overwrite, tell, f"go on with: {command}", begin_from=begin_from, ranks=ranks)
    if begin_from is not None and begin_from.resolve() == folder.resolve():
        fail("--from RUN and --out FOLDER should differ; to go on with a run that was interrupted: --resume", 2)
    with contextlib.ExitStack() as held:
        with first_alone(ranks) as first:
            if first:
                or_complain(lambda: held.enter_context(locked(folder)))
                if keep.holds_a_run and not (resume or overwrite):
                    again = f"go on with it: {command}; or begin anew with --overwrite, or in another folder"
                    fail(f"{folder} holds a run; {again}", 2)
                if resume and keep.holds_only_results:
                    fail(f"{folder} holds a model, but no checkpoint to go on from; --overwrite begins anew", 2)
                if resume and not keep.holds_a_run:
                    tell(f"{folder} holds no run to go on with; one begins")
        yield keep


def hand_over(
    recipe: ModuleType,
    result: Result,
    options: Options,
    keep: Keep | None,
    as_json: bool,
    show: Callable[[Result, Options], None],
    hint: Sequence[str] = (),
) -> None:
    """What ends every training: first the files, then what is shown and the JSON object, then the exit code of a run
    that could not be saved: 2, diverged: 1, or was interrupted: 130.

    show: prints what came of it, from result and options. hint: what follows the folder in a `predict` to try next.
    """
    metrics, trouble, written = recipe.metrics(result, options), None, ""
    if keep is not None and (keep.ranks is None or keep.ranks.first):
        try:
            recipe.save(keep.folder, result, options)
        except OSError as error:
            trouble = in_words(error)
        else:
            tables = [recipe.TABLE] if hasattr(recipe, "TABLE") else []
            drawn = picture(lambda path: recipe.draw(path, result), keep.folder / "picture.png")
            files = [*finished.FILES, *tables, *drawn]
            predict = ["lstmcore", "predict", metrics["recipe"], str(keep.folder), *hint]
            written = f"{keep.folder}: {', '.join(files)}" + (f"; try: {typed(predict)}" if hint else "")
    show(result, options)
    if written:
        say(written)
    if as_json and not out.quiet:
        print(json.dumps(finished.plain(metrics)))
    if trouble is not None:
        fail(trouble, 2)
    if metrics["diverged"]:
        fail(f"the training diverged: {metrics['ended']}; a lower --lr may help")
    if metrics["ended"] == "interrupted":
        if keep is None:
            tell("interrupted, and nothing is kept; with --out FOLDER, --resume could go on")
        raise typer.Exit(130)


def range_test(job: finished.Job, folder: Path | None, as_json: bool) -> NoReturn:
    """What --find-lr does in place of training: a table, a picture if there is a folder, and the end."""
    with contextlib.ExitStack() as held:
        if folder is not None:
            or_complain(lambda: held.enter_context(locked(folder)))
        found = or_complain(job.find_lr)
        written = []
        if folder is not None:
            written = picture(lambda path: finished.draw_range_test(path, found), folder / "learning-rate.png")
    table = Table("learning rate", "loss", box=None, header_style="bold")
    for lr, loss in found.table():
        table.add_row(f"{lr:.2g}", f"{loss:.4g}")
    out.print(table)
    say(
        f"{found.ended}; the loss falls fastest at {found.fastest:.1g} and is lowest at {found.lowest:.1g}: try --lr "
        f"{found.fastest:.1g} first, and not more than a tenth of the other, {found.lowest / 10:.1g}"
    )
    if folder is not None:
        say(f"{folder}: {', '.join(written) or 'no picture'}")
    if as_json:
        print(json.dumps({"fastest": found.fastest, "lowest": found.lowest, "ended": found.ended}))
    raise typer.Exit(130 if found.ended == "interrupted" else 0)


# ---- words -----------------------------------------------------------------------------------------------------------


def typed(words: list[str], posix: bool = os.name == "posix") -> str:
    """A command as somebody would type it."""
    return shlex.join(words) if posix else subprocess.list2cmdline(words)


def say(message: str) -> None:
    """A line of plain text: brackets in it are brackets."""
    out.print(Text(message))


def tell(message: str) -> None:
    """A word on stderr, while the work goes on; plain text too."""
    err.print(Text(message))


def picture(draw: Callable[[Path], None], path: Path) -> list[str]:
    """Draws it and returns its name; if that fails, one line says why, and nothing else is lost."""
    try:
        with np.errstate(all="ignore"):  # what a network that diverged writes
            draw(path)
    except ImportError:
        tell("no picture: pip install 'lstmcore[plot]'")
    except Exception as error:
        tell(f"no picture: {in_words(error)}")
    else:
        return [path.name]
    return []


def or_complain(work: Callable[[], Result]) -> Result:
    """What `work` returns; bad input and trouble with files or memory end in one line and exit code 2."""
    try:
        with np.errstate(all="ignore"):  # what is not finite shows in the answer, which says so in its own words
            return work()
    except (ValueError, TypeError, KeyError, OSError, OverflowError, MemoryError) as error:
        fail(in_words(error), 2)


def in_words(error: Exception) -> str:
    """The message of an error, without the number of an OSError; another line for one without a message."""
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, MemoryError):
        return f"not enough memory: {error}".removesuffix(": ")
    if isinstance(error, KeyError) and error.args:
        return str(error.args[0])  # Python would put it in quotes
    return str(error) or type(error).__name__


def fail(message: str, code: int = 1) -> NoReturn:
    err.print(Text.assemble(("lstmcore: ", "red"), message))
    end = typer.Exit(code)
    end.args = (message,)  # for other ranks of MPI
    raise end


# ---- streams ---------------------------------------------------------------------------------------------------------


def show_all_symbols() -> None:
    """What the encoding of a console cannot show is printed as an escape, in place of an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def print_or_go_on() -> None:
    """From here on no print raises: a reader that has gone away, or a full disk behind a pipe, ends no training."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and not isinstance(stream, _GoesOn):
            setattr(sys, name, _GoesOn(stream))


class _GoesOn:
    """A stream that drops what it cannot write, and all that comes after it."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            self._stream.write(text)
        except OSError as error:
            self._drop(error)
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._drop(error)

    def _drop(self, error: OSError) -> None:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())  # Python flushes once more at its end
        if not isinstance(error, BrokenPipeError) and sys.stderr is not self:
            tell(f"what is printed is lost ({error.strerror}); the work goes on")
