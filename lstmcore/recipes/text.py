"""Learn to write: a model of characters or words, trained on one long text with its state carried along; sampling."""

import math
import sysconfig
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import numpy as np

from lstmcore import layers, train
from lstmcore.arrays import Plain
from lstmcore.debug.show.picture import panels
from lstmcore.layers import tree
from lstmcore.ops.losses import softmax, softmax_cross_entropy
from lstmcore.recipes import job as finished
from lstmcore.train.callbacks.watchers import Tell, warn
from lstmcore.train.files.decoded import decoded, parsed

HELD_BACK = 0.1  # the last part of the text, which is not learnt from
STRANDS = 32  # in which it is read: each starts without a memory
PYTHON = 1_200_000  # characters of Python's sources, if not said otherwise
SHORTEST = 1_000  # characters or words; a text of less is refused
UNKNOWN = "<unk>"  # every word that is not among the most frequent ones
Level: TypeAlias = Literal["character", "word"]  # what is read and written at a time


@dataclass(frozen=True)
class Options:
    """What `lstmcore train text` can be told. The defaults suit a million characters and a few minutes on two cores.
    With words, "characters" below are words."""

    hidden: int = 256
    layers: int = 1
    embedding: int = 64
    batch: int = 50  # strands of the text that are read side by side
    steps: int = 64  # characters of each strand per update, as far as gradients reach back
    epochs: int = 6
    patience: int = 5  # epochs without an improvement on what is held back
    lr: float = 0.01  # the highest rate; it rises for 50 updates and falls to zero along a cosine
    dropout: float = 0.1
    level: Level = "character"
    words: int = 10_000  # classes of a model of words: the most frequent ones, and UNKNOWN
    engine: str | None = None
    seed: int = 0


@dataclass(frozen=True)
class Result:
    """What came of it."""

    model: layers.Layer
    symbols: Sequence[str]  # class k is symbols[k]; a string, or a list of words
    history: finished.History
    characters: tuple[int, int]  # learnt from, held back
    nats: float  # per character that was held back
    unigram: float  # the same for a model that knows how frequent each symbol is
    bigram: float  # and for one that knows how often each follows each
    engine: str
    train_seconds: float

    @property
    def level(self) -> Level:
        """What a symbol is."""
        return level_of(self.symbols)

    @property
    def bits(self) -> float:
        """Bits per character that was held back."""
        return self.nats / math.log(2)

    @property
    def perplexity(self) -> float:
        """Of a character (or word): a fair die with this many faces is as hard to predict."""
        return math.exp(min(self.nats, 700))


def read(path: Path | None, limit: int | None = None, tell: Tell = print) -> str:
    """The text of a file, or, without a path, of the modules of Python's standard library by their names.

    At most `limit` characters; None means all of a file, and 1,200,000 of Python's. tell: is called if the file is in
    another encoding than UTF-8, or holds byte order marks, which are left out. Raises ValueError for what is no
    text, OSError for what cannot be read.
    """
    if path is not None:
        text, special = decoded(path)
        if special:
            tell(f"{path}: {special}")
        return text[:limit]
    modules = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    return "".join(module.read_text(encoding="utf-8") for module in modules)[: limit or PYTHON]


def level_of(symbols: Sequence[str]) -> Level:
    """Characters stand in one string, words in a list."""
    return "character" if isinstance(symbols, str) else "word"


def tokens(text: str, level: Level) -> Sequence[str]:
    """What stands for a class: the characters; or the words between blanks, the end of each line as a word "\\n"."""
    if level not in get_args(Level):
        raise ValueError(f"`level` should be one of {', '.join(get_args(Level))}; got {level!r}")
    if level == "character":
        return text
    return [word for line in text.splitlines() for word in (*line.split(), "\n")]


def split(
    text: str, options: Options, symbols: Sequence[str] | None = None
) -> tuple[Sequence[str], np.ndarray, np.ndarray]:
    """symbols, and the text as classes: what is learnt from (N,), what is held back (M,).

    symbols: those of an existing model; None takes all characters of the text, or the most frequent words of the
    part that is learnt from. Raises ValueError for a text that is too short or of a single symbol, and for characters
    that are not among the symbols.
    """
    read = tokens(text, options.level)
    if len(read) < SHORTEST or len(set(read)) < 2:
        raise ValueError(
            f"a text should have at least {SHORTEST:,} {options.level}s, of two symbols or more; got {len(read):,}, of "
            f"{len(set(read))}"
        )
    held_back = round(HELD_BACK * len(read))
    if symbols is None and isinstance(read, str):
        symbols = "".join(sorted(set(read)))
    elif symbols is None:
        symbols = sorted({word for word, _ in Counter(read[:-held_back]).most_common(options.words - 1)} | {UNKNOWN})
    if not isinstance(read, str):
        known = set(symbols)
        read = [word if word in known else UNKNOWN for word in read]
    classes = encode(read, symbols)
    return symbols, classes[:-held_back], classes[-held_back:]


def encode(read: Sequence[str], symbols: Sequence[str]) -> np.ndarray:
    """(N,) classes. Raises ValueError for symbols that are not among those learnt."""
    known = {symbol: k for k, symbol in enumerate(symbols)}
    unknown = sorted(set(read) - known.keys())
    if unknown:
        few = f"; its symbols are {symbols!r}" if isinstance(symbols, str) else ""
        shown = ", ".join(map(repr, unknown[:20])) + (", ..." if len(unknown) > 20 else "")
        raise ValueError(f"the text learnt from has no {shown}{few}")
    return np.fromiter(map(known.__getitem__, read), np.int64, len(read))


def model(options: Options, classes: int, rng: np.random.Generator) -> layers.Layer:
    """An embedding, LSTM layers each with dropout after it, and a linear layer to the logits of the next symbol."""
    parts: list[layers.Layer] = [layers.Embedding(classes, options.embedding, seed=rng)]
    for k in range(options.layers):
        width = options.embedding if k == 0 else options.hidden
        parts.append(layers.LSTM(width, options.hidden, seed=rng, engine=options.engine))
        parts.append(layers.Dropout(options.dropout))
    return layers.Stack([*parts, layers.Linear(options.hidden, classes, seed=rng)])


def stream(classes: np.ndarray, strands: int, steps: int) -> train.Stream:
    """Every character with the one that follows it as its target; short texts in fewer strands."""
    strands = max(1, min(strands, len(classes) // (2 * steps)))
    return train.Stream(classes[:-1], classes[1:], batch_size=strands, steps=steps)


def job(
    symbols: Sequence[str], learnt: np.ndarray, held_back: np.ndarray, options: Options
) -> finished.Job[train.Stream]:
    """What is trained, from what `split` gives. One generator, seeded by `options.seed`, draws weights and dropout."""
    rng = np.random.default_rng(options.seed)
    batches = stream(learnt, options.batch, options.steps)
    updates = options.epochs * len(batches)
    rise = min(50, max(1, updates // 10))
    return finished.Job(
        finished.about("text", options, "\0".join(symbols), learnt, held_back),
        model(options, len(symbols), rng),
        softmax_cross_entropy,
        batches,
        train.AdamW(options.lr, beta2=0.99),
        {
            "epochs": options.epochs,
            "validation": stream(held_back, STRANDS, 200),
            "schedule": train.WarmUp(rise, train.Cosine(options.lr, max(1, updates - rise))),
            "clip": 1.0,
            "rng": rng,
            "carry_state": True,
            "metrics": {"perplexity": train.perplexity},
        },
    )


def run(
    text: str, options: Options, progress: bool | None = None, tell: Tell = warn, keep: finished.Keep | None = None
) -> Result:
    """Trains on the first 90 % of the text and tests on the rest. The parameters of the best epoch are kept.

    tell: is called with what the watchers see. keep: where the run is saved, and whether it goes on.
    """
    there = None if keep is None or keep.begin_from is None else load(keep.begin_from)[1]
    symbols, learnt, held_back = split(text, options, there)
    training = job(symbols, learnt, held_back, options)
    net, validation = training.model, training.options["validation"]
    first = training.batches.x[: options.steps]
    engine = tree.engine(net.forward(first)[2])  # compiles kernels, if any, before the clock runs
    history = training.fit([train.EarlyStopping(options.patience), *train.watchers(tell)], keep, progress)
    nats = train.evaluate(net, softmax_cross_entropy, validation, carry_state=True)
    unigram, bigram = counted(learnt, held_back, len(symbols))
    sizes = (len(learnt), len(held_back))
    return Result(net, symbols, history, sizes, nats, unigram, bigram, engine, history["seconds"])


def counted(learnt: np.ndarray, held_back: np.ndarray, V: int) -> tuple[float, float]:
    """Nats per held-back symbol of models that only count, learning from the same text: single symbols, and pairs.

    Each symbol counts as seen once more than it was, each pair 0.1 times, so that nothing is impossible.
    """
    single = np.bincount(learnt, minlength=V) + 1.0
    unigram = np.log(single / single.sum())
    pairs, times = np.unique(learnt[:-1] * V + learnt[1:], return_counts=True)
    wanted = held_back[:-1] * V + held_back[1:]
    place = np.searchsorted(pairs, wanted).clip(max=len(pairs) - 1)
    seen = np.where(pairs[place] == wanted, times[place], 0) + 0.1
    before = np.bincount(learnt[:-1], minlength=V)[held_back[:-1]] + 0.1 * V
    return -float(unigram[held_back[1:]].mean()), -float(np.log(seen / before).mean())


def sample(
    net: layers.Layer,
    symbols: Sequence[str],
    length: int,
    temperature: float = 1.0,
    seed: int | None = None,
    start: str = "\n",
    top_k: int | None = None,
) -> Iterator[str]:
    """`length` symbols, one by one, that follow `start`; p ~ exp(logit / temperature), at 0 always the likeliest.

    top_k: only the k likeliest are drawn from; None: all. Words come with the blank before them. Raises
    ValueError for an empty start, one with symbols that were not learnt, a negative temperature, a top_k below 1, and a
    network whose answers are not finite.
    """
    level = level_of(symbols)
    read = list(tokens(start, level))
    if level == "word" and read and not start.endswith("\n"):
        read.pop()  # the end of a line that goes on
    if not read:
        raise ValueError("`start` should hold at least one symbol to begin from")
    if not temperature >= 0:
        raise ValueError(f"`temperature` should be a number from 0 up; got {temperature!r}")
    if top_k is not None and top_k < 1:
        raise ValueError(f"`top_k` should be at least 1; got {top_k!r}")
    x = encode(read, symbols)[:, None]  # (T, 1)
    rng = np.random.default_rng(seed)
    y, state = net.predict(x)
    logits, before = y[-1], read[-1]  # (1, V)
    for _ in range(length):
        if not np.isfinite(logits).all():
            raise ValueError("the network's answers are not finite: its training diverged")
        choice = _drawn(logits[0].astype(float), temperature, top_k, rng)
        blank = " " if level == "word" and "\n" not in (before, symbols[choice]) else ""
        before = symbols[choice]
        yield blank + before
        logits, state = net.step(np.array([choice]), state)


def _drawn(logits: np.ndarray, temperature: float, top_k: int | None, rng: np.random.Generator) -> int:
    """A class, from its logits (V,)."""
    if temperature == 0:
        return int(logits.argmax())
    if top_k is not None:
        lowest = np.sort(logits)[-min(top_k, len(logits))]
        logits = np.where(logits >= lowest, logits, -np.inf)
    with np.errstate(over="ignore"):  # of the least temperatures: -inf is a probability of zero
        p = softmax((logits - logits.max()) / temperature)
    return int(rng.choice(len(logits), p=p / p.sum()))


def metrics(result: Result, options: Options) -> Plain:
    """Plain data: what `--json` prints and metrics.json holds. nats and bits are per character (or word) held back."""
    return {
        **finished.outcome("text", options, result.history, result.engine),
        "nats": result.nats,
        "bits": result.bits,
        "perplexity": result.perplexity,
        "unigram_nats": result.unigram,
        "bigram_nats": result.bigram,
        "learnt": result.characters[0],
        "held_back": result.characters[1],
        "symbols": result.symbols,
    }


def save(folder: Path, result: Result, options: Options) -> None:
    """Writes the files of a run (recipes/job.py) into the folder."""
    finished.save(folder, result.model, metrics(result, options), result.history)


def load(folder: Path, engine: str | None = None) -> tuple[layers.Layer, Sequence[str]]:
    """The model and the symbols of a folder that `save` wrote. Raises OSError and ValueError for what is none."""
    net = train.load(folder / finished.FILES[0], engine)
    try:
        symbols = parsed(folder / finished.FILES[1])["symbols"]
        words = isinstance(symbols, list) and all(isinstance(word, str) for word in symbols)
        fits = (words or isinstance(symbols, str)) and net.config()["layers"][-1]["output_size"] == len(symbols)
    except (KeyError, TypeError, ValueError):
        fits = False
    if not fits:
        raise ValueError(f"{folder / finished.FILES[1]} does not hold the symbols of the model beside it")
    return net, symbols


def draw(path: Path, result: Result) -> None:
    """The losses over the epochs, and the two counts beside them. Raises ImportError without matplotlib."""
    figure, (axis,) = panels(3.4)
    floors = {"single symbols, counted": result.unigram, "pairs, counted": result.bigram}
    finished.draw_losses(axis, result.history, f"nats per {result.level}", floors)
    axis.set_yscale("linear")
    held_back = f"held back: {result.nats:.3f} nats, {result.bits:.3f} bits per {result.level}"
    figure.suptitle(held_back, fontsize="medium")  # above the names of the lines
    finished.write_picture(path, figure)
