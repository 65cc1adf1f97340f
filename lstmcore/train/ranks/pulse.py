"""Signs of life among ranks: nobody waits for ever for one that stands still."""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

PATIENCE = 60.0  # seconds
EVERY = 0.5  # seconds from one sign to the next
DYING = 10.0  # seconds that MPI is given to end all
LIFE, END = b"l", b"e"


class Pulse:
    """While it beats, a thread of each rank sends a sign of life to the next one, around the ring, by messages of MPI
    on a communicator of its own; a rank that hears none for `patience` seconds says so and ends all.

    Time is counted in one's own signs, not by the clock: who has been stopped, or asleep with the whole machine, has
    missed nothing meanwhile. None as patience, one rank, or an MPI that is not for several threads: nothing is done.
    """

    def __init__(self, comm: Any, patience: float | None):
        self.comm: Any = comm
        self.patience: float | None = patience
        self._own: Any = None  # its communicator
        self._beats = False
        self._turn = 0  # which training of this communicator it is: late signs of the last one are not for this one

    @contextmanager
    def beating(self) -> Iterator[None]:
        """While what stands inside lasts; once, where it beats already."""
        if (
            self._beats
            or self.patience is None
            or self.comm.size == 1
            or not hasattr(self.comm, "Dup")
            or not _many_threads()
        ):
            yield
            return
        if self._own is None:
            self._own = self.comm.Dup()
        self._turn += 1
        over = threading.Event()
        thread = threading.Thread(target=self._beat, args=(self.patience, self._turn, over), daemon=True)
        thread.start()
        self._beats = True
        try:
            yield
        finally:
            self._beats = False
            over.set()
            thread.join()

    def _beat(self, patience: float, turn: int, over: threading.Event) -> None:
        comm, size = self._own, self._own.size
        before, after = (comm.rank - 1) % size, (comm.rank + 1) % size
        sending, heard, silent, gone = None, bytearray(1), 0, False
        while True:
            ended = over.wait(EVERY)
            if sending is None or sending.Test():
                sending = comm.Isend(bytearray(END if ended else LIFE), after, turn)
            if ended:
                return
            silent += 1
            while not gone and comm.Iprobe(before, turn):
                comm.Recv(heard, before, turn)
                silent, gone = 0, bytes(heard) == END
            if not gone and silent * EVERY > patience:
                end_all(comm, f"rank {before} of {size} has given no sign of life for {patience:g} s (stopped, or cut "
                        "off?), so all end; what was saved last stands.")  # fmt: skip


def end_all(comm: Any, words: str) -> None:
    """Ends all ranks, this one in any case."""
    print(f"lstmcore: {words}", file=sys.stderr, flush=True)
    last = threading.Timer(DYING, os._exit, (1,))
    last.daemon = True
    last.start()
    comm.Abort(1)
    last.cancel()


def _many_threads() -> bool:
    from mpi4py import MPI

    return MPI.Query_thread() == MPI.THREAD_MULTIPLE
