"""The command line, one file per verb. Talks to people; the work is in recipes and below."""

import sys
from typing import Annotated

import typer

import lstmcore
from lstmcore.cli import bench, certify, check, debug, diagnose, docs, exercise, explain, info
from lstmcore.cli.convert import EPILOG as CONVERT
from lstmcore.cli.convert import convert
from lstmcore.cli.predict import predict
from lstmcore.cli.sweep import sweep
from lstmcore.cli.talk import print_or_end, show_all_symbols
from lstmcore.cli.train import train

app = typer.Typer(
    name="lstmcore",
    no_args_is_help=True,
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def top(
    version: Annotated[bool, typer.Option("--version", help="Which version this is.", is_eager=True)] = False,
) -> None:
    """LSTMs written by hand, forward and backward, and the tools that prove them."""
    if version:
        print(f"lstmcore {lstmcore.__version__}")
        raise typer.Exit


app.add_typer(train, name="train")
app.add_typer(predict, name="predict")
app.add_typer(sweep)
app.command("check", epilog=check.EPILOG)(check.check)
app.command("diagnose", epilog=diagnose.EPILOG)(diagnose.diagnose)
app.command("exercise", epilog=exercise.EPILOG)(exercise.exercise)
app.command("explain", epilog=explain.EPILOG)(explain.explain)
app.command("debug", epilog=debug.EPILOG)(debug.debug_case)
app.command("convert", epilog=CONVERT)(convert)
app.command("certify", epilog=certify.EPILOG)(certify.certify)
app.command("info")(info.info)
app.command("docs", epilog=docs.EPILOG)(docs.docs)
app.command("bench", epilog=bench.EPILOG, context_settings=bench.SETTINGS)(bench.bench)


def main() -> None:
    """The entry point of the console script."""
    show_all_symbols()
    print_or_end()
    try:
        app()
    finally:
        sys.stdout.flush()
