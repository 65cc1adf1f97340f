"""`lstmcore train`: one command per recipe, one file per command."""

from typing import Annotated

import typer

from lstmcore.cli.ranks import Together, started
from lstmcore.cli.talk import err, fail, or_complain, out, print_or_go_on
from lstmcore.cli.train import alphabet, count, loops, series, text
from lstmcore.cli.train.common import with_common
from lstmcore.train.interrupt import die_at_once

train = typer.Typer(cls=Together, help="Train a recipe: data, model, training, test, picture.", no_args_is_help=True)


@train.callback()
def begin(
    exact: Annotated[
        bool | None,
        typer.Option(
            help="On several ranks of MPI: sums to the same bits on 1, 2, 4 or 8; by default where that costs little.",
            show_default=False,
        ),
    ] = None,
) -> None:
    die_at_once()  # before and after the training, which takes Ctrl-C itself
    print_or_go_on()
    ranks = or_complain(started)
    if ranks is None:
        if exact is not None:
            option = "--exact" if exact else "--no-exact"
            fail(f"{option} is for several ranks: mpiexec -n N lstmcore train {option} ...", 2)
        return
    if not ranks.first:
        out.quiet = err.quiet = True  # the first one speaks
    or_complain(lambda: ranks.want(exact))


train.command("count", epilog=count.EPILOG)(with_common(count.train_count))
train.command("alphabet", epilog=alphabet.EPILOG)(with_common(alphabet.train_alphabet, "begin_from"))
train.command("text", epilog=text.EPILOG)(with_common(text.train_text))
train.command("series", epilog=series.EPILOG)(with_common(series.train_series))
train.command("loops", epilog=loops.EPILOG)(with_common(loops.train_loops))
