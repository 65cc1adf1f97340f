"""`lstmcore train text`."""

from pathlib import Path
from typing import Annotated

import typer

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
    range_test,
    say,
    tell,
)
from lstmcore.recipes import text as writing

EPILOG = "Example: lstmcore train text book.txt --out runs/book --epochs 8"
DEFAULT = writing.Options()


def train_text(
    file: Annotated[
        Path | None,
        typer.Argument(help="A text in UTF-8 (or with a byte order mark); by default the sources of Python."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Characters that are read, at most; of Python's sources 1,200,000.")
    ] = None,
    hidden: Annotated[int, typer.Option(min=1, help="Units of each layer.")] = DEFAULT.hidden,
    layers: Annotated[int, typer.Option(min=1, help="LSTM layers.")] = DEFAULT.layers,
    embedding: Annotated[int, typer.Option(min=1, help="Numbers that stand for a character.")] = DEFAULT.embedding,
    batch: Annotated[int, typer.Option(min=1, help="Strands of the text, read side by side.")] = DEFAULT.batch,
    steps: Annotated[int, typer.Option(min=1, help="Characters of a strand per update.")] = DEFAULT.steps,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the text.")] = DEFAULT.epochs,
    lr: Annotated[float, number("Highest learning rate; it falls to zero.")] = DEFAULT.lr,
    dropout: Annotated[float, number("After each LSTM layer.", max=0.99)] = DEFAULT.dropout,
    engine: EngineOption = None,
    seed: SeedOption = DEFAULT.seed,
    out_folder: OutOption = None,
    resume: ResumeOption = False,
    overwrite: OverwriteOption = False,
    find_lr: FindLrOption = False,
    as_json: JsonOption = False,
) -> None:
    """Learn to write, character by character: from the first 90 % of a text, tested on the rest."""
    options = writing.Options(hidden, layers, embedding, batch, steps, epochs, lr, dropout, engine, seed)
    written = or_complain(lambda: writing.read(file, limit, tell))
    if find_lr:
        range_test(or_complain(lambda: writing.job(*writing.split(written), options)), out_folder, as_json)
    with keeping(out_folder, resume, overwrite) as keep:
        result = or_complain(lambda: writing.run(written, options, tell=tell, keep=keep))
        hand_over(writing, result, options, keep, as_json, _show, ("--temperature", "0.5"))


def _show(result: writing.Result, options: writing.Options) -> None:
    if not result.history["diverged"]:
        sample = writing.sample(result.model, result.symbols, 300, 0.7, options.seed, result.symbols[0])
        say("".join(sample).strip())
    say(
        f"{result.nats:.4f} nats, {result.bits:.4f} bits per character on the last {result.characters[1]:,} of "
        f"{sum(result.characters):,} (counted symbols {result.unigram:.3f} nats, counted pairs {result.bigram:.3f}); "
        f"trained in {result.train_seconds:.1f} s ({result.history['step']:,} updates, engine {result.engine}); "
        f"{result.history['ended']}"
    )
