"""`lstmcore train loops`."""

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from lstmcore.arrays import Plain
from lstmcore.cli.talk import (
    EngineOption,
    FindLrOption,
    FromOption,
    JsonOption,
    OutOption,
    OverwriteOption,
    ResumeOption,
    SeedOption,
    fail,
    hand_over,
    keeping,
    number,
    or_complain,
    out,
    range_test,
    say,
    tell,
)
from lstmcore.recipes import loops
from lstmcore.recipes.loops import generator, npz, pdb, scores

EPILOG = "Example: lstmcore train loops --data loops.npz --out runs/loops"
EMBEDDED = 3000  # loops, if no data are given


class Model(StrEnum):
    per_step = "per-step"
    q3 = "q3"


class Topology(StrEnum):
    layers = "layers"
    towers = "towers"


class Head(StrEnum):
    per_step = "per-step"
    last_state = "last-state"
    last_output = "last-output"


class Cut(StrEnum):
    loops = "loops"
    chains = "chains"


def train_loops(
    data: Annotated[Path | None, typer.Option(help="A .npz file of loops (docs/loops-format.md).")] = None,
    pdb_folder: Annotated[Path | None, typer.Option("--pdb", help="A folder of PDB and mmCIF files.")] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="With --data: leave out loops that make no sense.")
    ] = False,
    cut: Annotated[Cut, typer.Option(help="With --pdb: coil between helices and strands; whole chains.")] = Cut.loops,
    model: Annotated[Model, typer.Option(help="Sets what is not said below.")] = Model.per_step,
    topology: Annotated[Topology | None, typer.Option(help="How the two directions meet.")] = None,
    head: Annotated[Head | None, typer.Option(help="What the angles are made of.")] = None,
    widths: Annotated[str | None, typer.Option(help="Units of each layer and direction, as in 64,64.")] = None,
    dropout: Annotated[float | None, number("After each layer.", max=0.99)] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Loops per update.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the loops, at most.")] = None,
    lr: Annotated[float | None, number("Learning rate at the start.")] = None,
    patience: Annotated[int | None, typer.Option(min=1, help="Epochs without an improvement, then stop.")] = None,
    pad: Annotated[int | None, typer.Option(min=1, help="Steps; by default those of the longest loop.")] = None,
    split: Annotated[
        str, typer.Option(help="grouped: equal sequences in one part; random; or a file, a part per line.")
    ] = "grouped",
    engine: EngineOption = None,
    seed: SeedOption = 0,
    out_folder: OutOption = None,
    resume: ResumeOption = False,
    overwrite: OverwriteOption = False,
    begin_from: FromOption = None,
    find_lr: FindLrOption = False,
    as_json: JsonOption = False,
) -> None:
    """Backbone torsion angles of protein loops, residue by residue, beside predictions that cost nothing.

    By default on loops that are made up by known rules, so that the best possible error is known too.
    """
    told: Plain = {
        "topology": topology and topology.value,
        "head": head and head.value,
        "widths": None if widths is None else or_complain(lambda: _widths(widths)),
        **{"dropout": dropout, "batch": batch, "epochs": epochs, "lr": lr, "patience": patience, "pad": pad},
        **{"split": split, "engine": engine, "seed": seed},
    }
    options = replace(loops.MODELS[model.value], **{name: value for name, value in told.items() if value is not None})
    found = or_complain(lambda: _data(data, pdb_folder, cut.value, skip_bad))
    best = generator.best if data is None and pdb_folder is None else None
    if find_lr:
        range_test(or_complain(lambda: loops.prepare(found, options)).training, out_folder, as_json)
    with keeping(out_folder, resume, overwrite, begin_from) as keep:
        result = or_complain(lambda: loops.run(found, options, tell=tell, best=best, keep=keep))
        hand_over(loops, result, options, keep, as_json, _show, (result.parts.tested.sequences[0],))


def _show(result: loops.Result, options: loops.Options) -> None:
    out.print(_summary(result))
    say(
        f"masked squared error {result.score.mse:.4f} on {len(result.parts.tested):,} loops, learnt from "
        f"{len(result.parts.learnt):,} ({options.split} split); trained in {result.train_seconds:.1f} s "
        f"({result.history['step']:,} updates, engine {result.engine}); {result.history['ended']}"
    )


def _data(data: Path | None, folder: Path | None, cut: str, skip_bad: bool) -> loops.Loops:
    if data is not None and folder is not None:
        raise ValueError("--data and --pdb are two sources: give one")
    if folder is not None:
        try:
            return pdb.read(folder, cut, tell)
        except ImportError as error:
            fail(str(error), 2)
    return generator.generate(EMBEDDED) if data is None else npz.read(data, tell, skip_bad)


def _widths(text: str) -> tuple[int, ...]:
    try:
        widths = tuple(int(width) for width in text.split(","))
    except ValueError:
        widths = ()
    if not widths or min(widths) < 1:
        raise ValueError(f"--widths should be positive numbers separated by commas, as in 64,64; got {text!r}")
    return widths


def _summary(result: loops.Result) -> Table:
    table = Table("prediction", "masked squared error", "phi", "psi", box=None, header_style="bold")
    for name, score in {**result.floors, "network": result.score}.items():
        style = "bold" if name == "network" else ""
        table.add_row(name, f"{score.mse:.3f}", *_degrees(score), style=style)
    return table


def _degrees(score: scores.Score) -> list[str]:
    return [f"{angle:.0f}°" if angle == angle else "" for angle in (score.phi, score.psi)]
