"""`lstmcore train text`."""

from pathlib import Path
from typing import Annotated

import typer

from lstmcore.cli.talk import number, or_complain, say, tell
from lstmcore.cli.train.common import Common
from lstmcore.recipes import text as writing

EPILOG = "Example: lstmcore train text book.txt --out runs/book --epochs 8"
DEFAULT = writing.Options()


def train_text(
    common: Common,
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
    patience: Annotated[
        int, typer.Option(min=1, help="Epochs without an improvement on the rest, then stop.")
    ] = DEFAULT.patience,
    lr: Annotated[float, number("Highest learning rate; it falls to zero.")] = DEFAULT.lr,
    dropout: Annotated[float, number("After each LSTM layer.", max=0.99)] = DEFAULT.dropout,
    level: Annotated[writing.Level, typer.Option(help="What is read and written at a time.")] = DEFAULT.level,
    words: Annotated[
        int, typer.Option(min=2, help="With --level word: the most frequent ones that are told apart.")
    ] = DEFAULT.words,
) -> None:
    """Learn to write, by characters or words: from the first 90 % of a text, tested on the rest."""
    sizes = hidden, layers, embedding, batch, steps
    options = writing.Options(*sizes, epochs, patience, lr, dropout, level, words, common.engine, common.seed)
    written = or_complain(lambda: writing.read(file, limit, tell))
    common.train(
        writing,
        options,
        job=lambda: writing.job(*writing.split(written, options), options),
        run=lambda keep: writing.run(written, options, tell=tell, keep=keep),
        show=_show,
        hint=lambda result: ["--temperature", "0.5"],
    )


def _show(result: writing.Result, options: writing.Options) -> None:
    if not result.history["diverged"]:
        start = "\n" if "\n" in result.symbols else result.symbols[0]
        sample = writing.sample(result.model, result.symbols, 300, 0.7, options.seed, start)
        say("".join(sample).strip())
    say(
        f"{result.nats:.4f} nats, {result.bits:.4f} bits per {result.level}, perplexity {result.perplexity:.4g} on the "
        f"last {result.characters[1]:,} of {sum(result.characters):,} (counted symbols {result.unigram:.3f} nats, "
        f"counted pairs {result.bigram:.3f}); "
        f"trained in {result.train_seconds:.1f} s ({result.history['step']:,} updates, engine {result.engine}); "
        f"{result.history['ended']}"
    )
