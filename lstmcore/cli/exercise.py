"""`lstmcore exercise`: a step of a cell to write, forward or back, and what is said of it."""

from pathlib import Path
from typing import Annotated

import typer

from lstmcore import debug
from lstmcore.cli.talk import fail, or_complain, say
from lstmcore.debug.exercise import EXERCISES

EPILOG = "Example: lstmcore exercise backward.py; fill in the lines; lstmcore exercise backward.py"


def exercise(
    file: Annotated[Path, typer.Argument(help="Written if it is not there; judged if it is.")],
    which: Annotated[str | None, typer.Option(help=f"Of {', '.join(EXERCISES)}; by default lstm backward.")] = None,
    answers: Annotated[
        bool, typer.Option("--answers", help="Write the file with its lines as they should be.")
    ] = False,
) -> None:
    """Write a step with its lines missing, or judge yours, line by line. Exits with 1 if not right."""
    if not or_complain(file.exists):
        or_complain(lambda: debug.write_exercise(file, "lstm backward" if which is None else which, answers))
        todo = "its lines are there" if answers else "fill in its lines"
        say(f"{file} is written; {todo}, then: lstmcore exercise {file}")
        return
    if which is not None or answers:
        fail(f"{file} is there, and is judged: --which and --answers are for a file that is still to be written", 2)
    answer = or_complain(lambda: debug.judge_exercise(file))
    print(answer)
    raise typer.Exit(0 if answer.ok else 1)
