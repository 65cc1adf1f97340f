"""What came of the trials of a space, in Optuna's study of them; each space has its own.

Without a storage it lies in SQLite, `sweep.db` in the folder of the sweep, which one process at a time may use. A
storage is shared by any number of machines: a database, by its URL, or a journal, a file on a disk that all of them
see. It survives a kill at any moment, and `optuna-dashboard` shows it. Trials that are finished are never run again, in
whichever study they are: so values and seeds can be added later, or the metric changed.

How machines share. A trial is enqueued once for each point, and taken by whoever asks first. Two machines that find a
point missing at once enqueue it twice; then the trial with the lower number counts, and the other is dropped by whoever
takes it. While a trial runs, its machine changes its attribute "beat"; a machine that sees no change for `patience`
seconds, by its own clock, takes the trial's machine for dead: the trial has failed, and its point is enqueued again.
"""

import contextlib
import platform
import sqlite3
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lstmcore.arrays import Plain
from lstmcore.recipes.sweep.jobs import outcome
from lstmcore.recipes.sweep.process import Process
from lstmcore.recipes.sweep.space import Point, Space, digest, told

if TYPE_CHECKING:
    import optuna

MEMORY, TRIALS = "sweep.db", "trials"
TRIES = 10  # of making the tables: machines that begin at once get in each other's way


@dataclass(frozen=True)
class Trial:
    """What came of one point of the space."""

    point: Point
    state: str  # "finished"; "failed", to be done again when the sweep is; "open", not done so far
    value: float | None = None  # the metric; infinite where the training diverged
    seconds: float | None = None
    ended: str = ""  # how the training ended, or what went wrong
    folder: str = ""  # its files, below the folder of the sweep
    machine: str = ""  # which has taken it


class Memory:
    """The study of one space, and the trials of all others in the same storage."""

    space: Space
    trials: dict[str, Trial]  # by key: see `Space.words`

    def __init__(self, space: Space, folder: Path, storage: str = "", patience: float = 60.0):
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.optuna, self.space, self.shared, self.patience = optuna, space, bool(storage), patience
        self.trials = {digest(space.words(point)): Trial(point, "open") for point in space.points()}
        self._beats: dict[int, tuple[object, float]] = {}  # of a trial that runs: its beat, and when it was seen first
        self._alive: set[str] = set()  # keys of what waits, runs or is finished
        self._waiting = False
        self.storage = _journal(storage) if storage and "://" not in storage else _database(storage, folder)
        grid = {name: list(map(told, values)) for name, values in space.swept.items()}
        rest = space.words(next(space.points())), list(space.seeds), space.metric
        self.study = optuna.create_study(
            storage=self.storage,
            study_name=f"{space.recipe} {digest([grid, *rest])}",
            sampler=optuna.samplers.RandomSampler(),  # has nothing to choose: every trial is enqueued with its values
            direction="minimize",
            load_if_exists=True,
        )
        self.distributions = {name: self._distribution(values) for name, values in space.swept.items()}
        self.distributions["seed"] = self._distribution(space.seeds)

    def prepare(self) -> None:
        """Takes over what is finished in other studies, and enqueues the rest, what has failed before among it."""
        if not self.shared:  # nobody else is at work: it was running when the sweep was killed
            for trial in self._all():
                self._fail(trial)
        self.look()
        known: dict[str, Plain] = {}
        for name in self.optuna.get_all_study_names(self.storage):
            known |= self._finished(self.optuna.load_study(study_name=name, storage=self.storage))
        for key, about in known.items():
            if key in self.trials and self.trials[key].state != "finished":
                done = self.optuna.trial.create_trial(
                    value=about["metrics"][self.space.metric],
                    params=self._params(self.trials[key].point),
                    distributions=self.distributions,
                    user_attrs=about,
                )
                self.study.add_trial(done)
        self.look()
        self.fill(self.trials)

    def look(self) -> None:
        """Sees how all trials stand, on whichever machine; gives up those of machines that show no sign of life."""
        states = self.optuna.trial.TrialState
        order = (states.FAIL, states.WAITING, states.RUNNING, states.COMPLETE)
        now, beats = time.monotonic(), {}
        best: dict[str, optuna.trial.FrozenTrial] = {}
        for trial in self._all():
            if trial.state == states.RUNNING:
                beat = trial.user_attrs.get("beat")
                seen = self._beats.get(trial.number)
                beats[trial.number] = seen if seen is not None and seen[0] == beat else (beat, now)
                if now - beats[trial.number][1] > self.patience:
                    self._fail(trial)
                    continue  # the next look sees it
            key = trial.user_attrs.get("key", "")
            if key in self.trials and (key not in best or order.index(trial.state) >= order.index(best[key].state)):
                best[key] = trial  # of several failures the last
        self._beats = beats
        self._alive = {key for key, trial in best.items() if trial.state != states.FAIL}
        self._waiting = any(trial.state == states.WAITING for trial in best.values())
        for key, trial in best.items():
            self.trials[key] = self._trial(self.trials[key].point, trial)

    def fill(self, keys: Iterable[str] = ()) -> None:
        """Enqueues what is open and waits nowhere, and these, where they have failed."""
        again = set(keys)
        for key, trial in list(self.trials.items()):
            if key not in self._alive and (trial.state == "open" or key in again):
                self.study.enqueue_trial(self._params(trial.point), user_attrs={"key": key})
                self.trials[key] = Trial(trial.point, "open")
                self._alive.add(key)
                self._waiting = True

    def take(self) -> "tuple[optuna.Trial, Point] | None":
        """The next trial to be done, as Optuna has it, and its point; None if none waits."""
        states = self.optuna.trial.TrialState
        while self._waiting:
            self._waiting = any(trial.state == states.WAITING for trial in self._all())
            if not self._waiting:
                break
            trial = self.study.ask(self.distributions)
            key = trial.user_attrs.get("key", "")  # none if the last that waited has just been taken elsewhere
            earlier = [t for t in self._all() if t.number < trial.number and t.user_attrs.get("key") == key]
            if key in self.trials and all(t.state == states.FAIL for t in earlier):
                trial.set_user_attr("machine", platform.node())
                self.trials[key] = Trial(self.trials[key].point, "open", machine=platform.node())
                return trial, self.trials[key].point
            self.study.tell(trial, state=states.FAIL)
        return None

    def beat(self, trial: "optuna.Trial") -> bool:
        """Shows that the machine of a trial lives. False if the trial was given up, and is somebody else's now."""
        try:
            trial.set_user_attr("beat", time.time())
        except RuntimeError:  # Optuna's, where a trial has ended
            return False
        return True

    def tell(self, trial: "optuna.Trial", process: Process) -> Trial:
        """What came of a trial whose process has ended. If it was given up meanwhile, how it stands elsewhere."""
        metrics, ended = None, process.failure
        if not ended:
            try:
                metrics, ended = outcome(self.space.recipe, process.folder)
            except (OSError, ValueError, KeyError, TypeError) as error:
                ended = f"its metrics cannot be read: {error}"
        about: Plain = {"seconds": process.seconds, "ended": ended, "folder": f"{TRIALS}/{process.folder.name}"}
        if metrics is not None and ended != "interrupted":
            about["metrics"] = metrics
        with contextlib.suppress(RuntimeError):  # Optuna's, where a trial has ended
            for name, value in about.items():
                trial.set_user_attr(name, value)
            if "metrics" in about:
                self.study.tell(trial, about["metrics"][self.space.metric])
            else:
                self.study.tell(trial, state=self.optuna.trial.TrialState.FAIL)
        self.look()
        return self.trials[trial.user_attrs["key"]]

    def close(self) -> None:
        """Lets go of the file, or the connection."""
        if isinstance(self.storage, self.optuna.storages.RDBStorage):
            self.storage.remove_session()
            self.storage.engine.dispose()

    def count(self, state: str) -> int:
        """How many trials are in a state."""
        return sum(trial.state == state for trial in self.trials.values())

    def _all(self) -> "list[optuna.trial.FrozenTrial]":
        return self.study.get_trials(deepcopy=False)

    def _fail(self, trial: "optuna.trial.FrozenTrial") -> None:
        """Gives up a trial that runs, and has no machine any more."""
        if trial.state == self.optuna.trial.TrialState.RUNNING:
            with contextlib.suppress(RuntimeError, ValueError):  # Optuna's, where it has just ended
                self.study.tell(trial.number, state=self.optuna.trial.TrialState.FAIL)

    def _trial(self, point: Point, trial: "optuna.trial.FrozenTrial") -> Trial:
        about = trial.user_attrs
        ended, states = about.get("ended", ""), self.optuna.trial.TrialState
        value = trial.value if trial.state == states.COMPLETE else None
        state = "finished" if trial.state == states.COMPLETE else "open"
        if trial.state == states.FAIL and ended and ended != "interrupted":
            state = "failed"
        at = about.get("machine", "") if trial.state != states.FAIL or state == "failed" else ""
        return Trial(point, state, value, about.get("seconds"), ended, about.get("folder", ""), at)

    def _finished(self, study: "optuna.Study") -> dict[str, Plain]:
        """The attributes of all finished trials of a study, by their keys."""
        trials = study.get_trials(deepcopy=False, states=(self.optuna.trial.TrialState.COMPLETE,))
        known = {trial.user_attrs["key"]: dict(trial.user_attrs) for trial in trials if "key" in trial.user_attrs}
        return {key: about for key, about in known.items() if self.space.metric in about["metrics"]}

    def _params(self, point: Point) -> Plain:
        return {name: _plain(value) for name, value in {**point.values, "seed": point.seed}.items()}

    def _distribution(self, values: tuple[object, ...]) -> "optuna.distributions.BaseDistribution":
        floats = [value for value in values if isinstance(value, float)]
        whole = [value for value in values if isinstance(value, int) and not isinstance(value, bool)]
        if len(floats) == len(values):
            return self.optuna.distributions.FloatDistribution(min(floats), max(floats))
        if len(whole) == len(values):
            return self.optuna.distributions.IntDistribution(min(whole), max(whole))
        return self.optuna.distributions.CategoricalDistribution(list(map(_plain, values)))


def _plain(value: object) -> bool | int | float | str | None:
    """A value as Optuna keeps it: None, a bool, a number or a word."""
    return value if value is None or isinstance(value, bool | int | float | str) else told(value)


def _database(storage: str, folder: Path) -> "optuna.storages.RDBStorage":
    import optuna
    import sqlalchemy

    if not storage:  # as a URL, ? and # in a path would mean more
        connect = {"creator": lambda: sqlite3.connect(folder / MEMORY, check_same_thread=False)}
        return optuna.storages.RDBStorage("sqlite://", connect)
    url = sqlalchemy.make_url(storage)
    if url.drivername in ("postgres", "postgresql"):
        url = url.set(drivername="postgresql+psycopg")  # the driver of the extra `postgresql`
    for attempt in range(TRIES):
        try:
            return optuna.storages.RDBStorage(url.render_as_string(hide_password=False), {"pool_pre_ping": True})
        except (sqlalchemy.exc.IntegrityError, sqlalchemy.exc.ProgrammingError):  # two machines make the tables at once
            if attempt == TRIES - 1:
                raise
            time.sleep(0.1 * (attempt + 1))
    raise AssertionError


def _journal(path: str) -> "optuna.storages.JournalStorage":
    from optuna.storages import JournalStorage, journal

    return JournalStorage(journal.JournalFileBackend(path))
