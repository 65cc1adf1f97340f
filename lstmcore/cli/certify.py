"""`lstmcore certify`: an engine, whoever wrote it, held to cases with known outputs and gradients."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from lstmcore.cli.talk import JsonOption, bar, fail, or_complain, picture, print_or_go_on, tell
from lstmcore.debug.certify import Verdict, report
from lstmcore.debug.certify import certify as certified
from lstmcore.interop.host import HALVES
from lstmcore.train.files.atomic import write_atomically

EPILOG = """Examples:

lstmcore certify torch

lstmcore certify keras:jax:unroll --picture keras.png

lstmcore certify mine:lstm --only lstm --junit certify.xml

lstmcore certify "program:./my_lstm" --expected known.json

The page docs/certify.md shows how to write `lstm` of mine.py in ten lines."""


def certify(
    engine: Annotated[str, typer.Argument(help="torch, keras:BACKEND, ..., program:COMMAND or module:function.")],
    only: Annotated[list[str] | None, typer.Option(help="Cases whose names hold this word; may be told again.")] = None,
    dtype: Annotated[
        str, typer.Option(help="float64, float32, float16 or bfloat16; by default what the engine computes in.")
    ] = "",
    expected: Annotated[
        Path | None, typer.Option(help="JSON, case -> wrong, ignored or crash: failures that are known.")
    ] = None,
    python: Annotated[str, typer.Option(help="Another Python, in which the engine is installed.")] = sys.executable,
    junit: Annotated[Path | None, typer.Option(help="Write the verdicts as JUnit's XML.")] = None,
    drawn: Annotated[Path | None, typer.Option("--picture", help="Draw cases by results, coloured.")] = None,
    badge: Annotated[bool, typer.Option(help="One line and nothing else.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Hold an engine to the golden pack: cases with known outputs and gradients of LSTM, GRU and RNN.

    Each case agrees, is refused (the engine has no such layer), ignored (it gives the numbers of the case without an
    option), wrong, or a crash; ambiguous is what the standards leave open. Exits with 1 where a case is ignored, wrong
    or a crash and was not expected to be, or was expected to be and is not; and where nothing could be judged.
    """
    print_or_go_on()
    if dtype not in ("", "float64", "float32", *HALVES):
        fail(f"`--dtype` should be float64, float32, float16 or bfloat16; got {dtype!r}", 2)
    for path in (junit, drawn):
        if path is not None and (path.is_dir() or not path.parent.is_dir()):
            fail(f"{path} should be a file in a folder that is there", 2)
    known = {} if expected is None else or_complain(lambda: report.read_expected(expected))
    shown = bar()
    task = shown.add_task(f"{engine} begins")

    def watch(done: int, total: int, verdict: Verdict) -> None:
        shown.update(task, completed=done, total=total, description=verdict.case)

    with shown:
        score = or_complain(lambda: certified(engine, dtype, only=only or (), python=python, watch=watch))
    unexpected = score.unexpected(known)
    print(report.badge(score) if badge else report.words(score, refused=True))
    if junit is not None:
        or_complain(lambda: write_atomically(junit, report.junit(score, known)))
    if drawn is not None:
        picture(lambda path: report.draw(path, score), drawn)
    if known and not badge:
        tell("\n".join(unexpected) or f"as expected: {len(known)} known failures")
    if as_json:
        print(json.dumps(report.plain(score)))
    if not score.judged:
        fail(f"nothing was judged: all {len(score.verdicts)} cases were refused, or are ambiguous")
    raise typer.Exit(1 if unexpected else 0)
