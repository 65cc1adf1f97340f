"""Threads that meet in compiled code: work that is shared is done once, whole, and before anybody goes on."""

import numba
import numpy as np
from children import in_threads

from lstmcore.ops.cpu.barrier import meet, together

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
        counters = np.zeros(2, np.int64)
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
    counter = np.zeros(1, np.int64)
    in_threads(run, [(k, counter, arrived, seen) for k in range(THREADS)])
    assert (seen == THREADS).all()
