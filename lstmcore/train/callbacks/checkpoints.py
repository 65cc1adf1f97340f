"""A folder of checkpoints: the last ones of a run and the best, so that nothing is lost when it breaks off."""

import contextlib
import json
import math
import operator
import os
import time
from pathlib import Path

from lstmcore.arrays import Plain
from lstmcore.hints import hinted
from lstmcore.shapes import check_size
from lstmcore.train.callbacks.callback import Callback
from lstmcore.train.callbacks.watchers import Tell, warn
from lstmcore.train.files import checkpoint
from lstmcore.train.files.atomic import remove_left_overs
from lstmcore.train.files.contents import check_model
from lstmcore.train.files.sealed import Damaged
from lstmcore.train.run import Run

BEST = "best.safetensors"


class Checkpoints(Callback):
    """A callback of `fit` that saves the run, in full, into a folder; the last one of the callbacks.

        keep = Checkpoints("runs/book/checkpoints", every_seconds=60)
        fit(..., callbacks=[..., keep], resume=keep.last())

    That begins a training, and, called again with the same arguments after whatever has broken it off, goes on with it:
    the weights become bit for bit those of a run that nothing has disturbed.

    It saves before the first update, so that a folder that cannot be written is found before hours have gone by; then
    whenever `every_seconds` have passed, or after that many steps or epochs; and at the end, also on Ctrl-C. The last
    `keep` are kept, as step-0000001234.safetensors, and, if there is a validation set, the one after the best epoch as
    best.safetensors (lc.load gives its model). A file is written whole or not at all: beside its place, brought to the
    disk, renamed.

    At the start it raises OSError where the first file cannot be written, and TypeError, as `lc.save`, for a model that
    `load` could not build again. When saving fails later (a full disk), that is told and the training goes on, to be
    saved the next time: an exception would cost the trained model too. What was saved before is never touched by it. A
    run whose numbers are not finite any more is not saved.

    about: plain data that says what is trained (options, a checksum of the data). It is kept in every file, and `last`
    compares it. tell: is called with what there is to say, also where a run goes on with sums in another order (on
    ranks). go_on: how to go on, said when the run was interrupted.
    """

    writes = True
    folder: Path
    keep: int
    every_seconds: float | None
    every_steps: int | None
    every_epochs: int | None
    about: object
    tell: Tell
    go_on: str
    best: float
    best_epoch: int
    order: str | None

    @hinted
    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        every_seconds: float | None = 60.0,
        every_steps: int | None = None,
        every_epochs: int | None = None,
        keep: int = 3,
        about: object = None,
        tell: Tell = warn,
        go_on: str = "",
    ):
        for name, value in (("every_steps", every_steps), ("every_epochs", every_epochs), ("keep", keep)):
            if value is not None:
                check_size(name, value, "a positive number")
        if every_seconds is not None and not every_seconds >= 0:
            raise ValueError(f"`every_seconds` should be a number of seconds, or None; got {every_seconds!r}")
        self.folder, self.keep = Path(folder), keep
        self.every_seconds, self.every_steps, self.every_epochs = every_seconds, every_steps, every_epochs
        self.about, self.tell, self.go_on = json.loads(json.dumps(about)), tell, go_on
        self.best, self.best_epoch = math.inf, 0  # the best validation loss, and after which epoch
        self.order: str | None = None  # in which the sums of the run have been added; None: an older file does not say
        self._saved: tuple[int, int] | None = None  # epoch and step of the last file
        self._when = 0.0  # it was saved

    @property
    def state(self) -> Plain:
        return {"best": self.best, "epoch": self.best_epoch, "order": self.order}

    @state.setter
    def state(self, state: Plain) -> None:
        self.best, self.best_epoch = float(state["best"]), operator.index(state["epoch"])
        self.order = state.get("order")

    # ---- going on ----------------------------------------------------------------------------------------------------

    def last(self) -> Plain | None:
        """The state in the last good checkpoint: what `fit(resume=...)` takes. None where there is no checkpoint.

        A damaged one is told, set aside as *.damaged and skipped; if none of the last ones is good, it is the best one.
        Raises ValueError if all are damaged, if `about` differs (it says where), and for files of a later version;
        OSError for what cannot be read.
        """
        for path in [*self._files(), *self.folder.glob(BEST)]:
            try:
                state, about = checkpoint.read(path)
            except Damaged as error:
                self.tell(f"{error}; it is left out (and called *.damaged)")
                with contextlib.suppress(OSError):
                    path.replace(path.with_suffix(".damaged"))
                continue
            except FileNotFoundError:  # deleted since the folder was read
                continue
            differences = _differences(about, self.about)
            if differences:
                raise ValueError(f"{path} is of another training: {'; '.join(differences)}")
            return state
        damaged = sorted(path.name for path in self.folder.glob("*.damaged"))
        if damaged:
            names = ", ".join(damaged)
            raise ValueError(f"{self.folder} holds no good checkpoint, only {names}: delete them to begin anew")
        return None

    def _files(self) -> list[Path]:
        """The checkpoints, the newest first."""
        return sorted(self.folder.glob("step-*.safetensors"), reverse=True)

    # ---- saving ------------------------------------------------------------------------------------------------------

    def on_start(self, run: Run) -> None:
        if not run.callbacks or run.callbacks[-1] is not self:
            raise ValueError("Checkpoints should be the last of the callbacks: it saves what the others remember")
        check_model(run.model)
        newest = self._files()[:1]
        if newest and newest[0].name > _name(run.step):
            raise FileExistsError(
                f"{self.folder} holds a run that has come further ({newest[0].name}): go on with it "
                "(resume=checkpoints.last()), or take another folder"
            )
        if self.order not in (None, run.order):
            self.tell(
                f"{self.folder}: the gradient of a batch was summed {self.order} until now, and is summed {run.order} "
                "from here on (another number of ranks, or another `exact`): equal to rounding, not to the bit"
            )
        self.order = run.order
        self.folder.mkdir(parents=True, exist_ok=True)
        remove_left_overs(self.folder)
        self._save(run)

    def on_batch(self, run: Run) -> None:
        seconds = self.every_seconds is not None and time.monotonic() - self._when >= self.every_seconds
        if seconds or (self.every_steps is not None and run.step % self.every_steps == 0):
            self._try(run)

    def on_epoch(self, run: Run) -> None:
        loss = run.history[-1].get("validation", math.nan)
        if loss < self.best:
            before = self.state
            self.best, self.best_epoch = loss, run.epoch
            if not self._try(run, BEST):
                self.state = before  # another one that is better than what is there will do
        if self.every_epochs is not None and run.epoch % self.every_epochs == 0:
            self._try(run)

    def on_end(self, run: Run) -> None:
        if not run.whole:  # an error in the midst of an update: what was saved last is what there is
            return
        if self._saved != (run.epoch, run.step):
            try:
                self._save(run)
            except (OSError, ValueError, TypeError) as error:
                newest = next((path.name for path in self._files()), "none")
                self.tell(f"{error}; the last checkpoint that there is: {newest}")
                return
        if run.ended == "interrupted":
            self.tell("; ".join(filter(None, (f"saved: {self.folder / _name(run.step)}", self.go_on))))

    def _try(self, run: Run, name: str | None = None) -> bool:
        """True if it was saved; else why not is told."""
        try:
            self._save(run, name)
        except (OSError, ValueError, TypeError) as error:
            self._when = time.monotonic()
            self.tell(f"{error}; the training goes on")
            return False
        return True

    def _save(self, run: Run, name: str | None = None) -> None:
        """Writes one file, and removes those that are too old."""
        checkpoint.write(self.folder / (name or _name(run.step)), run.state, self.about)
        if name is None:
            self._saved, self._when = (run.epoch, run.step), time.monotonic()
            for old in self._files()[self.keep :]:
                with contextlib.suppress(PermissionError):  # Windows: somebody reads it; it goes the next time
                    old.unlink(missing_ok=True)


def _name(step: int) -> str:
    return f"step-{step:010}.safetensors"


def _differences(saved: object, now: object, name: str = "") -> list[str]:
    """What differs between two trees of plain data, in words."""
    if isinstance(saved, dict) and isinstance(now, dict):
        return [
            words
            for key in [*now, *(key for key in saved if key not in now)]
            for words in _differences(saved.get(key), now.get(key), f"{name}.{key}" if name else key)
        ]
    return [] if saved == now else [f"{name or 'it'} was {saved!r}, and is {now!r} now"]
