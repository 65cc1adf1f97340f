"""The threads that run kernels: a few threads of Python, which kernels free of the interpreter's lock.

Not Numba's parallel loops: their pools abort after a fork, or when two threads use them at once, and take seconds to
compile. Handing work to a waiting thread here takes some ten microseconds. How many threads work is Numba's setting,
which is read and never changed. Which thread runs what has no influence on any result.
"""

import os
import queue
import sys
import threading
from collections.abc import Callable, Sequence

import numba
import numpy as np


def thread_count() -> int:
    """How many threads the caller wants: `numba.get_num_threads()`."""
    parallel = sys.modules.get("numba.np.ufunc.parallel")
    if parallel is not None and parallel._is_initialized:
        return numba.get_num_threads()
    return numba.config.NUMBA_NUM_THREADS  # asking Numba would start its own pool


def run(kernel: Callable, arguments: Sequence[tuple], scratch: int) -> None:
    """Calls `kernel(*a, bytes)` for every a of `arguments`, on as many threads as wanted; returns when all are done.

    `bytes` are `scratch` bytes of memory that nobody else uses during the call. Where there are no more calls than
    threads they run at the same time, so that they may wait for each other.
    """
    helpers = min(thread_count(), len(arguments)) - 1
    if helpers < 1:
        memory = workspace(scratch)
        for a in arguments:
            kernel(*a, memory)
        return
    batch = _Batch(kernel, arguments, scratch)
    _crew.call(batch, helpers)
    batch.work()
    batch.wait()


def workspace(size: int) -> np.ndarray:
    """`size` bytes that belong to this thread, aligned to 64; the next call hands out the same memory.

    Zero at first: vectors read lanes that belong to nobody, and what stands in fresh memory may be numbers below the
    smallest normal one, with which every instruction takes a hundred cycles.
    """
    memory = getattr(_own, "memory", None)
    if memory is None or memory.size < size:
        memory = np.zeros(size + 64, np.uint8)
        memory = memory[-memory.ctypes.data % 64 :]
        _own.memory = memory
    return memory


_own = threading.local()


class _Batch:
    """Calls of one kernel, taken one after the other by whoever is free."""

    def __init__(self, kernel: Callable, arguments: Sequence[tuple], scratch: int):
        self.kernel, self.scratch = kernel, scratch
        self.left = iter(arguments)  # taking the next is one step of the interpreter: no two threads get the same
        self.count = len(arguments)
        self.done: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()

    def work(self) -> None:
        memory = workspace(self.scratch)
        for arguments in self.left:
            try:
                self.kernel(*arguments, memory)
                self.done.put(None)
            except BaseException as error:
                self.done.put(error)

    def wait(self) -> None:
        for error in [self.done.get() for _ in range(self.count)]:
            if error is not None:
                raise error


class _Crew:
    """Threads that wait for batches."""

    def __init__(self):
        self.batches: queue.SimpleQueue[_Batch] = queue.SimpleQueue()
        self.size = 0
        self.hiring = threading.Lock()

    def call(self, batch: _Batch, helpers: int) -> None:
        with self.hiring:
            while self.size < helpers:
                threading.Thread(target=self._serve, name=f"lstmcore-{self.size}", daemon=True).start()
                self.size += 1
            # All places of one batch before those of the next: calls that wait for each other must find each other, and
            # two half-served batches would wait for ever.
            for _ in range(helpers):
                self.batches.put(batch)

    def _serve(self) -> None:
        while True:
            self.batches.get().work()


def _hire() -> None:
    global _crew
    _crew = _Crew()


_crew = _Crew()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_hire)  # threads do not survive a fork: the child hires its own
