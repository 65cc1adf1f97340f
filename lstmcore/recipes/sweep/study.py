"""Runs the trials of a space in processes side by side."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lstmcore.recipes.lock import locked
from lstmcore.recipes.sweep.memory import MEMORY, TRIALS, Memory, Trial
from lstmcore.recipes.sweep.process import Process
from lstmcore.recipes.sweep.space import Space
from lstmcore.train.interrupt import interruptible

if TYPE_CHECKING:
    import optuna

PAUSE = 0.1  # seconds between two looks at the processes


@dataclass(frozen=True)
class Standing:
    """How far a sweep is."""

    total: int
    finished: int  # those that were kept from before among them
    failed: int
    running: int
    seconds_left: float | None  # None before the first epoch of the first trial
    latest: Trial | None = None  # the one that has just ended, if one has


@dataclass(frozen=True)
class Outcome:
    """All trials of the space, in its order."""

    trials: list[Trial]
    kept: int  # those finished before this run
    ended: str  # "all trials done", "interrupted"
    seconds: float


def run(
    space: Space, folder: Path, jobs: int = 1, threads: int = 1, watch: Callable[[Standing], None] = lambda s: None
) -> Outcome:
    """Does what is left to do of the space, `jobs` trials at a time with `threads` threads each.

    Ctrl-C ends it at once. The next time, trials that were under way go on from their last checkpoints, and those that
    failed are tried again. watch: is called every now and then. Raises ImportError without Optuna, OSError for a folder
    that cannot be used, or is in use.
    """
    began = time.perf_counter()
    stopped: list[str] = []
    with locked(folder), _in_words(folder / MEMORY), interruptible(lambda: stopped.append("interrupted")):
        memory = Memory(space, folder)
        todo = memory.prepare()
        kept = sum(trial.state == "finished" for trial in memory.trials.values())
        running: list[tuple[optuna.Trial, Process]] = []  # the trial as Optuna has it, and its process
        try:
            while (todo or running) and not stopped:
                while todo and len(running) < jobs:
                    trial, point = memory.ask()
                    todo -= 1
                    place = folder / TRIALS / space.name(point)
                    running.append((trial, Process(space.words(point), place, threads)))
                watch(_standing(memory, running, todo, jobs))
                time.sleep(PAUSE)
                for trial, process in list(running):
                    if process.ended:
                        running.remove((trial, process))
                        watch(_standing(memory, running, todo, jobs, memory.tell(trial, process)))
        finally:
            for _, process in running:
                process.stop()
            for trial, process in running:
                memory.tell(trial, process)
            memory.close()
    ended = stopped[0] if stopped else "all trials done"
    return Outcome(list(memory.trials.values()), kept, ended, time.perf_counter() - began)


def _standing(
    memory: Memory, running: "list[tuple[optuna.Trial, Process]]", todo: int, jobs: int, latest: Trial | None = None
) -> Standing:
    states = [trial.state for trial in memory.trials.values()]
    left = {process: process.seconds_left for _, process in running}
    whole = [trial.seconds for trial in memory.trials.values() if trial.state == "finished" and trial.seconds]
    whole += [process.seconds + more for process, more in left.items() if more is not None]
    seconds_left = None
    if whole:
        mean = sum(whole) / len(whole)
        begun = sum(max(mean - process.seconds, 0.0) if more is None else more for process, more in left.items())
        seconds_left = (mean * todo + begun) / max(1, min(jobs, todo + len(running)))
    return Standing(len(states), states.count("finished"), states.count("failed"), len(running), seconds_left, latest)


@contextlib.contextmanager
def _in_words(path: Path) -> Iterator[None]:
    """What the database says as an OSError: a full disk, a file that is no database."""
    try:
        yield
    except Exception as error:
        if type(error).__module__.split(".")[0] in ("sqlite3", "sqlalchemy"):
            reason = str(getattr(error, "orig", error)).splitlines()[0]
            raise OSError(f"{path} cannot be read or written: {reason}") from error
        raise
