"""`lstmcore explain`: a page on which every number of a small training step answers."""

from pathlib import Path
from typing import Annotated

import typer

from lstmcore import debug
from lstmcore.cli.talk import named, or_complain, say

EPILOG = "Example: lstmcore explain --out lstm.html, and open it in a browser. With a case: lstmcore explain case.npz"


def explain(
    case: Annotated[
        Path | None, typer.Argument(help="A small step of your own, T * H <= 12: see docs/case-format.md.")
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option("--out", parser=named, metavar="FILE", help="The HTML page to write; by default lstm.html."),
    ] = None,
    cell: Annotated[str, typer.Option(help=f"What it opens with: {', '.join(debug.EXAMPLES)}.")] = "lstm",
    row: Annotated[int, typer.Option(min=0, help="Of a case: which row of the batch.")] = 0,
) -> None:
    """Write a page that works without a network: forward and backward of an LSTM, and every number can be asked."""
    if case is None:
        answer = or_complain(lambda: debug.explain(cell))
    else:
        answer = or_complain(lambda: debug.explain_case(debug.load_case(case), row, case.name))
    written = or_complain(lambda: answer.save(page or Path("lstm.html")))
    say(f"{written} is written: open it in a browser")
