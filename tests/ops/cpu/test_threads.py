"""The threads that run kernels: every task is done once, settings stay, forks, sleepers and neighbours work."""

import subprocess
import sys
import threading
import time

import numba
import numpy as np
import pytest
from children import forked, in_threads
from numba.core import types

from lstmcore.ops.cpu import disk
from lstmcore.ops.cpu import threads as threads_cpu
from lstmcore.ops.cpu.barrier import meet
from lstmcore.ops.cpu.kernel import compile_tasks
from lstmcore.ops.cpu.memory import vectors
from lstmcore.ops.cpu.threads import can_meet, run, thread_count, workspace

COUNTS = types.Array(types.int64, 1, "C")
several = pytest.mark.skipif(thread_count() < 2, reason="one thread has nobody to share with")


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory):
    """A cache of these tests' own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(disk, "folders", lambda: (tmp_path_factory.getbasetemp() / "kernels",))
        yield


@pytest.fixture(scope="module")
def count():
    """The kernel whose task adds one to its own number, slowly."""

    def kernel(done, slowness, task, memory):
        for _ in range(slowness):
            done[task] += 1.0
        done[task] += 1.0 - slowness

    return compile_tasks(kernel, "test-count", types.void(types.Array(types.float64, 1, "C"), types.intp))


@pytest.fixture(scope="module")
def together():
    """The kernel whose tasks wait for each other."""

    def kernel(counter, tasks, task, memory):
        meet(counter.ctypes.data, tasks, 1)

    return compile_tasks(kernel, "test-together", types.void(COUNTS, types.intp))


def test_every_task_is_done_once(count):
    for tasks in (0, 1, 2, 1000):
        done = np.zeros(tasks + 1)
        run(count, (done, 10), tasks, 0)
        assert (done[:tasks] == 1).all()
        assert done[tasks] == 0


@several
def test_as_many_tasks_as_threads_run_at_the_same_time(together):
    """They would wait for ever else. Now and then the helpers have gone to sleep in between, or are about to."""
    for pause in (*[0] * 200, *np.linspace(0, 0.002, 100), 0.1, 0.1):
        time.sleep(pause)
        counter = np.zeros(2, np.int64)
        run(together, (counter, thread_count()), thread_count(), 0, thread_count())
        assert counter[0] == thread_count()


def test_scratch_memory_is_aligned_and_nobody_elses():
    """Each task fills its memory with its number, does something else for a while, and reads it again."""
    v = vectors("float64")
    store, load, constant, size = v.store, v.load, v.constant, v.lanes * v.size

    def kernel(addresses, broken, out, task, memory):
        addresses[task] = memory
        for place in range(0, 4992, size):
            store(memory + place, constant(np.float64(task)))
        for place in range(0, 4992, size):
            store(out.ctypes.data + task * size, load(memory + place))
            broken[task] += out[task, 0] != task

    matrix = types.Array(types.float64, 2, "C")
    fill = compile_tasks(kernel, "test-fill", types.void(COUNTS, COUNTS, matrix))
    addresses, broken = np.zeros(100, np.int64), np.zeros(100, np.int64)
    run(fill, (addresses, broken, np.zeros((100, v.lanes))), 100, 5000)
    assert (addresses % 64 == 0).all()
    assert not broken.any()
    places = np.unique(addresses)
    assert len(places) <= thread_count()
    assert (np.diff(places) >= 5000).all()


def test_the_same_memory_is_handed_out_again():
    assert workspace(5000) == workspace(10) == workspace(5000)
    elsewhere = []
    thread = threading.Thread(target=lambda: elsewhere.append(workspace(10)))
    thread.start()
    thread.join()
    assert elsewhere[0] != workspace(10)


@pytest.mark.parametrize("tasks", [1, 8])
def test_memory_that_is_not_there_is_an_error(tasks):
    """An error in a task is told whoever did it, and the next call finds everything in order."""

    def kernel(numbers, task, memory):
        if task == tasks - 1:
            np.empty(numbers[0], np.float64)[0] = 1.0

    signature = types.void(types.Array(types.int64, 1, "C", readonly=True))
    greedy = compile_tasks(kernel, f"test-greedy-{tasks}", signature)
    with pytest.raises(MemoryError, match=f"1 of {tasks} tasks"):
        run(greedy, (np.array([2**58]),), tasks, 0)
    run(greedy, (np.array([1]),), tasks, 0)


def test_two_callers_at_a_time(count, together):
    """Each call is done whole, whatever the other caller does; tasks that wait for each other find each other."""
    broken = []

    def call(k):
        for _ in range(300):
            done, counter = np.zeros(20), np.zeros(2, np.int64)
            run(count, (done, 1000), 20, 0)
            run(together, (counter, thread_count()), thread_count(), 0, thread_count())
            if not (done == 1).all() or (thread_count() > 1 and counter[0] != thread_count()):
                broken.append(k)

    in_threads(call, [(k,) for k in range(3)])
    assert not broken


def test_what_is_called_in_a_helpers_thread_asks_for_no_help():
    """`__del__` of whatever is garbage may be, while the caller waits for this helper."""
    seen = []

    def watch(box):
        seen.append((thread_count(), can_meet(1), can_meet(2)))
        raise EOFError

    def helper():
        with pytest.raises(EOFError):
            threads_cpu._Crew()._serve(watch)

    in_threads(helper, [()])
    assert seen == [(1, True, False)]


@several
@pytest.mark.skipif(not hasattr(time, "pthread_getcpuclockid"), reason="this system has no clock of each thread")
def test_helpers_sleep_when_there_is_nothing_to_do(count):
    """A process that has done its work takes no time: its helpers watch for a moment only, and then none at all."""
    run(count, (np.zeros(8), 1), 8, 0)
    helpers = [thread for thread in threading.enumerate() if thread.name.startswith("lstmcore-")]
    assert helpers

    def taken():
        return sum(time.clock_gettime(time.pthread_getcpuclockid(helper.ident)) for helper in helpers)

    first, before = taken(), None
    while (now := taken()) != before or threads_cpu._crew.awake:
        assert now - first < 1  # of processor time: they watch for a thousandth of that, however busy the machine is
        before = now
        time.sleep(0.2)


@several
@pytest.mark.skipif(not threads_cpu.TIMED, reason="this system has no fine clock of each thread")
def test_what_meeting_costs_is_told(count, together, monkeypatch):
    """Of calls whose threads meet, always; of other calls while it is tried how long those take."""
    told = []
    sharing = threads_cpu._crew.sharing
    monkeypatch.setattr(sharing, "tell", lambda *call: told.append(call))
    monkeypatch.setattr(sharing, "trying", False)
    run(together, (np.zeros(2, np.int64), 2), 2, 0, 2)
    for tasks in (1, 8):
        run(count, (np.zeros(tasks), 1), tasks, 0)
    assert [threads for threads, *_ in told] == [2]
    sharing.trying = True
    for tasks in (1, 8):
        run(count, (np.zeros(tasks), 1_000_000), tasks, 0)
    assert [threads for threads, *_ in told] == [2, 1, 1]
    _, took, worked = told[1]
    assert 1e-4 < worked < took + 1e-4


def test_the_users_setting_is_obeyed():
    def kernel(addresses, task, memory):
        addresses[task] = memory

    note = compile_tasks(kernel, "test-note", types.void(COUNTS))
    before, addresses = numba.get_num_threads(), np.zeros(50, np.int64)
    numba.set_num_threads(1)
    try:
        assert thread_count() == 1
        run(note, (addresses,), 50, 64)
        assert numba.get_num_threads() == 1
    finally:
        numba.set_num_threads(before)
    assert set(addresses) == {workspace(64)}  # the caller's own memory: nobody else came


def test_asking_does_not_start_numbas_threads():
    """A program that chooses Numba's threading layer after its first use of an LSTM still can."""
    code = (
        "import sys; from lstmcore.ops.cpu.threads import thread_count; assert thread_count() >= 1;"
        "parallel = sys.modules.get('numba.np.ufunc.parallel');"
        "assert parallel is None or not parallel._is_initialized; print('untouched')"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "untouched"


def test_a_fork_after_use(count):
    run(count, (np.zeros(20), 1), 20, 0)

    def again():
        done = np.zeros(20)
        run(count, (done, 1), 20, 0)
        return done.tolist()

    assert forked(again) == [1.0] * 20
