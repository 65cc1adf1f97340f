"""`lstmcore exercise`: ten lines of backpropagation to write, and what is said of them."""

from pathlib import Path
from typing import Annotated

import typer

from lstmcore import debug
from lstmcore.cli.talk import or_complain, say

EPILOG = "Example: lstmcore exercise backward.py; fill in the lines; lstmcore exercise backward.py"


def exercise(file: Annotated[Path, typer.Argument(help="Written if it is not there; judged if it is.")]) -> None:
    """Write a backward pass with ten lines missing, or judge yours, line by line. Exits with 1 if not right."""
    if not or_complain(file.exists):
        or_complain(lambda: debug.write_exercise(file))
        say(f"{file} is written; fill in its ten lines, then: lstmcore exercise {file}")
        return
    answer = or_complain(lambda: debug.judge_exercise(file))
    print(answer)
    raise typer.Exit(0 if answer.ok else 1)
