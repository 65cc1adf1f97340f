"""`lstmcore train text`."""

from pathlib import Path
from typing import Annotated

import typer

from lstmcore.cli.talk import (
    EngineOption,
    JsonOption,
    OutOption,
    SeedOption,
    hand_over,
    or_complain,
    out,
    tell,
    writable,
)
from lstmcore.recipes import text as writing

EPILOG = "Example: lstmcore train text book.txt --out runs/book --epochs 8"
DEFAULT = writing.Options()


def train_text(
    file: Annotated[Path | None, typer.Argument(help="A text in UTF-8; by default the sources of Python.")] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Characters that are read, at most; of Python's sources 1,200,000.")
    ] = None,
    hidden: Annotated[int, typer.Option(min=1, help="Units of each layer.")] = DEFAULT.hidden,
    layers: Annotated[int, typer.Option(min=1, help="LSTM layers.")] = DEFAULT.layers,
    embedding: Annotated[int, typer.Option(min=1, help="Numbers that stand for a character.")] = DEFAULT.embedding,
    batch: Annotated[int, typer.Option(min=1, help="Strands of the text, read side by side.")] = DEFAULT.batch,
    steps: Annotated[int, typer.Option(min=1, help="Characters of a strand per update.")] = DEFAULT.steps,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the text.")] = DEFAULT.epochs,
    lr: Annotated[float, typer.Option(min=0, help="Highest learning rate; it falls to zero.")] = DEFAULT.lr,
    dropout: Annotated[float, typer.Option(min=0, max=0.99, help="After each LSTM layer.")] = DEFAULT.dropout,
    engine: EngineOption = None,
    seed: SeedOption = DEFAULT.seed,
    out_folder: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Learn to write, character by character: from the first 90 % of a text, tested on the rest."""
    options = writing.Options(hidden, layers, embedding, batch, steps, epochs, lr, dropout, engine, seed)
    folder = writable(out_folder)
    result = or_complain(lambda: writing.run(writing.read(file, limit), options, tell=tell))
    out.print("".join(writing.sample(result.model, result.symbols, 300, 0.7, options.seed, result.symbols[0])).strip())
    out.print(
        f"{result.nats:.4f} nats, {result.bits:.4f} bits per character on the last {result.characters[1]:,} of "
        f"{sum(result.characters):,} (counted symbols {result.unigram:.3f} nats, counted pairs {result.bigram:.3f}); "
        f"trained in {result.train_seconds:.1f} s ({result.history['step']:,} updates, engine {result.engine}); "
        f"{result.history['ended']}"
    )
    hand_over(writing, result, options, folder, as_json, f"; try: lstmcore predict text {folder} --temperature 0.5")
