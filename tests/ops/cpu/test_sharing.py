"""When threads stop meeting, and when they meet again: calls by a clock of the test's own."""

import pytest

from lstmcore.ops.cpu import sharing as sharing_cpu
from lstmcore.ops.cpu.sharing import KEPT, Sharing


class Clock:
    now = 100.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    monkeypatch.setattr(sharing_cpu, "time", clock := Clock())
    return clock


def told(sharing, clock, threads, took, worked):
    clock.now += took
    sharing.tell(threads, took, worked)


def test_calls_that_are_faster_than_one_thread_stay_shared(clock):
    sharing = Sharing()
    for _ in range(5):
        told(sharing, clock, 2, 0.004, 0.0021)
        assert sharing.pays()
        assert not sharing.trying


def alone(sharing, clock):
    """A shared call takes 0.09 s in place of 0.006; one thread is tried for as long, does better, and is kept: how many
    times as long."""
    assert sharing.pays()
    told(sharing, clock, 2, 0.09, 0.003)
    for _ in range(10):
        assert not sharing.pays()
        told(sharing, clock, 1, 0.0091, 0.006)
    assert not sharing.trying
    kept = 0.0
    while not sharing.pays():
        kept += 0.25
        clock.now += 0.25 * 0.09
    return int(kept)


def test_a_stalled_call_is_followed_by_one_thread(clock):
    """For longer, the longer it is so; and long after that for a short while again."""
    sharing = Sharing()
    assert [alone(sharing, clock) for _ in range(6)] == [1, 2, 4, 8, KEPT, KEPT]
    clock.now += KEPT * 0.09
    assert alone(sharing, clock) == 1


@pytest.mark.parametrize("good", [0, 1, 2, 5])
def test_little_time_is_lost_to_trying(good, clock):
    """Of a disturbance that goes on, whose every call or few calls stall: no more than a trial of at most twice its
    length (a call of one thread may begin when it is nearly over) for KEPT lengths that follow it."""
    sharing = Sharing()
    tried, calls, start = 0.0, 0, clock.now
    while clock.now < start + 1000:
        if sharing.pays():
            calls += 1
            told(sharing, clock, 2, *((0.09, 0.04) if calls % (good + 1) == 0 else (0.06, 0.05)))
        else:
            tried += 0.08 * sharing.trying
            told(sharing, clock, 1, 0.08, 0.08)
    assert 0 < tried < 1000 * 2 / (KEPT + 2)


def test_one_thread_that_neighbours_hold_up_more_is_given_up(clock):
    """Threads that sleep now and then may get a busy processor sooner than one that never does."""
    sharing = Sharing()
    told(sharing, clock, 2, 0.016, 0.0035)
    assert not sharing.pays()
    told(sharing, clock, 1, 0.068, 0.006)
    assert sharing.pays()
    told(sharing, clock, 2, 0.015, 0.0035)  # not looked at for a while
    assert sharing.pays()
    clock.now += 0.016
    told(sharing, clock, 2, 0.016, 0.0035)
    assert not sharing.pays()


@pytest.mark.parametrize("worked", [0.0, 1e-12])
def test_a_clock_that_stood_still_is_no_error(clock, worked):
    sharing = Sharing()
    told(sharing, clock, 2, 0.001, worked)
    told(sharing, clock, 1, 0.002, worked)
    assert not sharing.trying
