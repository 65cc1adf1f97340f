"""Learn the backbone of protein loops: from residues to (sin phi, cos phi, sin psi, cos psi) of each.

torsions.py  what a loop is, the mark of what is undefined, the loss that leaves it out
npz.py pdb.py generator.py  where loops come from
split.py     who is learnt from and who is tested on; leaks
models.py    the networks and their options
floors.py    predictions that cost nothing          scores.py  errors, in degrees too       picture.py
"""

import csv
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lstmcore import layers, train
from lstmcore.arrays import Plain
from lstmcore.layers import tree
from lstmcore.recipes import job as finished
from lstmcore.recipes.loops import floors, scores, split
from lstmcore.recipes.loops.models import MODELS, Options, build
from lstmcore.recipes.loops.picture import draw
from lstmcore.recipes.loops.result import Result
from lstmcore.recipes.loops.torsions import (
    ALPHABET,
    CHANNELS,
    UNDEFINED,
    Loops,
    encode,
    in_steps,
    masked_squared_error,
    one_hot,
)
from lstmcore.train.callbacks.watchers import ExplodingNorm, MeanCollapse, NotFinite, NothingLearnt, Tell, warn
from lstmcore.train.files.atomic import write_atomically
from lstmcore.train.files.decoded import parsed

TABLE = "errors.csv"
CHUNK = 512  # loops that are predicted together


class Job(NamedTuple):
    """A split, and the training on it."""

    parts: split.Split
    training: finished.Job[train.Batches]


def prepare(loops: Loops, options: Options) -> Job:
    """One generator, seeded by `options.seed`, draws the split first, so that it is the same for every model; then the
    weights, the order of the batches and dropout."""
    rng = np.random.default_rng(options.seed)
    parts = split.split(loops.padded(options.pad), options.split, rng)
    net = build(options, len(loops.alphabet), parts.learnt.index.shape[1], rng)
    learnt = batches(parts.learnt, options.batch, rng)
    fit = {
        "epochs": options.epochs,
        "validation": batches(parts.validation, CHUNK, rng, shuffle=False),
        "schedule": train.Cosine(options.lr, options.epochs * len(learnt)) if options.falling else None,
        "clip": 1.0,
        "rng": rng,
    }
    own = () if options.split in ("grouped", "random") else (parts.learnt.index, parts.validation.index)
    about = finished.about("loops", options, loops.alphabet, loops.index, loops.targets, *own)
    opt = train.AdamW(options.lr, weight_decay=options.decay)
    loss = train.Counted(masked_squared_error, lambda y, targets, mask: int((targets != UNDEFINED).sum()))
    return Job(parts, finished.Job(about, net, loss, learnt, opt, fit))


def run(
    loops: Loops,
    options: Options,
    progress: bool | None = None,
    tell: Tell = warn,
    best: Callable[[Loops], np.ndarray] | None = None,
    keep: finished.Keep | None = None,
) -> Result:
    """Splits, trains with early stopping on the validation part, and tests beside the floors.

    tell: is called with a leak, and with what the watchers see. best: the best possible predictions, where they are
    known; they are shown with the floors. keep: where the run is saved, and whether it goes on.
    """
    parts, training = prepare(loops, options)
    leak = split.warning(parts)
    if leak is not None:
        tell(leak)
    guesses = floors.floors(parts.learnt, parts.tested)
    if best is not None:
        guesses["best possible"] = best(parts.tested)
    known = {name: scores.score(guess, parts.tested.targets) for name, guess in guesses.items()}
    first = training.batches.x[:, :1]
    engine = tree.engine(training.model.forward(first)[2])  # compiles kernels, if any, before the clock runs
    history = training.fit(callbacks(options, known["constant mean"].mse, tell), keep, progress)
    predicted = answers(training.model, parts.tested.index, len(loops.alphabet))
    score = scores.score(predicted, parts.tested.targets)
    leaked, seconds = split.leaked(parts), history["seconds"]
    return Result(training.model, history, parts, predicted, score, known, leaked, engine, seconds)


def callbacks(options: Options, constant: float, tell: Tell) -> list[train.Callback]:
    """Early stopping, and the watchers. constant: the error of the constant mean, which is to be beaten."""
    watchers = (MeanCollapse(tell), NotFinite(tell), ExplodingNorm(tell), NothingLearnt(tell, constant=constant))
    return [train.EarlyStopping(options.patience), *watchers]


def batches(loops: Loops, size: int, rng: np.random.Generator, shuffle: bool = True) -> train.Batches:
    """One-hot residues, targets and mask, time-major; loops of similar length together, cut after the longest."""
    targets = np.ascontiguousarray(loops.targets.swapaxes(0, 1))  # (T, N, 4)
    x = one_hot(loops.index, len(loops.alphabet))
    mask = np.ascontiguousarray(loops.mask.T)
    return train.Batches(x, targets, mask, batch_size=size, seed=rng, shuffle=shuffle, bucketed=True, per_step=True)


def answers(net: layers.Layer, index: np.ndarray, letters: int) -> np.ndarray:
    """(N, T, 4) for residues (N, T)."""
    chunks = []
    for k in range(0, len(index), CHUNK):
        rows = index[k : k + CHUNK]
        y, _ = net.predict(one_hot(rows, letters), mask=np.ascontiguousarray(rows.T >= 0))
        chunks.append(in_steps(y)[: rows.shape[1]].swapaxes(0, 1))
    return np.concatenate(chunks)


def metrics(result: Result, options: Options) -> Plain:
    """Plain data: what `--json` prints and metrics.json holds. mse is the masked squared error, angles are degrees."""
    tested = result.parts.tested
    return {
        **finished.outcome("loops", options, result.history, result.engine),
        **result.score.as_plain(),
        "floors": {name: score.as_plain() for name, score in result.floors.items()},
        "by_position": [score.as_plain() for score in scores.by_position(result.predicted, tested)],
        "by_residue": {name: s.as_plain() for name, s in scores.by_residue(result.predicted, tested).items()},
        "loops": dict(zip(("learnt", "validation", "tested"), map(len, result.parts))),
        "leaked": result.leaked,
        "alphabet": tested.alphabet,
    }


def save(folder: Path, result: Result, options: Options) -> None:
    """Writes the files of a run (recipes/job.py) into the folder, and the errors by residue and by position."""
    finished.save(folder, result.model, metrics(result, options), result.history)
    tested, text = result.parts.tested, io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["by", "which", "residues", "masked squared error", "phi", "psi"])  # degrees
    residues = scores.by_residue(result.predicted, tested).items()
    positions = enumerate(scores.by_position(result.predicted, tested), 1)
    for by, rows in (("residue", residues), ("position", positions)):
        writer.writerows([by, which, s.residues, s.mse, s.phi, s.psi] for which, s in rows)
    write_atomically(folder / TABLE, text.getvalue().encode())


def load(folder: Path, engine: str | None = None) -> tuple[layers.Layer, str]:
    """The model and the alphabet of a folder that `save` wrote. Raises OSError and ValueError for what is none."""
    net = train.load(folder / finished.FILES[0], engine)
    try:
        alphabet = parsed(folder / finished.FILES[1])["alphabet"]
        fits = isinstance(alphabet, str) and _reads(net.config()) == len(alphabet)
    except (KeyError, TypeError, ValueError):
        fits = False
    if not fits:
        raise ValueError(f"{folder / finished.FILES[1]} does not hold the alphabet of the model beside it")
    return net, alphabet


def predict(net: layers.Layer, alphabet: str, sequences: list[str]) -> Iterator[tuple[str, np.ndarray]]:
    """(sequence, (length, 4)) for each. Raises ValueError for unknown letters, and for loops too long for the head."""
    index = encode(sequences, alphabet)
    last = net.config()["layers"][-2]["output_size"]
    if last > len(CHANNELS) and index.shape[1] > last // len(CHANNELS):
        raise ValueError(f"this network's head has {last // len(CHANNELS)} residues; got {index.shape[1]}")
    for sequence, row in zip(sequences, answers(net, index, len(alphabet))):
        yield sequence, row[: len(sequence)]


def _reads(config: Plain) -> int:
    """The input width of a model."""
    while "input_size" not in config:
        config = config["fw"] if "fw" in config else config["layers"][0]
    return config["input_size"]


__all__ = [
    "ALPHABET", "MODELS", "UNDEFINED", "Loops", "Options", "Result", "answers", "batches", "draw", "load",
    "masked_squared_error", "metrics", "one_hot", "predict", "prepare", "run", "save",
]  # fmt: skip
