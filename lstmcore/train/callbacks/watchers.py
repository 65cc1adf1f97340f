"""Callbacks that watch a run and say in words what goes wrong, each of them once: `fit(callbacks=watchers())`.

They only look; nothing is changed and no run is ended by them.
"""

import math
import warnings
from collections.abc import Callable, Iterator

import numpy as np

from lstmcore.arrays import Array, Plain, dtype_name, namespace, to_numpy
from lstmcore.layers import Recurrent, tree
from lstmcore.ops.cells import Cell
from lstmcore.ops.losses import softmax
from lstmcore.ops.recurrence.cache import Cache
from lstmcore.ops.recurrence.recomputed import in_full
from lstmcore.shapes import SWAPPED
from lstmcore.train.callbacks.callback import Callback
from lstmcore.train.run import Run
from lstmcore.train.update.clip import global_norm

Tell = Callable[[str], None]

SETTLED = 300  # updates; a verdict on a run needs at least this many
FLAT = 0.001  # outputs whose variance is less than this part of the targets' do not vary
EDGE = 0.05  # a gate value so near to its ends is saturated: its slope is a fifth of the steepest, or less
LARGE = 3.0  # an input of that size alone can saturate a gate
EXPLODED = 100.0  # times the largest norm of the first steps
FIRST_STEPS = 20


class TrainingWarning(UserWarning):
    """What a watcher has seen."""


def warn(message: str) -> None:
    """The default way of telling: Python's warnings."""
    warnings.warn(message, TrainingWarning, stacklevel=4)


def watchers(tell: Tell = warn) -> "list[MeanCollapse | NotFinite | ExplodingNorm | NothingLearnt]":
    """One of each kind, for one run of `fit`. tell: what is called with the sentence."""
    return [MeanCollapse(tell), NotFinite(tell), ExplodingNorm(tell), NothingLearnt(tell)]


class Watcher:
    """Says one thing once. `said` is the sentence; None while there has been no reason."""

    remembers: tuple[str, ...] = ("said",)  # the attributes that outlive a pause: plain data

    def __init__(self, tell: Tell = warn):
        self.tell = tell
        self.said: str | None = None

    @property
    def state(self) -> Plain:
        return {name: getattr(self, name) for name in self.remembers}

    @state.setter
    def state(self, state: Plain) -> None:
        for name in self.remembers:
            if not isinstance(state[name], str | None if name == "said" else type(getattr(self, name))):
                raise TypeError(f"{type(self).__name__} remembers {name}; {state[name]!r:.80} is none")
        for name in self.remembers:
            setattr(self, name, state[name])

    def say(self, message: str) -> None:
        if self.said is None:
            self.said = message
            self.tell(message)


class MeanCollapse(Watcher, Callback):
    """The network gives the same answer to everything, for at least `epochs` epochs and 300 updates.

    Looks at the last batch of each epoch: the variance of its outputs (of the probabilities, where the targets are
    classes), over that of its targets, is below 0.1 %.
    """

    remembers: tuple[str, ...] = ("said", "since")

    def __init__(self, tell: Tell = warn, epochs: int = 3):
        super().__init__(tell)
        self.epochs = epochs
        self.since: list[int] = [0, 0]  # epoch and step at which outputs were last seen to vary, or the run began

    def on_epoch(self, run: Run) -> None:
        answers = _answers(run)
        if answers is None:
            return
        y, targets = answers
        xp = namespace(y)
        spread, wanted = (float(xp.mean(xp.var(value, axis=0))) for value in (y, targets))
        if spread >= FLAT * wanted:
            self.since = [run.epoch, run.step]
        elif run.epoch - self.since[0] >= self.epochs and run.step - self.since[1] >= SETTLED:
            off = float(xp.max(xp.abs(xp.mean(y, axis=0) - xp.mean(targets, axis=0))))
            meaning = (
                "the network predicts the mean of the targets"
                if off**2 <= 0.05 * wanted
                else "the network gives one answer to everything"
            )
            self.say(
                f"the outputs do not vary: {meaning} (epoch {run.epoch}: standard deviation {math.sqrt(spread):.2g}, "
                f"of the targets {math.sqrt(wanted):.2g}); {_why_flat(run)}"
            )


class NotFinite(Watcher, Callback):
    """The run ended at a loss or a norm that is NaN or infinite: what was it that was not finite first?"""

    def on_end(self, run: Run) -> None:
        if (math.isfinite(run.loss) and math.isfinite(run.norm or 0.0)) or run.batch is None:
            return
        broken = [name for name, w in run.model.params.items() if not _finite(w)]
        mask = run.batch.mask
        if not _finite(run.batch.x, mask):
            cause = "the inputs of this batch hold NaN or infinity: clean the data, or mask these steps"
        elif not _finite(run.batch.targets, mask):
            cause = "the targets of this batch hold NaN or infinity: a mark for what does not count? give the mask"
        elif broken:
            cause = (
                f"the parameters {', '.join(broken)} are not finite: the update before was too large "
                f"(learning rate {run.opt.lr:.3g}): lower it, or clip the gradient (clip=1.0)"
            )
        else:
            cause = (
                "data and parameters are finite, so the numbers outgrew their dtype on the way: lower the learning "
                f"rate ({run.opt.lr:.3g}), or look for a logarithm or a division in the loss"
            )
        self.say(f"{run.ended}; {cause}")


class ExplodingNorm(Watcher, Callback):
    """The norm of the gradients is a hundred times larger than any of the first 20.

    Once is enough if the gradients are not clipped, for one such update undoes many. Clipped ones may leap now and then
    in a healthy run: they must be that large in 20 steps in a row.
    """

    remembers: tuple[str, ...] = ("said", "first", "large")

    def __init__(self, tell: Tell = warn):
        super().__init__(tell)
        self.first: list[float] = []  # norms
        self.large: int = 0  # steps in a row

    def on_gradients(self, run: Run) -> None:
        if self.said is not None:
            return
        norm = run.norm if run.norm is not None else global_norm(run.grads)
        if len(self.first) < FIRST_STEPS:
            self.first = [*self.first, norm]
            return
        self.large = self.large + 1 if norm > EXPLODED * max(self.first) > 0 else 0
        if self.large >= (1 if run.norm is None else FIRST_STEPS):
            remedy = (
                "clipping shortens it, but its direction is that of a few steps: lower the learning rate"
                if run.norm is not None
                else "clip it (clip=1.0), or lower the learning rate"
            )
            self.say(
                f"the gradient explodes: its norm is {norm:.3g} in step {run.step + 1}, and was at most "
                f"{max(self.first):.3g} in the first {FIRST_STEPS}; {remedy} ({run.opt.lr:.3g})"
            )


class NothingLearnt(Watcher, Callback):
    """After `epochs` epochs and 300 updates the loss is not below that of the best constant answer.

    For mean losses: softmax_cross_entropy, whose best constant answer are the frequencies of the classes (the loss is
    their entropy), and squared_error, whose is the mean of each column (the loss is the variance). For another loss
    give that of its best constant answer as `constant`.
    """

    remembers: tuple[str, ...] = ("said", "items", "sums")

    def __init__(self, tell: Tell = warn, epochs: int = 10, constant: float | None = None):
        super().__init__(tell)
        self.epochs: int = epochs
        self.constant: float | None = constant
        self.items: int = 0  # valid ones, seen in the first epoch
        self.sums: Array = np.zeros((2, 1))  # (2, columns): of their targets, and of the squares of these

    def on_batch(self, run: Run) -> None:
        answers = _answers(run) if run.epoch == 0 else None
        if answers is not None:
            targets = to_numpy(answers[1]).astype(np.float64)
            self.items += len(targets)
            self.sums = self.sums + [targets.sum(axis=0), (targets**2).sum(axis=0)]

    def on_epoch(self, run: Run) -> None:
        loss = min(row["loss"] for row in run.history)
        if self.said is None and run.epoch >= self.epochs and run.step >= SETTLED:
            constant = self._constant(run) if self.constant is None else self.constant
            if constant is not None and loss > 0.99 * constant > 0:
                T, B = run.batch.x.shape[:2] if run.batch is not None and run.batch.x.ndim > 1 else (0, 0)
                swapped = f"; the batches have but one step: {SWAPPED}" if T == 1 < B else ""
                self.say(
                    f"nothing is learnt: the loss is {run.history[-1]['loss']:.4g} after {run.epoch} epochs, and giving"
                    f" the same answer to everything has {constant:.4g}; is the learning rate ({run.opt.lr:.3g}) far "
                    f"too high or too low, are inputs and targets in the same order, are the inputs near 1 in "
                    f"size?{swapped}"
                )

    def _constant(self, run: Run) -> float | None:
        """The loss of the best constant answer to the targets of the first epoch; None if that was not seen."""
        if self.items == 0 or run.batch is None:
            return None
        p, square = self.sums / self.items
        if _is_classes(run.batch.targets):
            return float(-np.sum(p * np.log(np.where(p > 0, p, 1))))
        return float(np.mean(square - p**2))


def _answers(run: Run) -> tuple[Array, Array] | None:
    """Outputs and targets of the valid items of the batch, both (n, columns); classes as probabilities and one-hot.

    None where the two have not the same shape: then it is the loss that knows what belongs to what.
    """
    if run.batch is None or run.y is None:
        return None
    y, targets, mask = run.y, run.batch.targets, run.batch.mask
    if tuple(targets.shape) != tuple(y.shape[:-1] if _is_classes(targets) else y.shape):
        return None
    xp = namespace(y)
    if _is_classes(targets):
        y = softmax(y)
        targets = xp.astype(targets[..., None] == xp.arange(y.shape[-1]), y.dtype)
    if mask is not None and y.ndim > 2:
        y, targets = y[mask], targets[mask]
    return xp.reshape(y, (-1, y.shape[-1])), xp.reshape(targets, (-1, targets.shape[-1]))


def _is_classes(targets: Array) -> bool:
    return dtype_name(targets.dtype).startswith(("int", "uint"))


def _finite(value: Array, mask: Array | None = None) -> bool:
    """True if everything that counts is finite. Integers are."""
    if not dtype_name(value.dtype).startswith("float"):
        return True
    if mask is not None and tuple(value.shape[:2]) == tuple(mask.shape):
        value = value[mask]
    return bool(namespace(value).all(namespace(value).isfinite(value)))


def _why_flat(run: Run) -> str:
    """The likely cause of outputs that do not vary."""
    for cache, cell in _recurrent(run.cache):
        share, largest = _saturation(cache, cell), float(namespace(cache.x).max(namespace(cache.x).abs(cache.x)))
        if share > 0.5:
            ends = f"{100 * share:.0f} % of their values stand at an end"
            if largest > LARGE:
                return (
                    f"the inputs saturate most gates ({ends}; the inputs reach {largest:.3g}): "
                    "scale the inputs to about 1"
                )
            return (
                f"large updates have saturated most gates ({ends}): scale the targets to about 1, or lower the "
                f"learning rate ({run.opt.lr:.3g})"
            )
    return f"is the learning rate ({run.opt.lr:.3g}) right, and do the inputs tell anything of the targets?"


def _recurrent(cache: object) -> Iterator[tuple[Cache, Cell]]:
    """The caches of all recurrent layers in the cache of a model, each with the cell of its layer."""
    for part in tree.caches(cache):
        if isinstance(part, Cache) and isinstance(part.owner, Recurrent):
            yield in_full(part.owner.cell, part.owner.params, part), part.owner.cell


def _saturation(cache: Cache, cell: Cell) -> float:
    """The fraction of gate values at real steps that stand at an end, of the gates that have ends."""
    xp = namespace(cache.gates)
    saturated = []
    for gate, (low, high) in cell.ends.items():
        k, edge = cell.gates.index(gate), EDGE * (high - low)
        values = cache.gates[:, :, k, :] if cache.mask is None else cache.gates[:, :, k, :][cache.mask]
        saturated.append((values < low + edge) | (values > high - edge))
    return sum(float(xp.mean(xp.astype(s, cache.gates.dtype))) for s in saturated) / max(1, len(saturated))
