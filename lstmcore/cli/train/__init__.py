"""`lstmcore train`: one command per recipe, one file per command."""

import typer

from lstmcore.cli.ranks import started
from lstmcore.cli.talk import err, or_complain, out, print_or_go_on, tell
from lstmcore.cli.train import alphabet, count, loops, series, text
from lstmcore.train.interrupt import die_at_once

train = typer.Typer(help="Train a recipe: data, model, training, test, picture.", no_args_is_help=True)


@train.callback()
def begin() -> None:
    die_at_once()  # before and after the training, which takes Ctrl-C itself
    print_or_go_on()
    ranks = or_complain(started)
    if ranks is not None and not ranks.first:
        out.quiet = err.quiet = True  # the first one speaks
    if ranks is not None:
        same = "the same bits on 1, 2, 4 or 8" if ranks.exact else "equal to rounding on another number"
        tell(f"{ranks.size} ranks of MPI, {ranks.shares} shares of every batch: {same}")


train.command("count", epilog=count.EPILOG)(count.train_count)
train.command("alphabet", epilog=alphabet.EPILOG)(alphabet.train_alphabet)
train.command("text", epilog=text.EPILOG)(text.train_text)
train.command("series", epilog=series.EPILOG)(series.train_series)
train.command("loops", epilog=loops.EPILOG)(loops.train_loops)
