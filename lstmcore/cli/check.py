"""`lstmcore check`: the gradients of a model, proved."""

import json
from typing import Annotated, Literal

import typer

from lstmcore.cli.talk import LSTM, Cell, EngineOption, SeedOption, number, or_complain, tell
from lstmcore.debug import GradCheck
from lstmcore.recipes import check as checking

EPILOG = "Example: lstmcore check --bidirectional towers --layers 3 --mask gaps --dropout 0.5"


def check(
    cell: Annotated[Cell, typer.Option(help="What the layers are made of.")] = LSTM,
    input_size: Annotated[int, typer.Option("--input", min=1, help="I, input width.")] = 3,
    hidden: Annotated[int, typer.Option(min=1, help="H, units of each layer.")] = 4,
    layers: Annotated[int, typer.Option(min=1, help="Recurrent layers.")] = 1,
    bidirectional: Annotated[checking.Topology, typer.Option(help="How the two directions meet, if at all.")] = "none",
    classes: Annotated[int, typer.Option(min=0, help="A linear head and a cross-entropy; 0: none.")] = 0,
    dropout: Annotated[float, number("Between the layers.", max=0.99)] = 0.0,
    mask: Annotated[checking.Mask, typer.Option(help="Where the padding is.")] = "none",
    steps: Annotated[int, typer.Option(min=1, help="T, time steps.")] = 5,
    batch: Annotated[int, typer.Option(min=1, help="B, rows.")] = 3,
    method: Annotated[
        Literal["complex", "central"], typer.Option(help="Complex step, or central differences.")
    ] = "complex",
    directions: Annotated[int | None, typer.Option(min=1, help="Random directions, not every coordinate.")] = None,
    engine: EngineOption = None,
    seed: SeedOption = 0,
    as_json: Annotated[bool, typer.Option("--json", help="The table as one JSON object.")] = False,
) -> None:
    """Prove the gradients of a model against derivatives that know nothing of them. Exits with 1 if one is wrong."""

    def proof() -> GradCheck:
        model = checking.model(cell.value, input_size, hidden, layers, bidirectional, dropout, classes, seed, engine)
        tell(f"{model}, T = {steps}, B = {batch}, mask {mask}")
        return checking.check(
            *(model, steps, batch, input_size, mask), classes=classes, seed=seed, directions=directions, method=method
        )

    answer = or_complain(proof)
    if as_json:
        rows = [row._asdict() for row in answer.table]
        print(json.dumps({"ok": answer.ok, "worst": answer.worst, "worst_at": answer.worst_at, "table": rows}))
    else:
        print(answer)
    raise typer.Exit(0 if answer.ok else 1)
