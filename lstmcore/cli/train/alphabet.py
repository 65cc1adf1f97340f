"""`lstmcore train alphabet`."""

from enum import StrEnum
from typing import Annotated

import typer
from rich.table import Table

from lstmcore.cli.talk import (
    EngineOption,
    FindLrOption,
    JsonOption,
    OutOption,
    OverwriteOption,
    ResumeOption,
    SeedOption,
    hand_over,
    keeping,
    number,
    or_complain,
    out,
    range_test,
    say,
    tell,
)
from lstmcore.recipes import alphabet as spelling


class Freeze(StrEnum):
    recurrent = "recurrent"


EPILOG = "Example: lstmcore train alphabet --cure --freeze recurrent --out runs/alphabet"
DEFAULT = spelling.Options()


def train_alphabet(
    cure: Annotated[bool, typer.Option("--cure", help="Try the remedies, each alone and one after the other.")] = False,
    freeze: Annotated[
        Freeze | None, typer.Option(help="Beside it, train the read-out alone: an echo-state network.")
    ] = None,
    as_posted: Annotated[
        bool, typer.Option("--as-posted", help="40 rows of one step, not one sequence of 40 steps: no time at all.")
    ] = False,
    hidden: Annotated[int, typer.Option(min=1, help="Units of the LSTM.")] = DEFAULT.hidden,
    epochs: Annotated[int, typer.Option(min=1, help="Of 100 updates each.")] = DEFAULT.epochs,
    lr: Annotated[float, number("Learning rate.")] = DEFAULT.lr,
    momentum: Annotated[float, number("", max=0.999)] = DEFAULT.momentum,
    noise: Annotated[float, number("Uniform noise on each gradient, in units of the mean of |w|.")] = DEFAULT.noise,
    engine: EngineOption = None,
    seed: SeedOption = DEFAULT.seed,
    out_folder: OutOption = None,
    resume: ResumeOption = False,
    overwrite: OverwriteOption = False,
    find_lr: FindLrOption = False,
    as_json: JsonOption = False,
) -> None:
    """The string abcdefghijkl for ever, as character codes: why every prediction is the mean, and what cures it."""
    options = spelling.Options(
        hidden=hidden, epochs=epochs, lr=lr, momentum=momentum, noise=noise, freeze=freeze is not None,
        one_step=as_posted, engine=engine, seed=seed,
    )  # fmt: skip
    if find_lr:
        range_test(or_complain(lambda: spelling.job(options)[0]), out_folder, as_json)
    with keeping(out_folder, resume, overwrite) as keep:
        result = or_complain(lambda: spelling.run(options, cure, tell=tell, keep=keep))
        hand_over(spelling, result, options, keep, as_json, _show)


def _show(result: spelling.Result, options: spelling.Options) -> None:
    out.print(_remedies(result))
    say(
        f"the variance of the codes, (12^2 - 1) / 12 = {spelling.VARIANCE:.4f}, is the loss of telling their mean; "
        f"trained in {result.seconds:.1f} s (engine {result.engine})"
    )


def _remedies(result: spelling.Result) -> Table:
    table = Table("", "loss", "letters right", "goes on with", box=None, header_style="bold")
    for trial in result.trials:
        unit = "nats" if trial.options.loss == "cross-entropy" else ""
        table.add_row(trial.name, f"{trial.loss:.4g} {unit}", f"{100 * trial.right:.0f} %", trial.string[:24])
    return table
