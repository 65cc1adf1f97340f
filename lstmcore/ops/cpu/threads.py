"""The threads that run kernels: a few threads of Python, which watch a box (crew.py) and then sleep.

Not Numba's parallel loops: their pools abort after a fork, or when two threads use them at once, and take seconds to
compile. How many threads work is Numba's setting, which is read and never changed. Which thread runs what has no
influence on any result.
"""

import functools
import os
import queue
import sys
import threading
from collections.abc import Callable

import numba
import numpy as np
from numba.core import types

from lstmcore.ops.cpu.crew import new_box, watch
from lstmcore.ops.cpu.kernel import compile_kernel


def thread_count() -> int:
    """How many threads the caller wants: `numba.get_num_threads()`."""
    parallel = sys.modules.get("numba.np.ufunc.parallel")
    if parallel is not None and parallel._is_initialized:
        return numba.get_num_threads()
    return numba.config.NUMBA_NUM_THREADS  # asking Numba would start its own pool


def run(kernel: Callable, arguments: tuple, tasks: int, scratch: int) -> None:
    """Does all tasks of a kernel of `compile_tasks`, on as many threads as wanted; returns when all are done.

    Each task gets `scratch` bytes of memory that nobody else uses meanwhile. Where there are no more tasks than threads
    they run at the same time, so that they may wait for each other. Raises MemoryError if there is too little.
    """
    helpers = min(thread_count(), tasks) - 1
    if helpers < 1:
        failed = kernel(*arguments, 0, tasks, 0, workspace(scratch), scratch)
    else:
        failed = _crew.run(kernel, arguments, tasks, helpers, -(-scratch // 64) * 64)
    if failed:
        raise MemoryError(f"{failed} of {tasks} tasks found no memory for their tables")


def workspace(size: int) -> int:
    """The address of `size` bytes that belong to this thread, aligned to 64; the next call hands out the same memory.

    Zero at first: vectors read lanes that belong to nobody, and what stands in fresh memory may be numbers below the
    smallest normal one, with which every instruction takes a hundred cycles.
    """
    if getattr(_own, "size", -1) < size:
        _own.memory, _own.size = np.zeros(size + 64, np.uint8), size
        _own.address = -(-_own.memory.ctypes.data // 64) * 64
    return _own.address


_own = threading.local()


class _Crew:
    """Threads that watch a box for a while, and then sleep."""

    def __init__(self):
        self.box = new_box()
        self.address = self.box.ctypes.data
        self.size = self.awake = 0  # threads: all, and those that do not sleep
        self.calling = False  # while a call is under way
        self.one_call = threading.Lock()  # the box is for one call at a time: others wait
        self.counting = threading.Lock()
        self.alarm: queue.SimpleQueue[None] = queue.SimpleQueue()

    def run(self, kernel: Callable, arguments: tuple, tasks: int, helpers: int, scratch: int) -> int:
        with self.one_call:
            with self.counting:  # from now on nobody goes to sleep: tasks may have to wait for each other
                self.calling = True
                asleep = min(self.size, helpers) - self.awake
            try:
                for _ in range(asleep):
                    self.alarm.put(None)
                while self.size < helpers:
                    threading.Thread(target=self._serve, name=f"lstmcore-{self.size}", daemon=True).start()
                    self.size += 1
                return kernel(*arguments, self.address, tasks, helpers, workspace((helpers + 1) * scratch), scratch)
            finally:
                self.calling = False

    def _serve(self) -> None:
        watch = _watch()
        while True:
            with self.counting:
                self.awake += 1
            while True:
                watch(self.address)
                with self.counting:
                    if not self.calling:
                        self.awake -= 1
                        break
            self.alarm.get()


@functools.cache
def _watch() -> Callable:
    return compile_kernel(watch, "crew-watch", types.void(types.intp))


def _hire() -> None:
    global _crew
    _crew = _Crew()


_crew = _Crew()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_hire)  # threads do not survive a fork: the child hires its own
