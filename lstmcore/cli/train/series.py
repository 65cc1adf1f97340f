"""`lstmcore train series`."""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.table import Table

from lstmcore.cli.talk import fail, number, or_complain, out, say, tell
from lstmcore.cli.train.common import Common
from lstmcore.recipes import series as forecasting
from lstmcore.recipes.series.read import Missing

EPILOG = "Example: lstmcore train series load.csv --column MW --season 24 --out runs/load"
DEFAULT = forecasting.Options()


def train_series(
    common: Common,
    file: Annotated[Path | None, typer.Argument(help="A CSV file; by default a noisy sine.")] = None,
    column: Annotated[str | None, typer.Option(help="The column to forecast.")] = None,
    delimiter: Annotated[
        str | None, typer.Option(help="Between columns: a sign, or tab; found out if not said.")
    ] = None,
    decimal: Annotated[str | None, typer.Option(help=". or , in numbers; found out if there is no doubt.")] = None,
    missing: Annotated[Missing, typer.Option(help="Values that are not there.")] = "mask",
    na: Annotated[
        list[str] | None, typer.Option(help="What stands for a missing value, beside NA and the like; none: no more.")
    ] = None,
    time: Annotated[str | None, typer.Option(help="The column of the times; none: look at none.")] = None,
    beside: Annotated[
        list[str] | None, typer.Option("--with", help="A column that is read beside the series; may be given again.")
    ] = None,
    known: Annotated[
        bool,
        typer.Option("--known", help="Those are known ahead, as a calendar is; else they stay at their last values."),
    ] = False,
    hidden: Annotated[int, typer.Option(min=1, help="Units of the LSTM.")] = DEFAULT.hidden,
    window: Annotated[int, typer.Option(min=2, help="Steps of a training sequence.")] = DEFAULT.window,
    horizon: Annotated[int, typer.Option(min=1, help="Steps of a rolled-out forecast.")] = DEFAULT.horizon,
    season: Annotated[int | None, typer.Option(min=1, help="Steps of a season; by default it is looked for.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Windows per update.")] = DEFAULT.batch,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the windows.")] = DEFAULT.epochs,
    lr: Annotated[float, number("Learning rate at the start; it falls to zero.")] = DEFAULT.lr,
) -> None:
    """Forecast a series: the next value, and many ahead, beside forecasts that cost nothing."""
    columns = tuple(beside or ())
    sizes = hidden, window, horizon, season, batch
    options = forecasting.Options(*sizes, epochs, lr, common.engine, common.seed, columns, known)
    if columns and file is None:
        fail("--with needs the FILE that the column is in", 2)
    if known and not columns:
        fail("--known says something of the columns of --with: name one", 2)

    def read(file: Path) -> np.ndarray:
        return forecasting.read(
            file, column, tell, delimiter=delimiter, decimal=decimal, missing=missing, na=na or (), time=time,
            beside=columns,
        )  # fmt: skip

    values = or_complain(lambda: read(file) if file else forecasting.noisy_sine(common.seed))
    again = [] if file is None else [str(file), *([] if column is None else ["--column", column])]
    common.train(
        forecasting,
        options,
        job=lambda: forecasting.job(values, options),
        run=lambda keep: forecasting.run(values, options, tell=tell, keep=keep),
        show=_show,
        hint=lambda result: again,
    )


def _show(result: forecasting.Result, options: forecasting.Options) -> None:
    out.print(_forecasts(result))
    say(
        f"root mean square errors on the last {len(result.values) - result.learnt:,} of {len(result.values):,} values, "
        f"rolled out from {len(result.origins)} of them; season {result.season}; trained in "
        f"{result.train_seconds:.1f} s ({result.history['step']:,} updates, engine {result.engine}); "
        f"{result.history['ended']}"
    )


def _forecasts(result: forecasting.Result) -> Table:
    horizon = len(result.rolled_error("lstm"))
    ahead = sorted({1, max(1, horizon // 2), horizon})
    table = Table("forecast", "next value", *(f"{k} ahead" for k in ahead), box=None, header_style="bold")
    for name in result.forecasts:
        errors = [result.one_step_error(name), *(result.rolled_error(name)[k - 1] for k in ahead)]
        table.add_row(name, *(f"{error:.4g}" for error in errors))
    return table
