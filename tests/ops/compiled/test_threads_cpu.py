"""The threads that run kernels: everything is done once, errors arrive, settings stay, forks and neighbours work."""

import multiprocessing
import subprocess
import sys
import threading

import numba
import numpy as np
import pytest

from lstmcore.ops.compiled.threads_cpu import run, thread_count, workspace


def test_every_call_is_made_once():
    done = np.zeros(1000, np.int64)

    def kernel(k, memory):
        done[k] += 1

    run(kernel, [(k,) for k in range(1000)], 0)
    assert (done == 1).all()


@pytest.mark.skipif(thread_count() < 2, reason="one thread has nobody to meet")
def test_as_many_calls_as_threads_run_at_the_same_time():
    everybody = threading.Barrier(thread_count())
    run(lambda k, memory: everybody.wait(timeout=30), [(k,) for k in range(thread_count())], 0)


def test_scratch_memory_is_big_enough_and_nobody_elses():
    seen = []

    def kernel(k, memory):
        memory[:5000] = k
        seen.append((memory.ctypes.data, bool((memory[:5000] == k).all()), memory.size))

    run(kernel, [(k % 256,) for k in range(100)], 5000)
    assert len(seen) == 100
    assert all(address % 64 == 0 and intact and size >= 5000 for address, intact, size in seen)
    assert workspace(10).ctypes.data == workspace(5000).ctypes.data


def test_an_error_in_a_kernel_arrives():
    def kernel(k, memory):
        if k == 3:
            raise ArithmeticError("three")

    with pytest.raises(ArithmeticError, match="three"):
        run(kernel, [(k,) for k in range(8)], 0)
    run(kernel, [(0,), (1,)], 0)  # and the threads are there again


def test_the_users_setting_is_obeyed():
    names = set()

    def kernel(k, memory):
        names.add(threading.current_thread().name)

    before = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        assert thread_count() == 1
        run(kernel, [(k,) for k in range(50)], 0)
        assert numba.get_num_threads() == 1
    finally:
        numba.set_num_threads(before)
    assert names == {threading.current_thread().name}


def test_asking_does_not_start_numbas_threads():
    """A program that chooses Numba's threading layer after its first use of an LSTM still can."""
    code = (
        "import sys; from lstmcore.ops.compiled.threads_cpu import thread_count; assert thread_count() >= 1;"
        "parallel = sys.modules.get('numba.np.ufunc.parallel');"
        "assert parallel is None or not parallel._is_initialized; print('untouched')"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "untouched"


def _child(queue):
    done = []
    run(lambda k, memory: done.append(k), [(k,) for k in range(20)], 0)
    queue.put(sorted(done))


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*fork")  # Python and JAX warn of any fork; the child touches neither's threads
def test_a_fork_after_use():
    run(lambda k, memory: None, [(k,) for k in range(20)], 0)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_child, args=(queue,))
    child.start()
    assert queue.get(timeout=60) == list(range(20))
    child.join(60)
    assert child.exitcode == 0
