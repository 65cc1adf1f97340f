"""`lstmcore check`, `diagnose` and `debug`: gradients proved, judged and shown."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from lstmcore import debug
from lstmcore.cli.talk import Cell, EngineOption, SeedOption, err, or_complain, out
from lstmcore.recipes import check as checking

prove = typer.Typer()
CaseArgument = Annotated[Path, typer.Argument(help="A case file: see docs/case-format.md.")]


class Topology(StrEnum):
    none = "none"
    interleaved = "interleaved"
    towers = "towers"


class MaskPattern(StrEnum):
    none = "none"
    right = "right"
    left = "left"
    gaps = "gaps"
    empty = "empty"


class Method(StrEnum):
    complex = "complex"
    central = "central"


@prove.command("check", epilog="Example: lstmcore check --bidirectional towers --layers 3 --mask gaps --dropout 0.5")
def check(
    cell: Annotated[Cell, typer.Option(help="What the layers are made of.")] = Cell.lstm,
    input_size: Annotated[int, typer.Option("--input", min=1, help="I, input width.")] = 3,
    hidden: Annotated[int, typer.Option(min=1, help="H, units of each layer.")] = 4,
    layers: Annotated[int, typer.Option(min=1, help="Recurrent layers.")] = 1,
    bidirectional: Annotated[Topology, typer.Option(help="How the two directions meet, if at all.")] = Topology.none,
    classes: Annotated[int, typer.Option(min=0, help="A linear head and a cross-entropy; 0: none.")] = 0,
    dropout: Annotated[float, typer.Option(min=0, max=0.99, help="Between the layers.")] = 0.0,
    mask: Annotated[MaskPattern, typer.Option(help="Where the padding is.")] = MaskPattern.none,
    steps: Annotated[int, typer.Option(min=1, help="T, time steps.")] = 5,
    batch: Annotated[int, typer.Option(min=1, help="B, rows.")] = 3,
    method: Annotated[Method, typer.Option(help="Complex step, or central differences.")] = Method.complex,
    directions: Annotated[int | None, typer.Option(min=1, help="Random directions, not every coordinate.")] = None,
    engine: EngineOption = None,
    seed: SeedOption = 0,
    as_json: Annotated[bool, typer.Option("--json", help="The table as one JSON object.")] = False,
) -> None:
    """Prove the gradients of a model against derivatives that know nothing of them. Exits with 1 if one is wrong."""

    def proof() -> Any:
        model = checking.model(
            cell.value, input_size, hidden, layers, bidirectional.value, dropout, classes, seed, engine
        )
        err.print(f"{model}, T = {steps}, B = {batch}, mask {mask.value}")
        return checking.check(
            model,
            steps,
            batch,
            input_size,
            mask.value,
            classes=classes,
            seed=seed,
            directions=directions,
            method=method.value,
        )

    answer = or_complain(proof)
    if as_json:
        rows = [row._asdict() for row in answer.table]
        print(json.dumps({"ok": answer.ok, "worst": answer.worst, "worst_at": answer.worst_at, "table": rows}))
    else:
        print(answer)
    raise typer.Exit(0 if answer.ok else 1)


@prove.command("diagnose", epilog="Example: lstmcore diagnose case.npz")
def diagnose(
    case: CaseArgument,
    as_json: Annotated[bool, typer.Option("--json", help="The answer as one JSON object.")] = False,
) -> None:
    """Say whether the gradients of a case are right, and if not which mistake they are. Exits with 1 if wrong."""
    answer = or_complain(lambda: debug.diagnose_case(debug.load_case(case)))
    if as_json:
        runner_up = answer.runner_up and vars(answer.runner_up)
        print(json.dumps({"ok": answer.ok, "names": answer.names, "residual": answer.residual, "runner_up": runner_up}))
    else:
        print(answer)
    raise typer.Exit(0 if answer.ok else 1)


@prove.command("debug", epilog="Example: lstmcore debug case.npz --out case.html")
def debug_case(
    case: CaseArgument,
    page: Annotated[Path | None, typer.Option("--out", help="An HTML page, or a .txt file, to write.")] = None,
) -> None:
    """Run a case again and show where its gradients come from, flow and break. Exits with 1 if something worries."""
    answer = or_complain(lambda: debug.report_case(debug.load_case(case), title=case.name))
    if page is None:
        print(answer)
    else:
        out.print(f"{or_complain(lambda: answer.save(page))} is written")
    raise typer.Exit(0 if answer.ok else 1)
