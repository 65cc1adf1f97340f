"""Threads that meet in compiled code: work that is shared is done once, whole, and before anybody goes on."""

import subprocess
import sys
import threading
import time

import llvmlite.binding as llvm
import numba
import numpy as np
import pytest
from children import in_threads
from llvmlite import ir

from lstmcore.ops.cpu import barrier
from lstmcore.ops.cpu.barrier import PAUSES, arrive, meet, together, wait

THREADS = 3
PIECES = 7


def test_everybody_works_and_waits_for_all():
    """Each piece counts up its own place. Who comes back looks at all places: none may be missing, none done twice.

    The pieces are slow, so that a thread that did not wait would come back to find some undone.
    """

    def work(i, slow, done):
        for _ in range(slow.size):
            done[i] += 1

    share = together(numba.njit(nogil=True)(work))

    @numba.njit(nogil=True)
    def run(thread, counters, slow, done, seen):
        share(done.size, counters.ctypes.data, slow, done)
        for i in range(done.size):
            seen[thread] += done[i]

    for _ in range(20):
        slow, done, seen = np.zeros(100_000), np.zeros(PIECES), np.zeros(THREADS)
        counters = np.zeros(4, np.int64)
        in_threads(run, [(k, counters, slow, done, seen) for k in range(THREADS)])
        assert (done == slow.size).all()
        assert (seen == slow.size * PIECES).all()


def test_nobody_passes_a_meeting_before_all_have_come():
    @numba.njit(nogil=True)
    def run(thread, counter, arrived, seen):
        for meeting in range(seen.shape[1]):
            arrived[thread, 0] += 1
            meet(counter.ctypes.data, len(arrived), meeting + 1)
            for k in range(len(arrived)):
                seen[thread, meeting] += arrived[k, 0] > meeting  # the others may be one further already

    arrived, seen = np.zeros((THREADS, 8), np.int64), np.zeros((THREADS, 2000), np.int64)
    counter = np.zeros(2, np.int64)
    in_threads(run, [(k, counter, arrived, seen) for k in range(THREADS)])
    assert (seen == THREADS).all()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems sleep by short naps")
def test_whoever_waits_for_long_sleeps():
    """A second of waiting takes no more than a fiftieth of a second of the processor, and ends when it should."""
    counter, taken = np.zeros(2, np.int64), []

    @numba.njit(nogil=True)
    def sleep(counter):
        wait(counter.ctypes.data, 2)

    @numba.njit(nogil=True)
    def wake(counter):
        arrive(counter.ctypes.data, 2)

    def waiting():
        before = time.thread_time()
        sleep(counter)
        taken.append(time.thread_time() - before)

    sleep(np.full(2, 2))  # compiled
    wake(np.zeros(2, np.int64))
    threads = [threading.Thread(target=waiting, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    time.sleep(1)
    assert counter[1] == 2
    wake(counter)
    assert not taken
    wake(counter)
    for thread in threads:
        thread.join(30)
    assert max(taken) < 0.02
    assert len(taken) == 2
    assert counter.tolist() == [2, 0]


def test_a_machine_without_a_call_to_sleep_by():
    """Threads meet all the same: more of them than there are processors, so that each has to let others go on."""
    code = """
import platform
platform.machine = lambda: "a new one"
import numba, numpy as np, threading
from lstmcore.ops.cpu.barrier import FUTEX, meet
assert not FUTEX
@numba.njit(nogil=True)
def run(counter):
    for meeting in range(300):
        meet(counter.ctypes.data, 4, meeting + 1)
counter = np.zeros(2, np.int64)
threads = [threading.Thread(target=run, args=(counter,), daemon=True) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(counter)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[1200    0]\n", "")


@pytest.mark.parametrize(
    ("machine", "triple", "instruction"),
    [
        ("amd64", "x86_64-pc-windows-msvc", "pause"),
        ("x86_64", "x86_64-unknown-linux-gnu", "pause"),
        ("aarch64", "aarch64-unknown-linux-gnu", "isb"),
        ("arm64", "arm64-apple-darwin", "isb"),
    ],
)
def test_the_pause_of_each_processor(machine, triple, instruction):
    """Without one, 500 looks would be over in a microsecond, and whoever waits would sleep at every meeting."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    module = ir.Module()
    builder = ir.IRBuilder(ir.Function(module, ir.FunctionType(ir.VoidType(), []), "f").append_basic_block())
    barrier._call(builder, ir.VoidType(), *PAUSES[machine])
    builder.ret_void()
    assembly = llvm.Target.from_triple(triple).create_target_machine().emit_assembly(llvm.parse_assembly(str(module)))
    assert instruction in [line.strip() for line in assembly.splitlines()]
