"""How the commands talk: to a terminal, a pipe or a person with a mistake; and the options that they share."""

import json
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.text import Text

import lstmcore
from lstmcore.recipes import run as finished

out, err = Console(highlight=False, soft_wrap=True), Console(stderr=True, highlight=False, soft_wrap=True)


class Cell(StrEnum):
    lstm = "lstm"
    gru = "gru"
    rnn = "rnn"


SeedOption = Annotated[int, typer.Option(min=0, help="Everything random comes from it.")]
EngineOption = Annotated[
    str | None, typer.Option(help=f"One of {', '.join(lstmcore.ENGINES)}; by default the fastest that is there.")
]
OutOption = Annotated[Path | None, typer.Option("--out", help="Folder for model, metrics and picture.")]
JsonOption = Annotated[bool, typer.Option("--json", help="The metrics as one JSON object, the last line.")]


def hand_over(recipe: Any, result: Any, options: Any, folder: Path | None, as_json: bool, hint: str = "") -> None:
    """What ends every training: the folder, the JSON object, and the exit code of an interrupted run."""
    metrics = recipe.metrics(result, options)
    if folder is not None:
        or_complain(lambda: recipe.save(folder, result, options))
        written = [*finished.FILES, *picture(lambda path: recipe.draw(path, result), folder / "picture.png")]
        out.print(f"{folder}: {', '.join(written)}{hint}")
    if as_json:
        print(json.dumps(metrics))
    if metrics["ended"] == "interrupted":
        raise typer.Exit(130)


def tell(message: str) -> None:
    """A word while the training goes on."""
    err.print(Text(message))


def writable(folder: Path | None) -> Path | None:
    """The folder, made now: it would be a pity to find after the training that it cannot be."""
    if folder is not None:
        or_complain(lambda: folder.mkdir(parents=True, exist_ok=True))
    return folder


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
