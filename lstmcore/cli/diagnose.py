"""`lstmcore diagnose`: the gradients of a case, judged."""

import json
import sys
from typing import Annotated

import typer

from lstmcore import debug
from lstmcore.cli.talk import CaseArgument, or_complain

EPILOG = "Example: lstmcore diagnose case.npz"


def diagnose(
    case: CaseArgument, as_json: Annotated[bool, typer.Option("--json", help="The answer as one JSON object.")] = False
) -> None:
    """Say whether the gradients of a case are right, and if not which mistake they are. Exits with 1 if not."""
    tell = (lambda words: None) if as_json else (lambda words: print(words, file=sys.stderr))
    answer = or_complain(lambda: debug.diagnose_case(debug.load_case(case), tell=tell))
    if as_json:
        print(json.dumps(answer.as_dict()))
    else:
        print(answer)
    raise typer.Exit(0 if answer.ok else 1)
