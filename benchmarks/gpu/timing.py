"""Time on a GPU: the device's own, and what a clock on the wall shows.

Device time is the time between two events on the stream, with the whole work queued before the first: a kernel that
only waits goes first, so that the host has long handed everything over when the device begins. So it counts no time in
which the device waits for Python, which is what wall time shows.
"""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import cupy
import numpy as np

WAIT = cupy.RawKernel(
    """extern "C" __global__ void wait(long long cycles) {
        const long long start = clock64();
        while (clock64() - start < cycles) {}
    }""",
    "wait",
)
CYCLES_PER_SECOND = 2e9  # at least: a slower clock waits longer
LONGEST_WAIT = 0.5  # seconds


class Times(NamedTuple):
    """Of one call, in milliseconds: one entry per round."""

    device: list[float]
    wall: list[float]


def race(calls: Sequence[Callable[[], object]], rounds: int, seconds: float) -> list[Times]:
    """Times all calls in turn, round after round, so that a change of clocks hits all alike."""
    found = [Times([], []) for _ in calls]
    walls = []
    for call in calls:
        for _ in range(3):
            call()
        walls.append(wall(call, 3))
    started = time.monotonic()
    for done in range(rounds):
        if done >= 3 and time.monotonic() - started > seconds:
            break
        for call, times, before in zip(calls, found, walls, strict=True):
            count = max(1, min(10, int(0.02 / before)))
            times.wall.append(1e3 * wall(call, count))
            times.device.append(1e3 * device(call, count, before))
    return found


def wall(call: Callable[[], object], count: int) -> float:
    """Seconds per call, as the caller waits for them."""
    cupy.cuda.Device().synchronize()
    started = time.perf_counter()
    for _ in range(count):
        call()
    cupy.cuda.Device().synchronize()
    return (time.perf_counter() - started) / count


def device(call: Callable[[], object], count: int, host: float) -> float:
    """Seconds per call of the device's own time. host: about what the host takes for one call."""
    begin, end = cupy.cuda.Event(), cupy.cuda.Event()
    cycles = int(CYCLES_PER_SECOND * min(LONGEST_WAIT, 1.5 * count * host + 1e-4))
    WAIT((1,), (1,), (np.int64(cycles),))
    begin.record()
    for _ in range(count):
        call()
    end.record()
    end.synchronize()
    return cupy.cuda.get_elapsed_time(begin, end) / 1e3 / count
