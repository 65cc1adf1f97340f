"""Processes that tests start, or are moved into: they hear Ctrl-C, and none is left when the test is over."""

import contextlib
import os
import pickle
import signal
import subprocess
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import pytest

T = TypeVar("T")


@contextlib.contextmanager
def hears_ctrl_c() -> Iterator[None]:
    """SIGINT as Python starts with it, here and in what is started here: a script's background has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def started(*command: object, **options: Any) -> Iterator[subprocess.Popen]:
    """A process in a session of its own, by the options of `Popen`; what still runs at the end is killed.

    Processes that it has put into sessions of their own are its own to end.
    """
    with hears_ctrl_c():
        process = subprocess.Popen([str(word) for word in command], start_new_session=True, **options)
    with process:  # closes its pipes, and waits
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):  # all of the session have ended
                os.killpg(process.pid, signal.SIGKILL) if hasattr(os, "killpg") else process.kill()


def struck(number: signal.Signals, folder: object, pattern: str, lines: int, program: str) -> str:
    """The text of a program that sends itself a signal, once a file in the folder has more than so many lines.

    It looks every few milliseconds of its own processor time: on a busy machine, another process would look too late.
    """
    return f"""import os, signal
from pathlib import Path
def look(*_):
    if any(path.read_bytes().count(b"\\n") > {lines} for path in Path({str(folder)!r}).glob({pattern!r})):
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        os.kill(os.getpid(), {int(number)})
signal.signal(signal.SIGVTALRM, look)
signal.setitimer(signal.ITIMER_VIRTUAL, 0.004, 0.004)
{program}
"""


def in_threads(function: Callable[..., None], calls: Iterable[tuple]) -> None:
    """Each call in a thread of its own. Threads that wait for each other for ever end with the process."""
    threads = [threading.Thread(target=function, args=arguments, daemon=True) for arguments in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def forked(function: Callable[[], T]) -> T:
    """What the function returns, or raises, in a fork of this process: limits that it sets end with the fork."""
    if not hasattr(os, "fork"):
        pytest.skip("this system cannot fork")
    theirs, ours = os.pipe()
    with warnings.catch_warnings():  # Python and JAX warn of any fork beside threads; those are left alone here
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        child = os.fork()
    if child == 0:
        status = 1
        try:
            try:
                answer = (True, function())
            except BaseException as error:
                answer = (False, error)
            with open(ours, "wb") as pipe:
                pickle.dump(answer, pipe)
            status = 0
        finally:
            os._exit(status)
    os.close(ours)
    try:
        with open(theirs, "rb") as pipe:
            answer = pipe.read()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    assert answer, f"the fork has died without an answer, status {status}"
    returned, value = pickle.loads(answer)
    if not returned:
        raise value
    return value
