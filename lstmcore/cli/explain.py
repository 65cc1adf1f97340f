"""`lstmcore explain`: a page on which every number of a small training step answers."""

from pathlib import Path
from typing import Annotated

import typer

from lstmcore import debug
from lstmcore.cli.talk import fail, named, or_complain, say

EPILOG = "Example: lstmcore explain --out lstm.html, and open it in a browser. With a case: lstmcore explain case.npz"


def explain(
    case: Annotated[
        Path | None,
        typer.Argument(help="A small step of your own, with its gradients, T * H <= 12: see docs/case-format.md."),
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option("--out", parser=named, metavar="FILE", help="The HTML page to write; by default lstm.html."),
    ] = None,
    cell: Annotated[
        str | None, typer.Option(help=f"What it opens with: {', '.join(debug.EXAMPLES)}; by default lstm.")
    ] = None,
    row: Annotated[int | None, typer.Option(min=0, help="Of a case: which row of the batch; by default 0.")] = None,
) -> None:
    """Write a page that works without a network: forward and backward of an LSTM, and every number can be asked."""
    target = page or Path("lstm.html")
    if case is None and row is not None:
        fail("--row is of a case: lstmcore explain CASE --row N", 2)
    if case is not None and cell is not None:
        fail("--cell is for the page without a case, which opens with itself", 2)
    if case is not None and case.resolve() == target.resolve():
        fail(f"{target} is the case itself: the page needs a file of its own, --out FILE", 2)
    if case is None:
        answer = or_complain(lambda: debug.explain("lstm" if cell is None else cell))
    else:
        answer = or_complain(lambda: debug.explain_case(debug.load_case(case), row or 0, case.name))
    written = or_complain(lambda: answer.save(target))
    say(f"{written} is written: open it in a browser")
