"""What came of the trials of a space: Optuna's study in SQLite, `sweep.db` in the folder of the sweep.

It survives a kill at any moment, and `optuna-dashboard` shows it. Each space has a study of its own there. Trials that
are finished are never run again, in whichever study they are: so values and seeds can be added later, or the metric
changed.
"""

import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lstmcore.arrays import Plain
from lstmcore.recipes.sweep.jobs import outcome
from lstmcore.recipes.sweep.process import Process
from lstmcore.recipes.sweep.space import Point, Space, digest, told

if TYPE_CHECKING:
    import optuna

MEMORY, TRIALS = "sweep.db", "trials"


@dataclass(frozen=True)
class Trial:
    """What came of one point of the space."""

    point: Point
    state: str  # "finished"; "failed", to be done again when the sweep is; "open", not done so far
    value: float | None = None  # the metric; infinite where the training diverged
    seconds: float | None = None
    ended: str = ""  # how the training ended, or what went wrong
    folder: str = ""  # its files, below the folder of the sweep


class Memory:
    """The study of one space, and the trials of all others in the same file."""

    space: Space
    folder: Path

    def __init__(self, space: Space, folder: Path):
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.optuna, self.space, self.folder = optuna, space, folder
        self.trials: dict[str, Trial] = {digest(space.words(point)): Trial(point, "open") for point in space.points()}
        database = {"creator": lambda: sqlite3.connect(folder / MEMORY, check_same_thread=False)}
        self.storage = optuna.storages.RDBStorage("sqlite://", database)  # as a URL, ? and # in a path would mean more
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

    def prepare(self) -> int:
        """Takes over what is finished, enqueues what is not; returns how many are to be done."""
        states = self.optuna.trial.TrialState
        waiting = set()
        for trial in self.study.get_trials(deepcopy=False):
            if trial.state == states.RUNNING:  # it was, when the sweep was killed
                self.study.tell(trial.number, state=states.FAIL)
            if trial.state == states.WAITING:
                waiting.add(trial.user_attrs["key"])
        own = self._finished(self.study)
        known: dict[str, Plain] = {}
        for name in self.optuna.get_all_study_names(self.storage):
            known |= self._finished(self.optuna.load_study(study_name=name, storage=self.storage))
        for key, point in [(key, trial.point) for key, trial in self.trials.items()]:
            if key in known:
                attributes = known[key]
                value = attributes["metrics"][self.space.metric]
                if key not in own:
                    self.study.add_trial(
                        self.optuna.trial.create_trial(
                            value=value,
                            params=self._params(point),
                            distributions=self.distributions,
                            user_attrs=attributes,
                        )
                    )
                about = (attributes[name] for name in ("seconds", "ended", "folder"))
                self.trials[key] = Trial(point, "finished", value, *about)
            elif key not in waiting:
                self.study.enqueue_trial(self._params(point), user_attrs={"key": key})
        return sum(key not in known for key in self.trials)

    def ask(self) -> "tuple[optuna.Trial, Point]":
        """The next trial to be done, as Optuna has it, and its point."""
        trial = self.study.ask(self.distributions)
        return trial, self.trials[trial.user_attrs["key"]].point

    def tell(self, trial: "optuna.Trial", process: Process) -> Trial:
        """What came of a trial whose process has ended."""
        metrics, ended = None, process.failure
        if not ended:
            try:
                metrics, ended = outcome(self.space.recipe, process.folder)
            except (OSError, ValueError, KeyError, TypeError) as error:
                ended = f"its metrics cannot be read: {error}"
        key, place = trial.user_attrs["key"], f"{TRIALS}/{process.folder.name}"
        about: Plain = {"seconds": process.seconds, "ended": ended, "folder": place}
        point = self.trials[key].point
        if metrics is None or ended == "interrupted":
            self.study.tell(trial, state=self.optuna.trial.TrialState.FAIL)
            self.trials[key] = Trial(point, "open" if ended == "interrupted" else "failed", None, **about)
        else:
            for name, value in {**about, "metrics": metrics}.items():
                trial.set_user_attr(name, value)
            self.study.tell(trial, metrics[self.space.metric])
            self.trials[key] = Trial(point, "finished", metrics[self.space.metric], **about)
        return self.trials[key]

    def close(self) -> None:
        """Lets go of the file."""
        self.storage.remove_session()
        self.storage.engine.dispose()

    def _finished(self, study: "optuna.Study") -> dict[str, Plain]:
        """The attributes of all finished trials of a study, by their keys."""
        trials = study.get_trials(deepcopy=False, states=(self.optuna.trial.TrialState.COMPLETE,))
        known = {trial.user_attrs["key"]: dict(trial.user_attrs) for trial in trials}
        return {key: about for key, about in known.items() if self.space.metric in about["metrics"]}

    def _params(self, point: Point) -> Plain:
        return {name: _plain(value) for name, value in {**point.values, "seed": point.seed}.items()}

    def _distribution(self, values: tuple[Any, ...]) -> "optuna.distributions.BaseDistribution":
        kinds = {type(value) for value in values}
        if kinds == {float}:
            return self.optuna.distributions.FloatDistribution(min(values), max(values))
        if kinds == {int}:
            return self.optuna.distributions.IntDistribution(min(values), max(values))
        return self.optuna.distributions.CategoricalDistribution(list(map(_plain, values)))


def _plain(value: object) -> bool | int | float | str | None:
    """A value as Optuna keeps it: None, a bool, a number or a word."""
    return value if value is None or isinstance(value, bool | int | float | str) else told(value)
