"""What every recipe does with a run: keeps it while it goes on, and writes its files and pictures when it is done.

A recipe becomes one that can go on after a kill in two lines. It builds a `Job`, with what it would give to `fit`, and
calls `job.fit(callbacks, keep)`, where `keep` is what the command line has made of --out, --resume and --overwrite:

    job = finished.Job(about, net, loss, batches, opt, {"epochs": 5, "schedule": ..., "rng": rng})
    history = job.fit(train.watchers(tell), keep, progress)

`about` says all that decides the outcome: finished.about("name", options, data, ...). Its command is a function in
cli/train/, which hands job and run to `Common.train` of cli/train/common.py: there stand the options of all trainings.
"""

import hashlib
import io
import json
import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np

from lstmcore import layers, train
from lstmcore.arrays import Plain, library_name, to_library, to_numpy
from lstmcore.debug.show.picture import COLOURS, PLAIN, legend, panels
from lstmcore.train.callbacks import epoch_files as records
from lstmcore.train.callbacks.watchers import Tell, warn
from lstmcore.train.data import batch
from lstmcore.train.files.atomic import write_atomically
from lstmcore.train.files.decoded import parsed
from lstmcore.train.find_lr import RangeTest, find_lr
from lstmcore.train.metrics import TAKEN, Loss
from lstmcore.train.update.optimizer import Optimizer

if TYPE_CHECKING:
    from _typeshed import DataclassInstance
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Data = TypeVar("Data", bound=batch.Data)

FILES = ("model.safetensors", "metrics.json", "history.json")
CHECKPOINTS, TRIALS = "checkpoints", "trials"


@dataclass(frozen=True)
class Keep:
    """Where a run is kept while it goes on, and what to do with one that is there already."""

    folder: Path
    resume: bool = False  # go on with it
    overwrite: bool = False  # delete it
    tell: Tell = warn
    go_on: str = ""  # what to say about it when the run is interrupted
    every_seconds: float = 60.0  # between two checkpoints
    begin_from: Path | None = None  # the folder of a finished run, whose weights are the first ones
    ranks: train.Ranks | None = None  # that train together; the first of them writes

    def part(self, name: str) -> "Keep":
        """The place of one training of several."""
        return replace(self, folder=self.folder / TRIALS / name.replace(" ", "-"))

    @property
    def holds_a_run(self) -> bool:
        """True if there is something to lose: a run that was begun, or one that is finished."""
        parts = (CHECKPOINTS, TRIALS, *FILES, *records.FILES)
        return any((self.folder / name).exists() for name in parts)

    @property
    def holds_only_results(self) -> bool:
        """True if there is a model and no checkpoint: to go on would be to begin anew, over that model."""
        places = (f"{CHECKPOINTS}/step-*", f"{CHECKPOINTS}/best.*", f"{TRIALS}/*/{CHECKPOINTS}/step-*")
        return (self.folder / FILES[0]).exists() and not any(any(self.folder.glob(place)) for place in places)

    @property
    def about(self) -> Plain:
        """What of it decides the outcome."""
        return {} if self.begin_from is None else {"begins from": _digest_of(self.begin_from)}

    def begin(self) -> "Keep":
        """Deletes, where that is wanted, what `Checkpoints` and `Records` have written here; to be done only once.

        The model and the metrics of a finished run stay until the new ones replace them.
        """
        with self.ranks.together() if self.ranks is not None else nullcontext():  # the others wait
            if self.overwrite and (self.ranks is None or self.ranks.first):
                for folder in (self.folder, *(self.folder / TRIALS).glob("*")):
                    for pattern in (f"{CHECKPOINTS}/step-*", f"{CHECKPOINTS}/best.*", *records.FILES):
                        for path in folder.glob(pattern):
                            path.unlink(missing_ok=True)
        return replace(self, overwrite=False)


class History(train.History):
    """And whether it ended in numbers that are not finite."""

    diverged: bool


class _End(train.Callback):
    """Was everything finite when the run ended?"""

    def on_end(self, run: train.Run) -> None:
        broken = [name for name, w in run.model.params.items() if not np.isfinite(to_numpy(w)).all()]
        self.words = f"{', '.join(broken)} hold NaN or infinity after the last update" if broken else ""
        self.stopped = not (math.isfinite(run.loss) and math.isfinite(run.norm or 0.0))

    def judged(self, history: train.History) -> History:
        if self.words and not self.stopped:
            history["ended"] += f", but {self.words}"
        return {**history, "diverged": bool(self.stopped or self.words)}


@dataclass(frozen=True)
class Job(Generic[Data]):
    """One training: what `fit` is given, and what it is about."""

    about: Plain  # a run goes on only where it is the same
    model: layers.Layer
    loss: Loss
    batches: Data
    opt: Optimizer
    options: Plain  # the other arguments of `fit`: epochs, schedule, ...

    def fit(
        self, callbacks: Sequence[train.Callback], keep: Keep | None = None, progress: bool | None = None
    ) -> History:
        """`train.fit`; with `keep`, saved while it goes on, and from where it was left."""
        end = _End()
        callbacks = [end, *callbacks]  # the first is the last to hear of the end
        given = (self.model, self.loss, self.batches, self.opt)
        if keep is None:
            return end.judged(train.fit(*given, **self.options, callbacks=callbacks, progress=progress))
        keep = keep.begin()
        if keep.ranks is not None:
            keep.ranks.settle(self.batches)
            keep.tell(str(keep.ranks))
        saved = train.Checkpoints(
            keep.folder / CHECKPOINTS,
            every_seconds=keep.every_seconds,
            about=self.about | keep.about,
            tell=keep.tell,
            go_on=keep.go_on,
        )
        state = saved.last() if keep.resume else None
        if keep.begin_from is not None and state is None:
            take_over(self.model, keep.begin_from)
        if state is not None:
            step, epoch = state["counts"]["step"], state["counts"]["epoch"]
            keep.tell(f"{keep.folder}: goes on after {step:,} updates, {epoch} of {self.options['epochs']} epochs")
        kept = [*callbacks, records.Records(keep.folder, keep.tell), saved]
        return end.judged(
            train.fit(*given, **self.options, callbacks=kept, progress=progress, resume=state, ranks=keep.ranks)
        )

    def find_lr(self, progress: bool | None = None) -> RangeTest:
        """The range test of its learning rate; everything stays as it is."""
        wanted = {name: self.options[name] for name in ("clip", "rng", "carry_state") if name in self.options}
        return find_lr(self.model, self.loss, self.batches, self.opt, **wanted, progress=progress)


def about(recipe: str, options: "DataclassInstance", *data: str | np.ndarray) -> Plain:
    """What decides the outcome of a training: its recipe, its options (a dataclass), and a checksum of its data, arrays
    and texts: the first digits of their SHA-256."""
    digest = hashlib.sha256()
    for part in data:
        digest.update(part.encode() if isinstance(part, str) else np.ascontiguousarray(part).tobytes())
    return {"recipe": recipe, "options": asdict(options), "data": digest.hexdigest()[:16]}


def take_over(model: layers.Layer, folder: Path) -> None:
    """Puts the weights of a finished run into a model of the same kind. Raises OSError and ValueError where that cannot
    be; then nothing has changed."""
    there = train.load(folder / FILES[0])
    if there.config() != model.config():
        raise ValueError(f"{folder} holds {there}, these options make {model}: leave out the options that differ")
    for name, w in there.params.items():
        model.params[name] = to_library(to_numpy(w), library_name(model.params[name]))


def options_of(folder: Path) -> Plain:
    """The options of a finished run. Raises OSError and ValueError for what is none."""
    try:
        told = parsed(folder / FILES[1])
        return {"recipe": told["recipe"], **told["options"]}
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{folder / FILES[1]} does not hold the options of a run") from error


def _digest_of(folder: Path) -> str:
    return hashlib.sha256((folder / FILES[0]).read_bytes()).hexdigest()[:16]


def outcome(recipe: str, options: "DataclassInstance", history: History, engine: str) -> Plain:
    """What the metrics of every recipe hold."""
    counts = {"train_seconds": history["seconds"], "updates": history["step"]}
    ended = {"ended": history["ended"], "diverged": history["diverged"]}
    told = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(options).items()}
    return {"recipe": recipe, **counts, "engine": engine, "seed": told["seed"], **ended, "options": told}


def save(
    folder: Path, model: layers.Layer, metrics: Plain, history: train.History | Mapping[str, train.History]
) -> None:
    """Writes FILES into the folder. history: of each training, where there are several. Raises OSError where that
    cannot be."""
    train.save(folder / FILES[0], model)
    write_atomically(folder / FILES[1], (json.dumps(plain(metrics), indent=2) + "\n").encode())
    write_atomically(folder / FILES[2], (json.dumps(plain(history)) + "\n").encode())


def plain(tree: object) -> object:
    """The tree with None in place of every number that is not finite: JSON has none."""
    if isinstance(tree, dict):
        return {name: plain(part) for name, part in tree.items()}
    if isinstance(tree, list | tuple):
        return [plain(part) for part in tree]
    return None if isinstance(tree, float) and not math.isfinite(tree) else tree


def write_picture(path: Path, figure: "Figure") -> None:
    """The figure as a PNG file, whole or not at all. Raises OSError where that cannot be."""
    picture = io.BytesIO()
    figure.savefig(picture, dpi=120, format="png")
    write_atomically(path, picture.getvalue())


def draw_losses(axis: "Axes", history: train.History, unit: str, floors: Mapping[str, float] | None = None) -> None:
    """The loss over the epochs, that of the training and, if there is one, of the validation; each metric, dashed, on a
    scale of its own at the right; and floors, what guessing by a simple rule has: a dotted line each, by name."""
    rows = history["epochs"]
    epochs = [row["epoch"] for row in rows]
    for name in ("loss", "validation"):
        if rows and name in rows[0]:
            axis.semilogy(epochs, [row[name] for row in rows], ".-", ms=3, label="training" if name == "loss" else name)
    for k, name in enumerate(name for name in (rows[0] if rows else ()) if name not in TAKEN):
        right, color = axis.twinx(), COLOURS[(2 + k) % len(COLOURS)]
        right.spines["top"].set_visible(False)
        right.plot(epochs, [row[name] for row in rows], "--", color=color)
        right.set_ylabel(name, color=color)
        right.spines["right"].set_position(("outward", 45 * k))
    for k, (name, floor) in enumerate(sorted((floors or {}).items(), key=lambda each: -each[1])):
        axis.axhline(floor, color=PLAIN, ls=":")
        place, side = ((0.99, "right"), (0.01, "left"))[k % 2]  # in turn: two that are close do not meet
        look = {"fontsize": "small", "bbox": {"fc": "white", "ec": "none", "pad": 1, "alpha": 0.8}}
        axis.text(place, floor, name, look, transform=axis.get_yaxis_transform(), ha=side, va="bottom")
    axis.set(xlabel="epoch", ylabel=unit)
    legend(axis)


def draw_range_test(path: Path, found: RangeTest) -> None:
    """The loss over the learning rate. Raises ImportError without matplotlib."""
    picture, (axis,) = panels(3.4)
    axis.loglog(found.lrs, found.losses, color=PLAIN, lw=0.5, label="loss of each batch")
    axis.loglog(found.lrs, found.smoothed, color=COLOURS[0], label="smoothed")
    axis.axvline(found.fastest, color=COLOURS[1], ls=":", label=f"falls fastest: {found.fastest:.1g}")
    axis.set(xlabel="learning rate", ylabel="loss")
    legend(axis, columns=3)
    write_picture(path, picture)
