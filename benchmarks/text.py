"""A whole job: a character model in lstmcore and in torch, on a text of one's own, `python -m benchmarks.text FILE`.

The model and the training are those of `lstmcore train text`: embedding, LSTM, dropout, linear layer, its state carried
on, AdamW under a cosine that ends with the last update. From each seed both sides start from the same weights and read
the same pieces of the text in the same order; their dropout is their own. First the losses of FIRST updates without
dropout are held to the reference. Then they take turns, an epoch at a time. What they have learnt is read back and
judged by one and the same: lstmcore, in nats per character, on the last tenth of the text.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from benchmarks import machine, rows
from benchmarks.machine import cli
from benchmarks.measure import Contestant, Failed, Process, start
from benchmarks.peers.lstmcore import Peer, character_model
from benchmarks.problem import Piece, Text
from benchmarks.race import contestants, fastest_engine, listed
from benchmarks.rows import Written
from benchmarks.truth import Truth, Wrong, bounded
from lstmcore import train
from lstmcore.ops.losses import softmax_cross_entropy
from lstmcore.recipes import text as writing

FIRST = 20  # updates that are checked
CLIP = 0.05  # then: below every norm, so that a missing clip shows
PEERS = ("torch",)  # those that have a `writer`


def job(symbols: str, learnt: np.ndarray, options: writing.Options) -> tuple[Text, list[Piece]]:
    """The model at its start with the rates of all updates, and the pieces of one epoch."""
    stream = writing.stream(learnt, options.batch, options.steps)
    pieces = [Piece(batch.x, batch.targets, k == 0) for k, batch in enumerate(stream)]
    updates = options.epochs * len(pieces)
    rise = min(50, max(1, updates // 10))
    schedule = train.WarmUp(rise, train.Cosine(options.lr, max(1, updates - rise)))
    model = writing.model(options, len(symbols), np.random.default_rng(options.seed))
    rates = np.array([schedule(step) for step in range(updates)])
    return Text({k: w.copy() for k, w in model.params.items()}, rates, options.dropout, options.seed), pieces


def truth(text: Text, pieces: Sequence[Piece]) -> Truth:
    """The losses of these pieces, each a mean over its characters, and how far rounding may take anybody from them."""
    losses = {}
    for dtype in ("float64", "float32"):
        params = {name: value.astype(dtype) for name, value in text.params.items()}
        writer = Peer(1, "reference").writer(text._replace(params=params))
        losses[dtype] = {"losses": np.array([writer.update(piece) for piece in pieces])}
    return bounded(losses["float64"], losses["float32"], "float32", pieces[0].x.size)


def nats(weights: dict[str, np.ndarray], held_back: np.ndarray) -> float:
    """Nats per character of a trained model."""
    batches = writing.stream(held_back, writing.STRANDS, 200)
    return train.evaluate(character_model(weights), softmax_cross_entropy, batches, carry_state=True)


def check(processes: Sequence[Process], text: Text, pieces: Sequence[Piece]) -> dict[str, float | str]:
    """Everybody's largest error in the first losses, as a part of what is allowed; or the reason why it is no part."""
    plain, first = text._replace(dropout=0.0, clip=CLIP), list(pieces[:FIRST])
    right = truth(plain, first)
    found: dict[str, float | str] = {}
    for process in processes:
        try:
            process.ask("write", plain)
            process.ask("place", first)
            found[process.name] = right.check({"losses": np.array(process.ask("epochs", 1)[0])})
        except (Wrong, Failed) as reason:
            found[process.name] = f"wrong: {reason}"
    return found


def race(
    processes: Sequence[Process], text: Text, pieces: list[Piece], held_back: np.ndarray, epochs: int
) -> dict[str, tuple[float, float]]:
    """Everybody's nats per character and seconds, from one seed."""
    seconds = {process.name: 0.0 for process in processes}
    for process in processes:
        process.ask("write", text)
        process.ask("place", pieces)
    for epoch in range(epochs):
        for k in range(len(processes)):
            process = processes[(k + epoch) % len(processes)]
            losses, took = process.ask("epochs", 1)
            seconds[process.name] += took
            typer.echo(f"epoch {epoch + 1}: {process.name} {np.mean(losses):.4f} nats, {took:.1f} s", err=True)
    return {process.name: (nats(process.ask("weights"), held_back), seconds[process.name]) for process in processes}


def table(written: Sequence[Written]) -> str:
    """Markdown: mean and spread (standard deviation) over the seeds, and the time."""
    lines = ["| who | seeds | updates | nats per character | ms per update | ratio |", "| --- " + "| ---: " * 5 + "|"]
    for name in dict.fromkeys(r.contestant for r in written):
        own = [r for r in written if r.contestant == name]
        done = [r for r in own if r.nats is not None]
        if not done:
            lines.append(f"| {name} | {' '.join(own[0].note.split())} | - | - | - | - |")
            continue
        learnt = np.array([r.nats for r in done])
        spread = f" +- {learnt.std(ddof=1):.4f}" if len(done) > 1 else ""
        each = np.median([1e3 * r.seconds / r.updates for r in done])
        ratio = np.median([r.ratio for r in done])
        lines.append(
            f"| {name} {done[0].version} | {len(done)} | {done[0].updates} | {learnt.mean():.4f}{spread} | {each:.1f} "
            f"| {ratio:.2f} |"
        )
    return "\n".join(lines)


def measured(
    entrants: Sequence[Contestant], path: Path, options: writing.Options, seeds: int, threads: int, out: Path
) -> list[Written]:
    """A row for every entrant and seed; the first is the base of the ratios. Rows go into the file as they come."""
    symbols, learnt, held_back = writing.split(writing.read(path), writing.Options())
    text, pieces = job(symbols, learnt, options)
    processes, absent = start(entrants, threads)
    everything: list[Written] = []
    try:
        found = check(processes, text, pieces)
        runners = [process for process in processes if isinstance(found[process.name], float)]
        notes = {name: f"absent: {reason}" for name, reason in absent.items()}
        notes |= {name: reason for name, reason in found.items() if isinstance(reason, str)}
        versions = {process.name: process.version for process in processes}
        for seed in range(options.seed, options.seed + seeds):
            text, pieces = job(symbols, learnt, dataclasses.replace(options, seed=seed))
            results = race(runners, text, pieces, held_back, options.epochs)
            for entrant in entrants:
                row = Written(
                    machine.now(), machine.processor(), machine.cores(), threads, path.name,
                    len(learnt) + len(held_back), options.steps, options.batch, options.embedding, options.hidden,
                    options.dropout, entrant.name, versions.get(entrant.name, ""), seed, len(text.rates),
                    note=notes.get(entrant.name, ""),
                )  # fmt: skip
                if entrant.name in results:
                    score, seconds = results[entrant.name]
                    base = results.get(entrants[0].name, (0.0, np.nan))[1]
                    row = row._replace(
                        nats=score, seconds=seconds, base=entrants[0].name, ratio=seconds / base,
                        error=found[entrant.name],
                    )  # fmt: skip
                everything.append(row)
            rows.append(out, everything[-len(entrants) :])
    finally:
        for process in processes:
            process.close()
    return everything


DEFAULT = writing.Options()


def command(
    file: Annotated[Path, typer.Argument(help="A text in UTF-8.")],
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the text.")] = DEFAULT.epochs,
    hidden: Annotated[int, typer.Option(min=1, help="Units of the LSTM.")] = DEFAULT.hidden,
    dropout: Annotated[float, typer.Option(min=0, max=0.99)] = DEFAULT.dropout,
    seeds: Annotated[int, typer.Option(min=1, help="0, 1, ... so many.")] = 3,
    peers: Annotated[str, typer.Option(help=f"Of {', '.join(PEERS)}, or none.")] = "torch",
    engines: Annotated[str, typer.Option(help="Of lstmcore; the first is the base of the ratio.")] = "",
    threads: Annotated[int | None, typer.Option(min=1, help="For everybody; by default one per core.")] = None,
    out: Annotated[Path, typer.Option(help="CSV file that the rows are added to.")] = Path("runs/text.csv"),
) -> None:
    """Train the same character model from the same weights in lstmcore and in torch: what each learns, and how fast."""
    options = dataclasses.replace(DEFAULT, epochs=epochs, hidden=hidden, dropout=dropout)
    try:
        if set(listed(peers)) - set(PEERS):
            raise ValueError(f"a peer should be one of {', '.join(PEERS)}; got {peers!r}")
        entrants = contestants(listed(engines) or [fastest_engine()], listed(peers))
        written = measured(entrants, file, options, seeds, threads or machine.cores(), out)
    except (ValueError, OSError) as error:
        typer.echo(f"benchmarks: {error}", err=True)
        raise typer.Exit(2) from None
    print(table(written))


if __name__ == "__main__":
    cli(command)
