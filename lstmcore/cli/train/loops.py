"""`lstmcore train loops`."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from lstmcore.arrays import Plain
from lstmcore.cli.talk import fail, number, or_complain, out, say, tell
from lstmcore.cli.train.common import Common
from lstmcore.recipes import loops
from lstmcore.recipes.loops import generator, models, npz, pdb, scores

EPILOG = "Example: lstmcore train loops --data loops.npz --out runs/loops"


def train_loops(
    common: Common,
    data: Annotated[Path | None, typer.Option(help="A .npz file of loops (docs/loops-format.md).")] = None,
    pdb_folder: Annotated[Path | None, typer.Option("--pdb", help="A folder of PDB and mmCIF files.")] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="With --data: leave out loops that make no sense.")
    ] = False,
    cut: Annotated[pdb.Cut, typer.Option(help="With --pdb: coil between helices and strands; whole chains.")] = "loops",
    model: Annotated[models.Model, typer.Option(help="Sets what is not said below.")] = "per-step",
    topology: Annotated[models.Topology | None, typer.Option(help="How the two directions meet.")] = None,
    head: Annotated[models.Head | None, typer.Option(help="What the angles are made of.")] = None,
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
) -> None:
    """Backbone torsion angles of protein loops, residue by residue, beside predictions that cost nothing.

    By default on loops that are made up by known rules, so that the best possible error is known too.
    """
    told: Plain = {
        **{"topology": topology, "head": head, "dropout": dropout, "batch": batch, "epochs": epochs, "lr": lr},
        "widths": None if widths is None else or_complain(lambda: _widths(widths)),
        **{"patience": patience, "pad": pad, "split": split, "engine": common.engine, "seed": common.seed},
    }
    options = replace(loops.MODELS[model], **{name: value for name, value in told.items() if value is not None})
    found = or_complain(lambda: _data(data, pdb_folder, cut, skip_bad))
    best = generator.best if data is None and pdb_folder is None else None
    common.train(
        loops,
        options,
        job=lambda: loops.prepare(found, options).training,
        run=lambda keep: loops.run(found, options, tell=tell, best=best, keep=keep),
        show=_show,
        hint=lambda result: [result.parts.tested.sequences[0]],
    )


def _show(result: loops.Result, options: loops.Options) -> None:
    out.print(_summary(result))
    say(
        f"masked squared error {result.score.mse:.4f} on {len(result.parts.tested):,} loops, learnt from "
        f"{len(result.parts.learnt):,} ({options.split} split); trained in {result.train_seconds:.1f} s "
        f"({result.history['step']:,} updates, engine {result.engine}); {result.history['ended']}"
    )


def _data(data: Path | None, folder: Path | None, cut: pdb.Cut, skip_bad: bool) -> loops.Loops:
    if data is not None and folder is not None:
        raise ValueError("--data and --pdb are two sources: give one")
    if folder is not None:
        try:
            return pdb.read(folder, cut, tell)
        except ImportError as error:
            fail(str(error), 2)
    return generator.generate() if data is None else npz.read(data, tell, skip_bad)


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
