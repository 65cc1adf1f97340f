"""`lstmcore diagnose`: the gradients of a case, judged."""

import json
import sys
from typing import Annotated

import typer

from lstmcore import debug
from lstmcore.cli.talk import CaseArgument, or_complain

EPILOG = "Example: lstmcore diagnose case.npz"


def diagnose(
    case: CaseArgument,
    as_json: Annotated[bool, typer.Option("--json", help="The answer as one JSON object.")] = False,
) -> None:
    """Say whether the gradients of a case are right, and if not which mistake they are. Exits with 1 if wrong."""
    tell = (lambda words: None) if as_json else (lambda words: print(words, file=sys.stderr))
    answer = or_complain(lambda: debug.diagnose_case(debug.load_case(case), tell=tell))
    if as_json:
        runner_up = answer.runner_up and vars(answer.runner_up)
        place = answer.place and answer.place._asdict()
        said = {"ok": answer.ok, "names": answer.names, "residual": answer.residual, "runner_up": runner_up}
        print(json.dumps(said | {"forward": answer.forward, "notes": answer.notes, "place": place}))
    else:
        print(answer)
    raise typer.Exit(0 if answer.ok else 1)
