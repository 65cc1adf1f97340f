"""A contestant's process: it prepares a job, and does it when it is its turn. `python -m benchmarks.worker` is started
by measure.py and spoken to through its standard input and output: pickled messages (command, arguments), one answer
each. Between turns it waits for the next message and computes nothing.
"""

import gc
import importlib
import os
import pickle
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.peers import solve
from benchmarks.problem import TIMED, Batch, Piece, Problem, Recipe, Text


class Worker:
    """The commands. `peer` is a `Peer` of benchmarks/peers."""

    def __init__(self, module: str, variant: str, threads: int):
        if hasattr(os, "sched_setaffinity"):  # whoever counts cores, and not what it is told, finds as many as threads
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
        self.peer = importlib.import_module(module).Peer(threads, variant)
        self.call: Callable[[], Any] = lambda: None

    def facts(self) -> dict[str, Any]:
        return {"version": self.peer.version, "modes": self.peer.modes}

    def prepare(self, problem: Problem, mode: str) -> dict[str, np.ndarray]:
        """Makes the job ready, does it twice, and gives the second's numbers: compiled, and with buffers reused."""
        if mode != "train":
            job = getattr(self.peer, mode)(problem)
            self.call = job.call
            job.call()
            return job.results(job.call())
        weights = solve(self.peer, problem, mode)
        self.train(problem, TIMED)
        batch = self.trainer.place(problem.batch)
        self.call = lambda: self.trainer.update(batch)
        return weights

    def turn(self, seconds: float, at_least: int) -> list[float]:
        """Seconds of each call, over `seconds` in all and `at_least` so many, after one that is not counted."""
        gc.collect()
        self.call()
        times: list[float] = []
        end = time.perf_counter() + seconds
        while len(times) < at_least or time.perf_counter() < end:
            began = time.perf_counter()
            self.call()
            times.append(time.perf_counter() - began)
        return times

    def train(self, problem: Problem, recipe: Recipe) -> None:
        """A new model with the problem's weights."""
        self.trainer = self.peer.trainer(problem, recipe)

    def write(self, text: Text) -> None:
        """A new character model."""
        self.trainer = self.peer.writer(text)

    def weights(self) -> dict[str, np.ndarray]:
        """What the present model has learnt."""
        return self.trainer.weights()

    def place(self, batches: list[Batch] | list[Piece]) -> None:
        self.batches = [self.trainer.place(batch) for batch in batches]

    def epochs(self, count: int) -> tuple[list[float], float]:
        """So many passes over the batches, in order: the loss of each update, and the seconds that they took."""
        began = time.perf_counter()
        losses = [self.trainer.update(batch) for _ in range(count) for batch in self.batches]
        return losses, time.perf_counter() - began

    def memory(self, problem: Problem, mode: str, calls: int) -> tuple[int, dict[str, np.ndarray]]:
        """Peak bytes of memory during `calls` calls, problem included, and the numbers of the last. Linux only."""
        job = getattr(self.peer, mode)(problem)
        with open("/proc/self/clear_refs", "w") as peak:
            peak.write("5")  # the peak is counted from here on
        for _ in range(calls):
            outcome = job.call()
        return memory("VmHWM"), job.results(outcome)

    def resident(self) -> int:
        """Bytes of memory now."""
        gc.collect()
        return memory("VmRSS")


def rest(patience: float = 2.0) -> bool:
    """Waits until this process has come to rest: thread pools spin for a while when they have nothing left to do.

    At rest means that all threads together take less than a tenth of one core's time. False if patience was in vain.
    """
    end = time.monotonic() + patience
    while time.monotonic() < end:
        used, began = time.process_time(), time.monotonic()
        time.sleep(0.01)
        if time.process_time() - used < 0.1 * (time.monotonic() - began):
            return True
    return False


def memory(field: str) -> int:
    """Bytes that Linux counts for this process: "VmRSS" now, "VmHWM" at most since the peak was reset."""
    with open("/proc/self/status") as status:
        return next(1024 * int(line.split()[1]) for line in status if line.startswith(field))


def main() -> None:
    """Serves until standard input ends. What libraries print goes to standard error, out of the messages' way."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)

    def answer(kind: str, value: Any) -> None:
        pickle.dump((kind, value), answers)
        answers.flush()

    module, variant, threads = sys.argv[1:]
    try:
        worker = Worker(module, variant, int(threads))
    except (ImportError, ValueError) as error:
        answer("absent", str(error))
        return
    answer("ready", worker.facts())
    while True:
        try:
            command, arguments = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            value = getattr(worker, command)(*arguments)
        except Exception as error:
            answer("failed", (f"{type(error).__name__}: {error}", traceback.format_exc()))
            continue
        if not rest():
            print(f"{module}: threads still busy two seconds after {command}", file=sys.stderr)
        answer("done", value)


if __name__ == "__main__":
    main()
