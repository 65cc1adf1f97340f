"""Runs the trials of a space in processes side by side."""

import contextlib
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lstmcore.recipes.lock import locked, made
from lstmcore.recipes.sweep.memory import MEMORY, TRIALS, Memory, Trial
from lstmcore.recipes.sweep.process import Process
from lstmcore.recipes.sweep.space import Space
from lstmcore.train.interrupt import interruptible

if TYPE_CHECKING:
    import optuna

PAUSE = 0.1  # seconds between two looks at the processes
PATIENCE = 60.0  # seconds without a sign of life, after which another machine is taken for dead
SIGNS = 20  # of life, in that time


@dataclass(frozen=True)
class Standing:
    """How far a sweep is."""

    total: int
    finished: int  # those that were kept from before among them
    failed: int
    running: int
    elsewhere: int  # running on other machines
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
    space: Space,
    folder: Path,
    jobs: int = 1,
    threads: int = 1,
    watch: Callable[[Standing], None] = lambda s: None,
    storage: str = "",
    patience: float = PATIENCE,
) -> Outcome:
    """Runs what is left of the space, `jobs` trials at a time with `threads` threads each.

    Ctrl-C ends it at once. The next time, trials that were under way go on from their last checkpoints, and those that
    failed are tried again. watch: is called every now and then. storage: shared with other machines, a database's URL
    or a journal's path; each takes trials, and all end when all trials are done. Raises ImportError without Optuna or
    the database's driver, OSError for a folder or storage that cannot be used, or a folder in use.
    """
    began = time.perf_counter()
    stopped: list[str] = []
    made(folder)
    held = contextlib.nullcontext() if storage else locked(folder)
    with held, _in_words(storage or str(folder / MEMORY)), interruptible(lambda: stopped.append("interrupted")):
        memory = Memory(space, folder, storage, patience)
        running: list[tuple[optuna.Trial, Process]] = []  # the trial as Optuna has it, and its process
        try:
            memory.prepare()
            kept, looked = memory.count("finished"), time.monotonic()
            while (running or memory.count("open")) and not stopped:
                while len(running) < jobs and (taken := memory.take()):
                    trial, point = taken
                    running.append((trial, Process(space.words(point), folder / TRIALS / space.name(point), threads)))
                watch(_standing(memory, running, jobs))
                time.sleep(PAUSE)
                for trial, process in list(running):
                    if process.ended:
                        running.remove((trial, process))
                        watch(_standing(memory, running, jobs, memory.tell(trial, process)))
                if time.monotonic() - looked > patience / SIGNS:
                    for trial, process in list(running):
                        if not memory.beat(trial):  # it was given up: this machine has slept
                            process.stop()
                            running.remove((trial, process))
                    memory.look()
                    memory.fill()
                    looked = time.monotonic()
            for _, process in running:
                process.stop()
            for trial, process in running:
                memory.tell(trial, process)
        finally:
            for _, process in running:
                process.stop()
            memory.close()
    ended = stopped[0] if stopped else "all trials done"
    return Outcome(list(memory.trials.values()), kept, ended, time.perf_counter() - began)


def _standing(
    memory: Memory, running: "list[tuple[optuna.Trial, Process]]", jobs: int, latest: Trial | None = None
) -> Standing:
    taken = sum(trial.state == "open" and bool(trial.machine) for trial in memory.trials.values())
    todo, elsewhere = memory.count("open") - taken, max(0, taken - len(running))
    left = {process: process.seconds_left for _, process in running}
    whole = [trial.seconds for trial in memory.trials.values() if trial.state == "finished" and trial.seconds]
    whole += [process.seconds + more for process, more in left.items() if more is not None]
    seconds_left = None
    if whole:
        mean = sum(whole) / len(whole)
        begun = sum(max(mean - process.seconds, 0.0) if more is None else more for process, more in left.items())
        seconds_left = (mean * todo + begun) / max(1, min(jobs, todo + len(running)) + elsewhere)
    done, failed = memory.count("finished"), memory.count("failed")
    return Standing(len(memory.trials), done, failed, len(running), elsewhere, seconds_left, latest)


@contextlib.contextmanager
def _in_words(storage: str) -> Iterator[None]:
    """What the database says as an OSError: a full disk, a file that is no database, a server that is gone."""
    try:
        yield
    except Exception as error:
        if type(error).__module__.split(".")[0] in ("sqlite3", "sqlalchemy"):
            reason = str(getattr(error, "orig", error)).splitlines()[0]
            name = re.sub(r"(://[^/@]*):[^/@]*@", r"\1:***@", storage)  # without the password
            raise OSError(f"{name} cannot be read or written: {reason}") from error
        raise
