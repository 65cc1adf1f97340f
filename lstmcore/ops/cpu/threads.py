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
import time
from collections.abc import Callable

import numba
import numpy as np
from numba.core import types

from lstmcore.ops.cpu.crew import new_box, watch
from lstmcore.ops.cpu.kernel import compile_kernel
from lstmcore.ops.cpu.processors import processors
from lstmcore.ops.cpu.sharing import Sharing

TIMED = os.name == "posix"  # elsewhere a thread's own clock goes by steps of 16 ms


def thread_count() -> int:
    """How many threads the caller wants: `numba.get_num_threads()`; where Numba would take every processor of the
    machine, no more than this process may use (processors.py). One for a call inside another call of the same thread,
    as from a signal handler or `__del__`, and one when the interpreter is shutting down: its other threads have ended.
    """
    if _own.calling or sys.is_finalizing():
        return 1
    parallel = sys.modules.get("numba.np.ufunc.parallel")
    started = parallel is not None and parallel._is_initialized  # if not, asking Numba would start its own pool
    count = numba.get_num_threads() if started else numba.config.NUMBA_NUM_THREADS
    return count if count != numba.config.NUMBA_DEFAULT_NUM_THREADS else min(count, processors())


def can_meet(threads: int) -> bool:
    """Whether this many tasks can run at the same time, so that they may wait for each other; and whether that pays."""
    if threads < 2 or _own.calling or sys.is_finalizing():
        return threads < 2
    return _crew.sharing.pays() and (threads - 1 <= _crew.size or bool(_crew.alone(_crew.hire, threads - 1)))


def run(kernel: Callable, arguments: tuple, tasks: int, scratch: int, meeting: int = 1) -> None:
    """Does all tasks of a kernel of `compile_tasks`, on as many threads as wanted; returns when all are done.

    Each task gets `scratch` bytes of memory of its own. `meeting` of them run at the same
    time, where `can_meet` has said that they can. Raises MemoryError if there is too little.
    """
    helpers = max(min(thread_count(), tasks), meeting) - 1 if tasks > 1 else 0
    judged = TIMED and (meeting > 1 or _crew.sharing.trying)
    began, worked = (time.perf_counter(), time.thread_time()) if judged else (0.0, 0.0)
    if helpers < 1:
        failed = kernel(*arguments, 0, tasks, 0, workspace(scratch), scratch)
    else:
        failed = _crew.alone(_crew.run, kernel, arguments, tasks, helpers, -(-scratch // 64) * 64)
    if judged:
        _crew.sharing.tell(meeting, time.perf_counter() - began, time.thread_time() - worked)
    if failed:
        raise MemoryError(f"{failed} of {tasks} tasks found no memory for their tables")


class _Own(threading.local):
    """What belongs to each thread."""

    calling = False  # whether it is at work with the crew
    size = address = 0  # of its memory
    memory: tuple = ()  # and all that it had before: a call that this one interrupts may hold its address


def workspace(size: int) -> int:
    """The address of `size` bytes that belong to this thread, aligned to 64; the next call hands out the same memory.

    Zero at first: vectors read lanes that belong to nobody, and what stands in fresh memory may be numbers below the
    smallest normal one, with which every instruction takes a hundred cycles.
    """
    if _own.size < size:
        memory = np.zeros(max(size, 2 * _own.size) + 64, np.uint8)  # twice: all earlier ones together are no larger
        _own.memory = memory, _own.memory
        _own.address = -(-memory.ctypes.data // 64) * 64
        _own.size = memory.size - 64
    return _own.address


_own = _Own()


class _Crew:
    """Threads that watch a box for a while, and then sleep."""

    def __init__(self):
        self.box = new_box()
        self.address = self.box.ctypes.data
        self.size = self.awake = 0  # threads: all, and those that do not sleep
        self.calling = False  # while a call is under way
        self.one_call = threading.Lock()  # the box is for one call at a time: others wait
        self.counting = threading.Lock()
        self.sharing = Sharing()
        self.alarm: queue.SimpleQueue[None] = queue.SimpleQueue()

    def alone(self, do: Callable[..., int], *arguments: object) -> int:
        """do(*arguments), when no other thread does. What interrupts it in this thread works without the crew."""
        try:
            _own.calling = True
            with self.one_call:
                return do(*arguments)
        finally:
            _own.calling = False

    def hire(self, helpers: int) -> bool:
        """Whether there are this many helpers; missing ones are started, if the system allows it."""
        try:
            while self.size < helpers:
                name = f"lstmcore-{self.size}"
                threading.Thread(target=self._serve, args=(watcher(),), name=name, daemon=True).start()
                self.size += 1
        except RuntimeError:  # too many threads, or the interpreter is about to end
            return False
        return True

    def run(self, kernel: Callable, arguments: tuple, tasks: int, helpers: int, scratch: int) -> int:
        if not self.hire(helpers):
            helpers = self.size
        try:
            with self.counting:  # from now on no helper goes to sleep: tasks may have to wait for each other
                self.calling = True
                asleep = helpers - self.awake
            for _ in range(asleep):
                self.alarm.put(None)
            return kernel(*arguments, self.address, tasks, helpers, workspace((helpers + 1) * scratch), scratch)
        finally:
            self.calling = False

    def _serve(self, watch: Callable[[int], None]) -> None:
        _own.calling = True  # what the garbage collector may call from here works alone: the caller waits for us
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
def watcher() -> Callable:
    """What a helper does between two calls (crew.py), compiled: the address of the box -> nothing."""
    return compile_kernel(watch, "crew-watch", types.void(types.intp))


def _hire() -> None:
    global _crew
    _crew = _Crew()


_crew = _Crew()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_hire)  # threads do not survive a fork: the child starts its own
