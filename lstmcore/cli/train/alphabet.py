"""`lstmcore train alphabet`."""

from typing import Annotated, Literal

import typer
from rich.table import Table

from lstmcore.cli.talk import number, out, say, tell
from lstmcore.cli.train.common import Common
from lstmcore.recipes import alphabet as spelling

EPILOG = "Example: lstmcore train alphabet --cure --freeze recurrent --out runs/alphabet"
DEFAULT = spelling.Options()


def train_alphabet(
    common: Common,
    cure: Annotated[bool, typer.Option("--cure", help="Try the remedies, each alone and one after the other.")] = False,
    freeze: Annotated[
        Literal["recurrent"] | None, typer.Option(help="Beside it, train the read-out alone: an echo-state network.")
    ] = None,
    as_posted: Annotated[
        bool, typer.Option("--as-posted", help="40 rows of one step, not one sequence of 40 steps: no time at all.")
    ] = False,
    hidden: Annotated[int, typer.Option(min=1, help="Units of the LSTM.")] = DEFAULT.hidden,
    epochs: Annotated[int, typer.Option(min=1, help="Of 100 updates each.")] = DEFAULT.epochs,
    lr: Annotated[float, number("Learning rate.")] = DEFAULT.lr,
    momentum: Annotated[float, number("", max=0.999)] = DEFAULT.momentum,
    noise: Annotated[float, number("Uniform noise on each gradient, in units of the mean of |w|.")] = DEFAULT.noise,
) -> None:
    """The string abcdefghijkl for ever, as character codes: why every prediction is the mean, and what cures it."""
    options = spelling.Options(
        hidden=hidden, epochs=epochs, lr=lr, momentum=momentum, noise=noise, freeze=freeze is not None,
        one_step=as_posted, engine=common.engine, seed=common.seed,
    )  # fmt: skip
    common.train(
        spelling,
        options,
        job=lambda: spelling.job(options)[0],
        run=lambda keep: spelling.run(options, cure, tell=tell, keep=keep),
        show=_show,
    )


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
