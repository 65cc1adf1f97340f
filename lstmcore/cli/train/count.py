"""`lstmcore train count`."""

from typing import Annotated

import typer
from rich.table import Table

from lstmcore.cli.talk import LSTM, Cell, fail, number, out, say, tell
from lstmcore.cli.train.common import Common
from lstmcore.recipes import count as counting

EPILOG = "Example: lstmcore train count --out runs/count --seed 3 --balanced"
DEFAULT = counting.Options()


def train_count(
    common: Common,
    hidden: Annotated[int, typer.Option(min=1, help="Units of each layer.")] = DEFAULT.hidden,
    layers: Annotated[int, typer.Option(min=1, help="Recurrent layers.")] = DEFAULT.layers,
    cell: Annotated[Cell, typer.Option(help="What the layers are made of.")] = LSTM,
    batch: Annotated[int, typer.Option(min=1, help="Strings per update.")] = DEFAULT.batch,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training strings.")] = DEFAULT.epochs,
    lr: Annotated[float, number("Learning rate at the start; it falls to zero.")] = DEFAULT.lr,
    optimizer: Annotated[counting.OptimizerName, typer.Option()] = DEFAULT.optimizer,
    dropout: Annotated[float, number("Of the last hidden state.", max=0.99)] = DEFAULT.dropout,
    examples: Annotated[int, typer.Option(min=1, max=2**20 - 1, help="Strings to learn from.")] = DEFAULT.examples,
    balanced: Annotated[bool, typer.Option("--balanced", help="Give every number of ones its share.")] = False,
    goal: Annotated[float | None, number("Exit with 1 if the test error, a fraction, is above.", None)] = None,
) -> None:
    """Count the ones of a 20-bit string: learn from 10,000 strings, be tested on all the others.

    The strings learnt from are drawn like any others, so hardly one has very few or very many ones, and it is those
    that go wrong: see the table, and what --balanced makes of it.
    """
    sizes = hidden, layers, cell.value, batch, epochs, lr
    options = counting.Options(*sizes, optimizer, dropout, examples, balanced, common.engine, common.seed)
    result = common.train(
        counting,
        options,
        job=lambda: counting.job(options)[0],
        run=lambda keep: counting.run(options, tell=tell, keep=keep),
        show=_show,
        hint=lambda result: ["10011011101001101110"],
    )
    if goal is not None and result.test_error > goal:
        fail(f"the test error, {result.test_error:.6f}, is above the goal of {goal}")


def _show(result: counting.Result, options: counting.Options) -> None:
    out.print(_by_ones(result))
    wrong, total = int(result.wrong.sum()), int(result.tested.sum())
    say(
        f"test error {100 * result.test_error:.4f} %: {wrong:,} of {total:,} strings are wrong; trained in "
        f"{result.train_seconds:.1f} s ({result.history['step']:,} updates, engine {result.engine}), tested in "
        f"{result.test_seconds:.1f} s; {result.history['ended']}"
    )


def _by_ones(result: counting.Result) -> Table:
    table = Table("ones", "learnt from", "tested", "wrong", "right", box=None, header_style="bold")
    for column in table.columns:
        column.justify = "right"
    for k, (learnt, tested, wrong) in enumerate(zip(result.learnt, result.tested, result.wrong)):
        right = f"{100 * (1 - wrong / tested):.2f} %" if tested else "-"
        table.add_row(str(k), f"{learnt:,}", f"{tested:,}", f"{wrong:,}", right)
    return table
