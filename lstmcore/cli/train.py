"""`lstmcore train`: one command per recipe."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from lstmcore.cli.talk import (
    Cell,
    EngineOption,
    JsonOption,
    OutOption,
    SeedOption,
    fail,
    hand_over,
    or_complain,
    out,
    tell,
    writable,
)
from lstmcore.recipes import alphabet as spelling
from lstmcore.recipes import count as counting
from lstmcore.recipes import series as forecasting
from lstmcore.recipes import text as writing

train = typer.Typer(help="Train a recipe: data, model, training, test, picture.", no_args_is_help=True)


class OptimizerName(StrEnum):
    adamw = "adamw"
    adam = "adam"
    sgd = "sgd"
    momentum = "momentum"
    rmsprop = "rmsprop"
    adagrad = "adagrad"


class Freeze(StrEnum):
    recurrent = "recurrent"


DEFAULT = counting.Options()
SPELL, WRITE, FORECAST = spelling.Options(), writing.Options(), forecasting.Options()


@train.command("count", epilog="Example: lstmcore train count --out runs/count --seed 3 --balanced")
def train_count(
    hidden: Annotated[int, typer.Option(min=1, help="Units of each layer.")] = DEFAULT.hidden,
    layers: Annotated[int, typer.Option(min=1, help="Recurrent layers.")] = DEFAULT.layers,
    cell: Annotated[Cell, typer.Option(help="What the layers are made of.")] = Cell.lstm,
    batch: Annotated[int, typer.Option(min=1, help="Strings per update.")] = DEFAULT.batch,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training strings.")] = DEFAULT.epochs,
    lr: Annotated[float, typer.Option(min=0, help="Learning rate at the start; it falls to zero.")] = DEFAULT.lr,
    optimizer: Annotated[OptimizerName, typer.Option()] = OptimizerName.adamw,
    dropout: Annotated[float, typer.Option(min=0, max=0.99, help="Of the last hidden state.")] = DEFAULT.dropout,
    examples: Annotated[int, typer.Option(min=1, max=2**20 - 1, help="Strings to learn from.")] = DEFAULT.examples,
    balanced: Annotated[bool, typer.Option("--balanced", help="Give every number of ones its share.")] = False,
    engine: EngineOption = None,
    seed: SeedOption = DEFAULT.seed,
    goal: Annotated[float | None, typer.Option(help="Exit with 1 if the test error, a fraction, is above.")] = None,
    out_folder: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Count the ones of a 20-bit string: learn from 10,000 strings, be tested on all the others.

    The strings learnt from are drawn like any others, so hardly one has very few or very many ones, and it is those
    that go wrong: see the table, and what --balanced makes of it.
    """
    options = counting.Options(
        hidden, layers, cell.value, batch, epochs, lr, optimizer.value, dropout, examples, balanced, engine, seed
    )
    folder = writable(out_folder)
    result = or_complain(lambda: counting.run(options, tell=tell))
    out.print(_by_ones(result))
    wrong, total = int(result.wrong.sum()), int(result.tested.sum())
    out.print(
        f"test error {100 * result.test_error:.4f} %: {wrong:,} of {total:,} strings are wrong; trained in "
        f"{result.train_seconds:.1f} s ({result.history['step']:,} updates, engine {result.engine}), tested in "
        f"{result.test_seconds:.1f} s; {result.history['ended']}"
    )
    hand_over(
        counting, result, options, folder, as_json, f"; try: lstmcore predict count {folder} 10011011101001101110"
    )
    if goal is not None and result.test_error > goal:
        fail(f"the test error, {result.test_error:.6f}, is above the goal of {goal}")


@train.command("alphabet", epilog="Example: lstmcore train alphabet --cure --freeze recurrent --out runs/alphabet")
def train_alphabet(
    cure: Annotated[bool, typer.Option("--cure", help="Try the remedies, each alone and one after the other.")] = False,
    freeze: Annotated[
        Freeze | None, typer.Option(help="Beside it, train the read-out alone: an echo-state network.")
    ] = None,
    hidden: Annotated[int, typer.Option(min=1, help="Units of the LSTM.")] = SPELL.hidden,
    epochs: Annotated[int, typer.Option(min=1, help="Of 100 updates each.")] = SPELL.epochs,
    lr: Annotated[float, typer.Option(min=0, help="Learning rate.")] = SPELL.lr,
    momentum: Annotated[float, typer.Option(min=0, max=0.999)] = SPELL.momentum,
    noise: Annotated[
        float, typer.Option(min=0, help="Uniform noise on each gradient, in units of the mean of |w|.")
    ] = SPELL.noise,
    engine: EngineOption = None,
    seed: SeedOption = SPELL.seed,
    out_folder: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """The string abcdefghijkl for ever, as character codes: why every prediction is the mean, and what cures it."""
    options = spelling.Options(
        hidden=hidden, epochs=epochs, lr=lr, momentum=momentum, noise=noise, freeze=freeze is not None,
        engine=engine, seed=seed,
    )  # fmt: skip
    folder = writable(out_folder)
    result = or_complain(lambda: spelling.run(options, cure, tell=tell))
    out.print(_remedies(result))
    out.print(
        f"the variance of the codes, (12^2 - 1) / 12 = {spelling.VARIANCE:.4f}, is the loss of telling their mean; "
        f"trained in {result.seconds:.1f} s (engine {result.engine})"
    )
    hand_over(spelling, result, options, folder, as_json)


@train.command("text", epilog="Example: lstmcore train text book.txt --out runs/book --epochs 8")
def train_text(
    file: Annotated[Path | None, typer.Argument(help="A text in UTF-8; by default the sources of Python.")] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Characters that are read, at most; of Python's sources 1,200,000.")
    ] = None,
    hidden: Annotated[int, typer.Option(min=1, help="Units of each layer.")] = WRITE.hidden,
    layers: Annotated[int, typer.Option(min=1, help="LSTM layers.")] = WRITE.layers,
    embedding: Annotated[int, typer.Option(min=1, help="Numbers that stand for a character.")] = WRITE.embedding,
    batch: Annotated[int, typer.Option(min=1, help="Strands of the text, read side by side.")] = WRITE.batch,
    steps: Annotated[int, typer.Option(min=1, help="Characters of a strand per update.")] = WRITE.steps,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the text.")] = WRITE.epochs,
    lr: Annotated[float, typer.Option(min=0, help="Highest learning rate; it falls to zero.")] = WRITE.lr,
    dropout: Annotated[float, typer.Option(min=0, max=0.99, help="After each LSTM layer.")] = WRITE.dropout,
    engine: EngineOption = None,
    seed: SeedOption = WRITE.seed,
    out_folder: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Learn to write, character by character: from the first 90 % of a text, tested on the rest."""
    options = writing.Options(hidden, layers, embedding, batch, steps, epochs, lr, dropout, engine, seed)
    folder = writable(out_folder)
    result = or_complain(lambda: writing.run(writing.read(file, limit), options, tell=tell))
    out.print("".join(writing.sample(result.model, result.symbols, 300, 0.7, options.seed, result.symbols[0])).strip())
    out.print(
        f"{result.nats:.4f} nats, {result.bits:.4f} bits per character on the last {result.characters[1]:,} of "
        f"{sum(result.characters):,} (counted symbols {result.unigram:.3f} nats, counted pairs {result.bigram:.3f}); "
        f"trained in {result.train_seconds:.1f} s ({result.history['step']:,} updates, engine {result.engine}); "
        f"{result.history['ended']}"
    )
    hand_over(writing, result, options, folder, as_json, f"; try: lstmcore predict text {folder} --temperature 0.5")


@train.command("series", epilog="Example: lstmcore train series load.csv --column MW --season 24 --out runs/load")
def train_series(
    file: Annotated[Path | None, typer.Argument(help="A CSV file with a header; by default a noisy sine.")] = None,
    column: Annotated[str | None, typer.Option(help="The column to forecast.")] = None,
    hidden: Annotated[int, typer.Option(min=1, help="Units of the LSTM.")] = FORECAST.hidden,
    window: Annotated[int, typer.Option(min=2, help="Steps of a training sequence.")] = FORECAST.window,
    horizon: Annotated[int, typer.Option(min=1, help="Steps of a rolled-out forecast.")] = FORECAST.horizon,
    season: Annotated[int | None, typer.Option(min=1, help="Steps of a season; by default it is looked for.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Windows per update.")] = FORECAST.batch,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the windows.")] = FORECAST.epochs,
    lr: Annotated[float, typer.Option(min=0, help="Learning rate at the start; it falls to zero.")] = FORECAST.lr,
    engine: EngineOption = None,
    seed: SeedOption = FORECAST.seed,
    out_folder: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Forecast a series: the next value, and many ahead, beside forecasts that cost nothing."""
    options = forecasting.Options(hidden, window, horizon, season, batch, epochs, lr, engine, seed)
    folder = writable(out_folder)
    values = or_complain(lambda: forecasting.noisy_sine(seed) if file is None else forecasting.read(file, column))
    result = or_complain(lambda: forecasting.run(values, options, tell=tell))
    out.print(_forecasts(result))
    out.print(
        f"root mean square errors on the last {len(result.values) - result.learnt:,} of {len(result.values):,} values, "
        f"rolled out from {len(result.origins)} of them; season {result.season}; trained in "
        f"{result.train_seconds:.1f} s ({result.history['step']:,} updates, engine {result.engine}); "
        f"{result.history['ended']}"
    )
    hand_over(forecasting, result, options, folder, as_json)


def _by_ones(result: counting.Result) -> Table:
    table = Table("ones", "learnt from", "tested", "wrong", "right", box=None, header_style="bold")
    for column in table.columns:
        column.justify = "right"
    for k, (learnt, tested, wrong) in enumerate(zip(result.learnt, result.tested, result.wrong)):
        right = f"{100 * (1 - wrong / tested):.2f} %" if tested else "-"
        table.add_row(str(k), f"{learnt:,}", f"{tested:,}", f"{wrong:,}", right)
    return table


def _remedies(result: spelling.Result) -> Table:
    table = Table("", "loss", "letters right", "goes on with", box=None, header_style="bold")
    for trial in result.trials:
        unit = "nats" if trial.options.loss == "cross-entropy" else ""
        table.add_row(trial.name, f"{trial.loss:.4g} {unit}", f"{100 * trial.right:.0f} %", trial.string[:24])
    return table


def _forecasts(result: forecasting.Result) -> Table:
    horizon = len(result.rolled_error("lstm"))
    ahead = sorted({1, max(1, horizon // 2), horizon})
    table = Table("forecast", "next value", *(f"{k} ahead" for k in ahead), box=None, header_style="bold")
    for name in result.forecasts:
        errors = [result.one_step_error(name), *(result.rolled_error(name)[k - 1] for k in ahead)]
        table.add_row(name, *(f"{error:.4g}" for error in errors))
    return table
