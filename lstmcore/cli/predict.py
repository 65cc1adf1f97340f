"""`lstmcore predict`: what a recipe has trained, used."""

import itertools
import json
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.table import Table

from lstmcore.cli.talk import named, number, or_complain, out, say, tell
from lstmcore.recipes import count as counting
from lstmcore.recipes import loops
from lstmcore.recipes import series as forecasting
from lstmcore.recipes import text as writing
from lstmcore.recipes.job import plain
from lstmcore.recipes.loops.torsions import ANGLES, radians

predict = typer.Typer(help="Use what a recipe has trained.", no_args_is_help=True)


@predict.command("count", epilog="Example: lstmcore predict count runs/count 10011011101001101110")
def predict_count(
    run: Annotated[
        Path, typer.Argument(parser=named, metavar="RUN", help="The folder that `train count --out` wrote.")
    ],
    strings: Annotated[list[str], typer.Argument(help="Strings of 20 bits.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per string.")] = False,
) -> None:
    """Count the ones of your own strings, with the probability of each answer."""
    net = or_complain(lambda: counting.load(run))
    for string, p in or_complain(lambda: list(counting.predict(net, strings))):
        likely = p.argsort()[::-1][:3]
        if as_json:
            print(json.dumps({"string": string, "ones": string.count("1"), "probabilities": p.tolist()}))
            continue
        verdict = "right" if likely[0] == string.count("1") else "wrong"
        answers = ", ".join(f"{k}: {100 * p[k]:.1f} %" for k in likely)
        say(f"{string} has {string.count('1')} ones; the network says {answers} ({verdict})")


@predict.command("text", epilog='Example: lstmcore predict text runs/book --length 500 --start "The "')
def predict_text(
    run: Annotated[Path, typer.Argument(parser=named, metavar="RUN", help="The folder that `train text --out` wrote.")],
    length: Annotated[int, typer.Option(min=1, help="Characters (or words) to write.")] = 500,
    temperature: Annotated[float, number("Below 1 surer, above 1 bolder, 0 the likeliest.")] = 0.8,
    top_k: Annotated[int | None, typer.Option(min=1, help="Draw only from this many of the likeliest.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="By default something new each time.")] = None,
    start: Annotated[str | None, typer.Option(help="What it goes on from; by default a new line.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Let a trained network write."""
    net, symbols = or_complain(lambda: writing.load(run))
    if start is None:
        start = "\n" if "\n" in symbols else symbols[0]
    written = writing.sample(net, symbols, length, temperature, seed, start, top_k)
    written = itertools.chain([or_complain(lambda: next(written))], written)  # complains before a word is out
    if as_json:
        print(json.dumps({"start": start, "text": "".join(written)}))
        return
    for symbol in itertools.chain(start, written):
        print(symbol, end="", flush=True)
    print()


@predict.command("series", epilog="Example: lstmcore predict series runs/load load.csv --column MW --steps 48")
def predict_series(
    run: Annotated[
        Path, typer.Argument(parser=named, metavar="RUN", help="The folder that `train series --out` wrote.")
    ],
    file: Annotated[Path, typer.Argument(help="The series, as for training, or as it has gone on since.")],
    steps: Annotated[int, typer.Option(min=1, help="Steps ahead.")] = 10,
    column: Annotated[str | None, typer.Option(help="As in `train series`, like all below.")] = None,
    delimiter: Annotated[str | None, typer.Option()] = None,
    decimal: Annotated[str | None, typer.Option()] = None,
    na: Annotated[list[str] | None, typer.Option()] = None,
    time: Annotated[str | None, typer.Option()] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """What comes next in a series, in its units, and how far such forecasts were off.

    Columns that were read in training are read here. If they are known ahead, the steps to forecast are rows behind the
    last value, with these columns, and nothing in the series' own.

    The band holds four of five true values of the part that the training was tested on, by steps ahead, and ends with
    the --horizon of the training.
    """
    forecaster = or_complain(lambda: forecasting.load(run))
    values = or_complain(
        lambda: forecasting.read(
            file, column, tell, delimiter=delimiter, decimal=decimal, na=na or (), time=time, beside=forecaster.beside
        )
    )
    told = or_complain(lambda: forecaster.ahead(values, steps))
    band = np.append(forecaster.band, np.full(max(0, steps - len(forecaster.band)), np.nan))[:steps]
    if as_json:
        columns = {"forecast": told, "low": told - band, "high": told + band}
        print(json.dumps(plain({name: column.tolist() for name, column in columns.items()})))
        return
    table = Table("step", "forecast", "low", "high", box=None, header_style="bold")
    for k, (value, error) in enumerate(zip(told, band), 1):
        edges = ("", "") if np.isnan(error) else (f"{value - error:.6g}", f"{value + error:.6g}")
        table.add_row(f"+{k}", f"{value:.6g}", *edges)
    out.print(table)


@predict.command("loops", epilog="Example: lstmcore predict loops runs/loops GYTLIEIS ARDYYGSSYFDY")
def predict_loops(
    run: Annotated[
        Path, typer.Argument(parser=named, metavar="RUN", help="The folder that `train loops --out` wrote.")
    ],
    sequences: Annotated[list[str], typer.Argument(help="Residues, a letter each.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per sequence.")] = False,
) -> None:
    """The backbone angles of your own loops, and how sure the network is of each.

    Sine and cosine are predicted as means: the more the angle may vary, the shorter they are. The length is 1 for a
    single possible angle and 0 for none more likely than another.
    """
    net, alphabet = or_complain(lambda: loops.load(run))
    for sequence, channels in or_complain(lambda: list(loops.predict(net, alphabet, sequences))):
        angles = np.degrees(radians(channels))  # (length, 2)
        lengths = np.hypot(channels[:, ::2], channels[:, 1::2])
        if as_json:
            columns = {name: angles[:, k].tolist() for k, name in enumerate(ANGLES)}
            columns |= {f"{name}_length": lengths[:, k].tolist() for k, name in enumerate(ANGLES)}
            print(json.dumps({"sequence": sequence, **columns}))
            continue
        say(sequence)
        table = Table("", "residue", "phi", "psi", "length of phi", "of psi", box=None, header_style="bold")
        for t, letter in enumerate(sequence):
            degrees = (f"{angle:.1f}°" for angle in angles[t])
            table.add_row(str(t + 1), letter, *degrees, *(f"{length:.2f}" for length in lengths[t]))
        out.print(table)
