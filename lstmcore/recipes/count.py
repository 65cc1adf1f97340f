"""Learn to count the ones of a 20-bit string from 10,000 of them, and be tested on all the others.

The job of a tutorial of 2016, whose training took 3 to 4 hours to 0.1 % error: 2^20 strings, 10,000 to learn from,
1,038,576 to be tested on; an LSTM reads the bits one by one, and a linear layer turns its last output into 21 classes.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from lstmcore import layers, train
from lstmcore.arrays import Plain, State
from lstmcore.debug.show.picture import PLAIN, panels
from lstmcore.debug.trees import tree_map
from lstmcore.layers import tree
from lstmcore.ops.cells import CELLS
from lstmcore.ops.losses import softmax, softmax_cross_entropy
from lstmcore.recipes import job as finished
from lstmcore.train.callbacks.watchers import Tell, warn
from lstmcore.train.update.optimizer import Optimizer

BITS = 20
STRINGS = 2**BITS
CLASSES = BITS + 1
OptimizerName: TypeAlias = Literal["adamw", "adam", "sgd", "momentum", "rmsprop", "adagrad"]
CHUNK = 64  # prefixes of ten bits that are finished together: 65,536 strings


@dataclass(frozen=True)
class Options:
    """What `lstmcore train count` can be told. The defaults are the shortest way found to 0.1 % for every seed."""

    hidden: int = 24
    layers: int = 1
    cell: str = "lstm"
    batch: int = 50
    epochs: int = 40
    lr: float = 0.01  # the first rate of a cosine that ends at zero
    optimizer: OptimizerName = "adamw"
    dropout: float = 0.1  # of the last hidden state, before the linear layer
    examples: int = 10_000
    balanced: bool = False
    engine: str | None = None
    seed: int = 0


@dataclass(frozen=True)
class Result:
    """What came of it."""

    model: layers.Layer
    history: finished.History
    wrong: np.ndarray  # (21,) wrong test strings by their number of ones
    tested: np.ndarray  # (21,) test strings
    learnt: np.ndarray  # (21,) training strings
    engine: str  # the one that ran
    train_seconds: float
    test_seconds: float

    @property
    def test_error(self) -> float:
        """Wrong test strings, as a fraction."""
        return float(self.wrong.sum() / self.tested.sum())


def bits(index: np.ndarray) -> np.ndarray:
    """Strings (B,), as numbers in [0, 2^20), to their bits (20, B, 1) float32, the first bit being the highest."""
    shifts = np.arange(BITS - 1, -1, -1)[:, None]
    return ((index[None, :] >> shifts) & 1).astype(np.float32)[..., None]


def ones(index: np.ndarray) -> np.ndarray:
    """How many ones each string has: (B,) in 0 .. 20."""
    return np.bitwise_count(index).astype(np.int64)


def examples(rng: np.random.Generator, n: int, balanced: bool) -> np.ndarray:
    """n different strings to learn from, (n,). natural: any of the 2^20, as the tutorial draws them.

    balanced: every count of ones gets the same share, as far as there are strings: one string has no ones, twenty have
    one.
    """
    order = rng.permutation(STRINGS)
    if not balanced:
        return order[:n]
    counts = ones(order)
    rank = np.empty(STRINGS, np.int64)  # the place of each string among those with its count
    for k in range(CLASSES):
        rank[counts == k] = np.arange(np.count_nonzero(counts == k))
    return order[np.argsort(rank, kind="stable")[:n]]


def model(options: Options, rng: np.random.Generator) -> layers.Layer:
    """Layers of one cell, the last of which gives its final state, and a linear layer to 21 classes."""
    kind = layers.of_cell(CELLS[options.cell])
    H = options.hidden
    parts: list[layers.Layer] = [
        kind(1 if k == 0 else H, H, seed=rng, engine=options.engine, return_sequences=k < options.layers - 1)
        for k in range(options.layers)
    ]
    return layers.Stack([*parts, layers.Dropout(options.dropout), layers.Linear(H, CLASSES, seed=rng)])


def optimizer(options: Options) -> Optimizer:
    """Adam with a shorter memory than usual (beta2 0.99): the gradient's size changes fast while it learns to count.

    AdamW's decay, 0.02, shrinks what 10,000 strings do not hold in place.
    """
    if options.optimizer == "adamw":
        return train.AdamW(options.lr, beta2=0.99, weight_decay=0.02)
    if options.optimizer == "adam":
        return train.Adam(options.lr, beta2=0.99)
    kinds = {"sgd": train.SGD, "momentum": train.Momentum, "rmsprop": train.RMSProp, "adagrad": train.Adagrad}
    return kinds[options.optimizer](options.lr)


def weights(index: np.ndarray) -> np.ndarray:
    """How often each training string is shown: as 1 / sqrt of how many there are with its number of ones.

    Of 10,000 natural strings some 1,800 have ten ones and a dozen have three; shown alike, the dozen is hardly learnt.
    """
    counts = ones(index)
    return np.bincount(counts, minlength=CLASSES)[counts] ** -0.5


def job(options: Options) -> tuple[finished.Job[train.Batches], np.ndarray]:
    """What is trained, and the strings that are learnt from (n,).

    One generator, seeded by `options.seed`, draws data, weights, the order of the batches and dropout.
    """
    rng = np.random.default_rng(options.seed)
    index = examples(rng, options.examples, options.balanced)
    net = model(options, rng)
    batches = train.Batches(bits(index), ones(index), batch_size=options.batch, seed=rng, weights=weights(index))
    schedule = train.Cosine(options.lr, options.epochs * len(batches))
    return finished.Job(
        finished.about("count", options, index),
        net,
        softmax_cross_entropy,
        batches,
        optimizer(options),
        {"epochs": options.epochs, "schedule": schedule, "clip": 1.0, "rng": rng},
    ), index


def run(options: Options, progress: bool | None = None, tell: Tell = warn, keep: finished.Keep | None = None) -> Result:
    """Trains and tests. tell: gets what the watchers see. keep: where the run is saved, and whether it goes on."""
    training, index = job(options)
    net = training.model
    engine = tree.engine(net.forward(training.batches.x[:, :1])[2])
    next(_logits_of_all(net))  # kernels, if any, are compiled before the clock runs
    history = training.fit(train.watchers(tell), keep, progress)
    began = time.perf_counter()
    wrong, tested = errors(net, index)
    learnt = np.bincount(ones(index), minlength=CLASSES)
    return Result(net, history, wrong, tested, learnt, engine, history["seconds"], time.perf_counter() - began)


def errors(net: layers.Layer, learnt: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(21,) wrong and (21,) tested strings by their number of ones, over all strings that are not in `learnt`."""
    wrong, tested = np.zeros(CLASSES, np.int64), np.zeros(CLASSES, np.int64)
    is_test = np.ones(STRINGS, bool)
    is_test[learnt] = False
    for first, logits in _logits_of_all(net):
        index = np.arange(first, first + len(logits))
        index, logits = index[is_test[index]], logits[is_test[index]]
        counts = ones(index)
        tested += np.bincount(counts, minlength=CLASSES)
        wrong += np.bincount(counts[logits.argmax(axis=1) != counts], minlength=CLASSES)
    return wrong, tested


def _logits_of_all(net: layers.Layer) -> Iterator[tuple[int, np.ndarray]]:
    """(first string, logits (N, 21)) over all 2^20 strings in order, in chunks.

    Strings that begin alike share their way: the state after a prefix is computed once, and each further bit doubles
    the rows. That is 2^21 steps in all, where string by string takes 20 * 2^20.
    """
    half = BITS // 2
    _, state = _grow(net, None, 1, half)
    for first in range(0, 2**half, CHUNK):
        prefixes = slice(first, first + CHUNK)
        logits, _ = _grow(net, tree_map(lambda s, prefixes=prefixes: s[prefixes], state), CHUNK, BITS - half)
        yield first * 2 ** (BITS - half), logits


def _grow(net: layers.Layer, state: State | None, rows: int, steps: int) -> tuple[np.ndarray, State | None]:
    """From the states of `rows` prefixes to the outputs and states of all their continuations by `steps` bits."""
    for _ in range(steps):
        state = tree_map(lambda s: np.repeat(s, 2, axis=0), state)  # each prefix goes on with a 0 and with a 1
        x = np.tile(np.array([[0], [1]], np.float32), (rows, 1))  # (2 rows, 1)
        y, state = net.step(x, state)
        rows *= 2
    return y, state


def metrics(result: Result, options: Options) -> Plain:
    """Plain data: what `--json` prints and metrics.json holds."""
    return {
        **finished.outcome("count", options, result.history, result.engine),
        "test_error": result.test_error,
        "wrong": int(result.wrong.sum()),
        "total": int(result.tested.sum()),
        "test_seconds": result.test_seconds,
        "wrong_by_ones": result.wrong.tolist(),
        "tested_by_ones": result.tested.tolist(),
        "learnt_by_ones": result.learnt.tolist(),
    }


def save(folder: Path, result: Result, options: Options) -> None:
    """Writes the files of a run (recipes/job.py) into the folder."""
    finished.save(folder, result.model, metrics(result, options), result.history)


def draw(path: Path, result: Result) -> None:
    """The loss over the epochs, and the errors over the number of ones. Raises ImportError without matplotlib."""
    figure, (loss, accuracy, learnt) = panels(2.8, 2.4, 1.8)
    finished.draw_losses(loss, result.history, "cross-entropy (nats)")
    counts = np.arange(CLASSES)
    accuracy.bar(counts, 100 * (1 - result.wrong / np.maximum(result.tested, 1)))
    accuracy.set(xlabel="ones in the string", ylabel="right (%)", title=f"test error {100 * result.test_error:.3f} %")
    learnt.bar(counts, result.learnt, color=PLAIN)
    learnt.set(xlabel="ones in the string", ylabel="learnt from", yscale="symlog")
    finished.write_picture(path, figure)


def load(folder: Path, engine: str | None = None) -> layers.Layer:
    """The model of a folder that `save` wrote. Raises OSError and ValueError for what is none."""
    net = train.load(folder / finished.FILES[0], engine)
    recipe = finished.options_of(folder)["recipe"]
    if recipe != "count":
        raise ValueError(f"{folder} holds a run of `train {recipe}`")
    return net


def predict(net: layers.Layer, strings: list[str]) -> Iterator[tuple[str, np.ndarray]]:
    """(string, probabilities (21,)) for strings of 0 and 1. Raises ValueError for other letters and other lengths."""
    for string in strings:
        if set(string) - {"0", "1"} or not string:
            raise ValueError(f"a string should hold only 0 and 1; got {string!r}")
        if len(string) != BITS:
            raise ValueError(f"a string should have {BITS} bits, as in training; got {len(string)}: {string!r}")
    for string in strings:
        x = np.array([[[float(bit)]] for bit in string], np.float32)  # (20, 1, 1)
        y, _ = net.predict(x)
        yield string, softmax(y)[0]
