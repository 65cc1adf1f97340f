"""Check, then time: contestants in processes of their own take turns at one job, round by round.

In each round everybody has one turn, and waits, computing nothing, while the others have theirs. So what slows the
machine for a while slows all of them, and the ratio of two times of one round holds where the times do not.
"""

import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.problem import Problem
from benchmarks.truth import Truth, Wrong
from benchmarks.worker import rest

ROOT = Path(__file__).resolve().parent.parent
AT_LEAST = 3  # calls in a turn, be they as slow as they may


class Contestant(NamedTuple):
    name: str  # "torch", "lstmcore fused-cpu"
    module: str  # with a class `Peer`
    variant: str = ""
    python: str = sys.executable
    folder: Path = ROOT  # where the module is found, beside the project


class Absent(Exception):
    """A contestant that cannot run here, and why."""


class Failed(Exception):
    """A contestant that broke; its traceback or its last words went to standard error."""


class Process:
    """A contestant's process; worker.py has the commands. A `with` ends it. Raises Absent where it cannot start."""

    def __init__(self, contestant: Contestant, threads: int):
        self.name, self.rough = contestant.name, "bf16" in contestant.variant
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the process)
        environment = os.environ | {
            "PYTHONPATH": f"{contestant.folder}{os.pathsep}{ROOT}",
            "TF_CPP_MIN_LOG_LEVEL": "3",
            **{f"{library}_NUM_THREADS": str(threads) for library in ("OMP", "OPENBLAS", "MKL", "NUMBA")},
        }
        command = [contestant.python, "-m", "benchmarks.worker", contestant.module, contestant.variant, str(threads)]
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                env=environment,
                start_new_session=True,  # Ctrl-C is for this process, which then ends the others
            )
        except OSError as error:
            self._stderr.close()
            raise Absent(f"{contestant.python}: {error.strerror}") from error
        kind, value = self._answer()
        if kind == "absent":
            self.close()
            raise Absent(value)
        self.version, self.modes = value["version"], value["modes"]

    def ask(self, command: str, *arguments: Any) -> Any:
        """The answer to one command. Raises Failed if the worker did, or died."""
        try:
            pickle.dump((command, arguments), self._process.stdin)
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it died; the answer tells
        kind, value = self._answer()
        if kind == "failed":
            reason, trace = value
            print(trace, file=sys.stderr)
            raise Failed(reason)
        return value

    def close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            pipe.close()
        self._process.wait()
        self._stderr.close()

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _answer(self) -> tuple[str, Any]:
        try:
            return pickle.load(self._process.stdout)
        except (EOFError, pickle.UnpicklingError):
            code = self._process.wait()
            self._stderr.seek(0)
            words = self._stderr.read().decode(errors="replace")[-2000:]
            print(words, file=sys.stderr)
            raise Failed(f"the process ended with code {code}") from None


class Result(NamedTuple):
    """What one contestant did. `turns`: seconds of each call, per round; none where `note` says why not."""

    turns: list[list[float]]
    error: float = float("nan")  # the largest, as a part of what rounding explains
    note: str = ""

    def quantiles(self) -> np.ndarray:
        """20 %, 50 % and 80 % quantiles over all calls, in seconds."""
        return np.quantile(np.concatenate(self.turns), (0.2, 0.5, 0.8))


def ratios(result: Result, base: Result) -> np.ndarray:
    """20 %, 50 % and 80 % quantiles over the rounds of time / the base's time, medians of each turn."""
    each = [np.median(turn) / np.median(other) for turn, other in zip(result.turns, base.turns, strict=True)]
    return np.quantile(each, (0.2, 0.5, 0.8))


def race(
    contestants: Sequence[Process],
    floor: Process,
    problem: Problem,
    mode: str,
    truth: Truth,
    rounds: int,
    seconds: float,
) -> tuple[dict[str, Result], Result]:
    """Everybody's result, and the floor's, which is prepared already. Who cannot run the mode, breaks or gives wrong
    numbers is not timed."""
    results: dict[str, Result] = {}
    runners = []
    for process in contestants:
        try:
            error = _prepared(process, problem, mode, truth)
        except (Absent, Wrong, Failed) as reason:
            kind = {Absent: "cannot", Wrong: "wrong", Failed: "failed"}[type(reason)]
            results[process.name] = Result([], note=f"{kind}: {reason}")
            continue
        results[process.name] = Result([], error)
        runners.append(process)
    floor_result = Result([])
    rest()  # this process too: it has computed the truth
    for k in range(rounds if runners else 0):
        floor_result.turns.append(floor.ask("turn", seconds, 1))
        for j in range(len(runners)):  # who is first changes, and so does whose turn comes after whose
            process = runners[(j + k) % len(runners)]
            results[process.name].turns.append(process.ask("turn", seconds, AT_LEAST))
    return results, floor_result


def _prepared(process: Process, problem: Problem, mode: str, truth: Truth) -> float:
    if mode not in process.modes:
        raise Absent(f"no {mode} in {process.name}")
    return truth.check(process.ask("prepare", problem, mode), process.rough)


def start(contestants: Sequence[Contestant], threads: int) -> tuple[list[Process], Mapping[str, str]]:
    """The processes of those that are there, and the reasons of the others by name."""
    processes, absent = [], {}
    for contestant in contestants:
        try:
            processes.append(Process(contestant, threads))
        except Absent as reason:
            absent[contestant.name] = str(reason)
    return processes, absent
