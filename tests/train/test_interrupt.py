"""Ctrl-C: asked for once, it waits for a moment when nothing is half done; with nothing to tidy up, it ends all."""

import os
import signal
import subprocess
import sys

import pytest

from lstmcore.train.interrupt import interruptible


@pytest.mark.parametrize("before", [signal.default_int_handler, signal.SIG_DFL])
def test_the_first_one_asks_and_what_was_before_comes_back(before):
    ours, asked = signal.signal(signal.SIGINT, before), []
    try:
        with interruptible(lambda: asked.append(True)):
            signal.raise_signal(signal.SIGINT)
            assert asked == [True]
            assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        assert signal.getsignal(signal.SIGINT) is before
    finally:
        signal.signal(signal.SIGINT, ours)


def test_one_that_is_ignored_stays_ignored():
    """As under nohup."""
    ours, asked = signal.signal(signal.SIGINT, signal.SIG_IGN), []
    try:
        with interruptible(lambda: asked.append(True)):
            signal.raise_signal(signal.SIGINT)
        assert asked == []
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, ours)


DROPPED = """
import signal, sys, weakref
from lstmcore.train.interrupt import die_at_once, interruptible
signal.signal(signal.SIGINT, signal.default_int_handler)
if sys.argv[1] == "die":
    die_at_once()
class Something: pass
something = Something()
watched = weakref.ref(something, lambda _: signal.raise_signal(signal.SIGINT))  # C code calls back
del something
with interruptible(lambda: None):
    print("goes on")
"""


@pytest.mark.skipif(os.name != "posix", reason="a process that is ended by a signal tells so on POSIX")
def test_one_in_a_callback_of_c_code_is_not_dropped():
    """Python prints and forgets an exception there: a Ctrl-C while something is compiled or imported would be lost."""
    lost, ended = (
        subprocess.run([sys.executable, "-c", DROPPED, word], capture_output=True, text=True)
        for word in ("wait", "die")
    )
    assert (lost.returncode, lost.stdout) == (0, "goes on\n")
    assert "KeyboardInterrupt" in lost.stderr
    assert (ended.returncode, ended.stdout, ended.stderr) == (-signal.SIGINT, "", "")
