"""Whether it pays at the moment that threads meet inside a call: judged by how long the calls take.

n threads that meet after every step need each other all the time. Where a machine is busy, one of them waits for its
processor and the others for it, and a call may take longer than one thread alone would. Alone, one thread would take as
long as all of them together have worked, n times what the caller has, on an idle machine; a call that took longer has
*stalled*. Then each thread works alone for the same time, and the way that lost less time to other processes is kept
for as long again; for twice as long if a shared call stalls again soon, up to KEPT times. So a short disturbance costs
little, and of one that goes on only a small part of all time is lost to trying.
"""

import time

KEPT = 16  # times the stalled call, at most: how long the better way is kept


class Sharing:
    """Whether each thread works alone, as the calls so far have shown."""

    alone: bool
    trying: bool
    until: float
    stalled: float
    length: float
    took: float
    worked: float
    kept: float

    def __init__(self) -> None:
        self.alone = self.trying = False  # whether each thread works alone, and whether that is being tried
        self.until = 0.0  # seconds of the clock: until when the better way is kept
        self.stalled = self.length = 0.0  # the stalled call: its time in parts of what one thread needs, and in seconds
        self.took = self.worked = 0.0  # the trial, in seconds: by the clock, and on the processor
        self.kept = 1.0  # times the stalled call: how long what a trial finds is kept

    def pays(self) -> bool:
        """Whether the next call shall be shared."""
        if self.alone and not self.trying and time.monotonic() > self.until:
            self.alone = False
        return not self.alone

    def tell(self, threads: int, took: float, worked: float) -> None:
        """What a call took on some threads, in seconds, and for how many of them the calling thread worked."""
        if threads > 1:
            now = time.monotonic()
            if took > threads * worked and not self.trying and now > self.until:
                if now > self.until + KEPT * self.length:  # long after the one before
                    self.kept = 1.0
                self.stalled, self.length = took / (threads * max(worked, 1e-9)), took
                self.took = self.worked = 0.0
                self.alone = self.trying = True
        elif self.trying:
            self.took += took
            self.worked += worked
            if self.took > self.length:
                self.alone = self.took < self.stalled * self.worked
                self.trying, self.until = False, time.monotonic() + self.kept * self.length
                self.kept = min(2 * self.kept, KEPT)
