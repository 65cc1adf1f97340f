"""`lstmcore debug`: a case run again and shown."""

from pathlib import Path
from typing import Annotated

import typer

from lstmcore import debug
from lstmcore.cli.talk import CaseArgument, named, or_complain, say

EPILOG = "Example: lstmcore debug case.npz --out case.html"


def debug_case(
    case: CaseArgument,
    page: Annotated[
        Path | None, typer.Option("--out", parser=named, metavar="FILE", help="An HTML page, or a .txt file, to write.")
    ] = None,
) -> None:
    """Run a case again and show where its gradients come from, flow and break. Exits with 1 if something worries."""
    answer = or_complain(lambda: debug.report_case(debug.load_case(case), title=case.name))
    if page is None:
        print(answer)
    else:
        say(f"{or_complain(lambda: answer.save(page))} is written")
    raise typer.Exit(0 if answer.ok else 1)
