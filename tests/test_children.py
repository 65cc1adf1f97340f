"""What starts processes for tests: Ctrl-C is heard in them, nothing is left of them, and a fork answers."""

import os
import signal
import subprocess
import sys
import time

import pytest
from children import forked, started, struck

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals and sessions are those of POSIX")


def test_ctrl_c_is_heard_where_it_is_ignored():
    """As in the background of a script."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with started(
            sys.executable, "-c", "import time; print(flush=True); time.sleep(600)", stdout=-1, stderr=-1
        ) as process:
            process.stdout.readline()
            process.send_signal(signal.SIGINT)
            _, told = process.communicate()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    assert b"KeyboardInterrupt" in told


def test_nothing_is_left_of_a_test_that_fails():
    """Neither the process nor its child, which holds the other end of the pipe."""
    parent = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'print(1, flush=True); input()'])"
    theirs, ours = os.pipe()
    pipe = os.fdopen(theirs, "rb")
    test = started(sys.executable, "-c", parent, stdin=-1, stdout=ours)
    process = test.__enter__()
    os.close(ours)
    assert pipe.readline() == b"1\n"
    assert not test.__exit__(AssertionError, AssertionError(), None)
    assert process.returncode == -signal.SIGKILL
    assert pipe.read() == b""  # nobody is there to write
    pipe.close()


def test_a_signal_at_a_certain_line(tmp_path):
    program = f"""
with open({str(tmp_path / "rows")!r}, "w", buffering=1) as rows:
    while True:
        rows.write("row\\n")
"""
    ended = subprocess.run([sys.executable, "-c", struck(signal.SIGTERM, tmp_path, "*", 100, program)])
    assert ended.returncode == -signal.SIGTERM
    assert (tmp_path / "rows").read_bytes().count(b"\n") > 100


def test_a_fork_answers():
    def look():
        os.environ["FORK"] = "1"
        return os.getpid()

    assert forked(look) != os.getpid()
    assert "FORK" not in os.environ
    with pytest.raises(ZeroDivisionError):
        forked(lambda: 1 / 0)
    with pytest.raises(AssertionError, match="died without an answer, status 9"):
        forked(lambda: os.kill(os.getpid(), signal.SIGKILL) or time.sleep(600))


def test_a_fork_beside_the_threads_of_jax(jax):
    """JAX warns of every fork, from a hook that any later fork of the process calls."""
    jax.numpy.ones(3).sum()
    assert forked(os.getpid) != os.getpid()
