"""How the commands talk: to a terminal, a pipe or a person with a mistake; and options that several share."""

import contextlib
import io
import math
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn, TextIO, TypeVar

import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

import lstmcore
from lstmcore.ops.cells import CELLS

# No markup, no emoji codes: what is printed is plain text, brackets and colons included.
out = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
err = Console(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)


Cell = StrEnum("Cell", list(CELLS))  # type: ignore[misc]  # what layers are made of
LSTM = Cell("lstm")

LONGEST = 1000  # letters of each end of a complaint
Result = TypeVar("Result")


CaseArgument = Annotated[Path, typer.Argument(help="A case file: see docs/case-format.md.")]
SeedOption = Annotated[int, typer.Option(min=0, help="Everything random comes from it.")]
EngineOption = Annotated[
    str | None, typer.Option(help=f"One of {', '.join(lstmcore.ENGINES)}; by default the fastest available.")
]


def named(name: str) -> Path:
    if not name.strip():
        raise typer.BadParameter("it should have a name; got an empty one (. is this folder)")
    return Path(name)


JsonOption = Annotated[bool, typer.Option("--json", help="The metrics as one JSON object, the last line.")]


def number(help: str, min: float | None = 0, max: float | None = None) -> object:
    """An option that is a finite number within these limits."""
    return typer.Option(help=help, min=min, max=max, callback=_finite)


def _finite(value: float | None) -> float | None:
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"should be a finite number; got {value}")
    return value


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


def bar() -> Progress:
    """How far the work is: on stderr, if that is a terminal, and gone in the end."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    return Progress(*columns, console=err, transient=True, disable=not err.is_terminal)


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
    if isinstance(error, OSError) and error.strerror:
        return error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"
    if isinstance(error, MemoryError):
        return f"not enough memory: {error}".removesuffix(": ")
    if isinstance(error, KeyError) and error.args:
        return str(error.args[0])  # Python would put it in quotes
    return str(error) or type(error).__name__


def fail(message: str, code: int = 1) -> NoReturn:
    """Ends with a line; of one that what was typed makes too long, its beginning and its end."""
    if len(message) > 2 * LONGEST:
        message = f"{message[:LONGEST]} ... {message[-LONGEST:]}"
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


def print_or_end() -> None:
    """From here on, what cannot be printed ends the program: 141 where the reader has gone away, as `| head` does, 2
    for a full disk. What cannot be said on stderr is dropped."""
    for name in ("stdout", "stderr"):  # None: closed, as `>&-` does
        stream = getattr(sys, name) or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 (open to the end)
        setattr(sys, name, _Printed(stream, goes_on=name == "stderr"))


def print_or_go_on() -> None:
    """From here on no print raises: a reader that has gone away, or a full disk behind a pipe, ends no training."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, _Printed):
            stream.goes_on = True
        elif stream is not None:
            setattr(sys, name, _Printed(stream, goes_on=True))


class _Printed:
    """A stream that ends the program where it cannot write, or goes on without what it cannot write."""

    def __init__(self, stream: TextIO, goes_on: bool):
        self._stream, self.goes_on = stream, goes_on

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            self._stream.write(text)
        except OSError as error:
            self._lost(error)
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._lost(error)

    def _lost(self, error: OSError) -> None:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())  # Python flushes once more at its end
        gone = isinstance(error, BrokenPipeError)
        if not self.goes_on:
            if not gone:
                tell(f"lstmcore: what is printed is lost ({error.strerror})")
            raise SystemExit(141 if gone else 2) from None
        if not gone and sys.stderr is not self:
            tell(f"what is printed is lost ({error.strerror}); the work goes on")
