"""Public data sets as jobs: what is learnt from, validated and tested on, the model, its loss and its score.

| set | files, and where they are from |
|---|---|
| `vowels` | JapaneseVowels_TRAIN.ts, _TEST.ts: UCI archive 128 (CC BY 4.0), as timeseriesclassification.com has it |
| `jsb` | jsb-chorales-quarter.json: github.com/czhuang/JSB-Chorales-dataset, split of Boulanger-Lewandowski (2012) |
| `pm25`, `pm25-weather` | pollution.csv: UCI archive 381 (CC BY 4.0), called PRSA_data_2010.1.1-2014.12.31.csv there |
| `ptb-characters`, `ptb-words` | ptb.train.txt, ptb.valid.txt, ptb.test.txt: Penn Treebank, by Mikolov (2010) |

`pip download --no-deps aeon` brings a wheel, which is a zip file, with the first two files in it.
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

import lstmcore as lc
from lstmcore import train
from lstmcore.layers import Layer
from lstmcore.recipes import series, text
from lstmcore.recipes.job import History
from lstmcore.train.data.batch import Data
from lstmcore.train.metrics import Loss

UNTOLD: History = {"ended": "", "step": 0, "seconds": 0.0, "epochs": [], "diverged": False}


class Work(NamedTuple):
    """One training from one seed. The optimizer is Adam, gradients are clipped to a norm of 1."""

    model: Layer
    batches: Data
    epochs: int
    schedule: Callable[[int], float]
    validation: Data | None  # the weights of the best epoch are kept; None: those of the last
    carry_state: bool = False


class Score(NamedTuple):
    """What a model is worth on the part for testing."""

    metric: str
    value: float
    floors: dict[str, float]  # what costs nothing


class Set(NamedTuple):
    """A set that has been read."""

    items: str  # how many of what are learnt from, validated and tested on
    loss: Loss
    work: Callable[[int], Work]  # of a seed; called twice, it gives the same weights, and batches in the same order
    judge: Callable[[Layer], list[Score]]


def vowels(folder: Path) -> Set:
    """Who speaks? Nine men say two vowels, 7 to 29 steps of 12 numbers. The part for testing is that of the set; of
    each speaker's 30 utterances three are for validation."""
    (rows, who), (others, who_test) = (_utterances(folder / f"JapaneseVowels_{part}.ts") for part in ("TRAIN", "TEST"))
    held = np.arange(len(who)) % 10 == 9
    real = np.concatenate([row for row, out in zip(rows, held) if not out])
    scaled = [[(row - real.mean(axis=0)) / real.std(axis=0) for row in part] for part in (rows, others)]
    (x, mask), (x_test, mask_test) = (lc.pad(part) for part in scaled)

    def work(seed: int) -> Work:
        rng = np.random.default_rng(seed)
        fw, bw = (lc.LSTM(12, 64, return_sequences=False, seed=rng) for _ in range(2))
        model = lc.Stack([lc.Bidirectional(fw, bw), lc.Linear(128, 9, seed=rng)])
        batches = lc.Batches(x[:, ~held], who[~held], mask[:, ~held], batch_size=20, seed=rng)
        validation = [(x[:, held], who[held], mask[:, held])]
        return Work(model, batches, 20, train.Cosine(0.005, 20 * len(batches)), validation)

    means = [np.stack([row.mean(axis=0) for row in part]) for part in scaled]
    nearest = who[np.argmin(((means[1][:, None] - means[0]) ** 2).sum(axis=2), axis=1)]
    floors = {
        "the commonest speaker": float(np.bincount(who_test).max() / len(who_test)),
        "nearest mean over time": float(np.mean(nearest == who_test)),
    }

    def judge(model: Layer) -> list[Score]:
        return [Score("accuracy", train.accuracy(model.predict(x_test, mask=mask_test)[0], who_test), floors)]

    return Set(f"{(~held).sum()}, {held.sum()}, {len(who_test)} utterances", lc.softmax_cross_entropy, work, judge)


def _utterances(path: Path) -> tuple[list[np.ndarray], np.ndarray]:
    """[(T, 12), ...] and the speakers (N,), 0 to 8. A line is 12 series and a class, with colons between them."""
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = [line.split(":") for line in lines[lines.index("@data") + 1 :]]
    x = [np.array([part.split(",") for part in parts], np.float32).T for *parts, _ in rows]
    return x, np.array([int(row[-1]) - 1 for row in rows])


def jsb(folder: Path) -> Set:
    """The next chord of Bach's chorales: of 88 keys, which are down? Given all chords before; the first one as well."""
    parts = json.loads((folder / "jsb-chorales-quarter.json").read_text(encoding="utf-8"))
    (x, y, mask), validation, test = (_chords(parts[name]) for name in ("train", "valid", "test"))

    def work(seed: int) -> Work:
        rng = np.random.default_rng(seed)
        model = lc.Stack([lc.LSTM(88, 128, seed=rng), lc.Dropout(0.2), lc.Linear(128, 88, seed=rng)])
        batches = lc.Batches(x, y, mask, batch_size=10, bucketed=True, per_step=True, seed=rng)
        return Work(model, batches, 15, train.Cosine(0.01, 15 * len(batches)), [validation])

    often = (y[mask].sum(axis=0) + 0.5) / (mask.sum() + 1)
    truth = test[1][test[2]]  # (chords, 88)
    nats = -float(np.mean((truth * np.log(often) + (1 - truth) * np.log(1 - often)).sum(axis=1)))

    def judge(model: Layer) -> list[Score]:
        found = 88 * train.evaluate(model, lc.binary_cross_entropy, [test])
        return [Score("nats per chord", found, {"how often each key is down": nats})]

    items = f"{', '.join(str(len(parts[name])) for name in ('train', 'valid', 'test'))} chorales"
    return Set(items, lc.binary_cross_entropy, work, judge)


def _chords(chorales: list[list[list[int]]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x and targets (T, N, 88), the keys before each chord and in it, and the mask (T, N). Keys: MIDI's 21 to 108."""
    rolls = [np.zeros((len(chorale), 88), np.float32) for chorale in chorales]
    for roll, chorale in zip(rolls, chorales):
        for t, chord in enumerate(chorale):
            roll[t, np.array(chord, int) - 21] = 1
    targets, mask = lc.pad(rolls)
    return np.append(np.zeros_like(targets[:1]), targets[:-1], axis=0), targets, mask


def pm25(folder: Path, beside: Sequence[str] = ()) -> Set:
    """Fine dust in Beijing, an hour ahead and a day, from 43,824 hours of which 2,067 are missing: `lstmcore train
    series`. With the weather beside it, that is not known ahead."""
    values = series.read(folder / "pollution.csv", "pm2.5", lambda words: None, beside=beside)
    options = series.Options(window=72, horizon=24, season=24, batch=64, epochs=2, lr=0.005, beside=tuple(beside))
    learnt = series.check(values, options)

    def work(seed: int) -> Work:
        job = series.job(values, replace(options, seed=seed))
        return Work(job.model, job.batches, options.epochs, job.options["schedule"], None)

    def judge(model: Layer) -> list[Score]:
        result = series.forecasts(model, values, options, UNTOLD, "")
        scores = []
        for metric, error in (
            ("root mean square error, next hour", result.one_step_error),
            ("root mean square error, 24 hours rolled out", lambda name: result.rolled_error(name)[-1]),
        ):
            floors = {name: float(error(name)) for name in result.forecasts if name != "lstm"}
            scores.append(Score(metric, float(error("lstm")), floors))
        return scores

    return Set(f"{learnt:,}, 0, {len(values) - learnt:,} hours", lc.squared_error, work, judge)


def ptb(folder: Path, level: str, size: int, options: text.Options) -> Set:
    """The next character or word of the Penn Treebank, its state carried on. Of the part to learn from the first `size`
    characters or words, of that for validation a quarter as many; the part for testing is whole."""
    read = [text.tokens((folder / f"ptb.{part}.txt").read_text(encoding="utf-8"), level)
            for part in ("train", "valid", "test")]  # fmt: skip
    symbols = sorted(set(read[0]))  # the words of all of it, with <unk> among them: the standard's 10,000
    learnt, held, test = (text.encode(part, symbols) for part in (read[0][:size], read[1][: size // 4], read[2]))

    def work(seed: int) -> Work:
        model = text.model(replace(options, seed=seed), len(symbols), np.random.default_rng(seed))
        batches = text.stream(learnt, options.batch, options.steps)
        schedule = train.WarmUp(50, train.Cosine(options.lr, options.epochs * len(batches) - 50))
        return Work(model, batches, options.epochs, schedule, text.stream(held, text.STRANDS, 200), True)

    floors = dict(zip(("single", "pairs"), text.counted(learnt, test, len(symbols))))

    def judge(model: Layer) -> list[Score]:
        nats = train.evaluate(model, lc.softmax_cross_entropy, text.stream(test, text.STRANDS, 200), carry_state=True)
        if level == "word":
            return [Score("perplexity", math.exp(nats), {name: math.exp(floor) for name, floor in floors.items()})]
        return [Score("nats per character", nats, floors)]

    items = f"{len(learnt):,}, {len(held):,}, {len(test):,} {level}s"
    return Set(items, lc.softmax_cross_entropy, work, judge)


SETS: dict[str, Callable[[Path], Set]] = {
    "vowels": vowels,
    "jsb": jsb,
    "pm25": pm25,
    "pm25-weather": lambda folder: pm25(folder, ("DEWP", "TEMP", "PRES", "Iws")),
    "ptb-characters": lambda folder: ptb(
        folder, "character", 200_000, text.Options(hidden=128, embedding=32, epochs=2, dropout=0.0)
    ),
    "ptb-words": lambda folder: ptb(
        folder, "word", 60_000, text.Options(hidden=64, embedding=64, batch=20, steps=35, epochs=2, dropout=0.2)
    ),
}
