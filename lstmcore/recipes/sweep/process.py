"""A trial's process, seen from the sweep that started it."""

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from lstmcore.arrays import Plain
from lstmcore.recipes.child import same_package
from lstmcore.train.callbacks import epoch_files as records

LOG = "log.txt"
LOOK = 1.0  # seconds between two looks at how far it is
LAUNCHERS = ("PMI_", "PMIX_", "OMPI_", "MPI_", "HYDI_", "HYDRA_")  # what MPI's say to a rank: a trial is none
LIBRARIES = ("OMP", "OPENBLAS", "MKL", "NUMBA", "VECLIB")


class Process:
    """Starts worker.py, which does the trial that `words` tell and writes into `folder`, where it also keeps its log.

    It gets as many threads as it is told; it has a session of its own, so that Ctrl-C is for its parent alone; and it
    ends with its parent, however that ends, for then its standard input does.
    """

    folder: Path
    stopped: bool

    def __init__(self, words: Plain, folder: Path, threads: int):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self._began, self._took = folder, time.perf_counter(), 0.0
        self._epochs = int(words["options"]["epochs"])
        self._looked, self._before, self._done = 0.0, self._recorded(), 0
        limits = {f"{library}_{'MAXIMUM' if library == 'VECLIB' else 'NUM'}_THREADS": str(threads)
                  for library in LIBRARIES}  # fmt: skip
        given = same_package() | limits
        with open(folder / LOG, "wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "lstmcore.recipes.sweep.worker", str(folder)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={name: v for name, v in os.environ.items() if not name.startswith(LAUNCHERS)} | given,
                start_new_session=True,
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),  # the same on Windows
            )
        assert self._process.stdin is not None
        self._stdin = self._process.stdin
        with contextlib.suppress(BrokenPipeError):  # it died already; `failure` tells
            self._stdin.write(json.dumps(words).encode() + b"\n")
            self._stdin.flush()
        self.stopped = False

    @property
    def ended(self) -> bool:
        """Whether it is over."""
        if self._process.poll() is None:
            return False
        self._close()
        return True

    @property
    def seconds(self) -> float:
        """How long it took, or has taken so far."""
        return self._took or time.perf_counter() - self._began

    @property
    def seconds_left(self) -> float | None:
        """By the epochs that it has recorded since it began; None before the first of them."""
        if self.seconds > self._looked + LOOK:
            self._looked, self._done = self.seconds, self._recorded() - self._before
        if self._done < 1:
            return None
        return max(0.0, self._looked * (self._epochs - self._before) / self._done - self.seconds)

    def _recorded(self) -> int:
        """Epochs, those of an earlier process that was killed among them."""
        return sum(len(path.read_bytes().splitlines()) for path in self.folder.rglob(records.FILES[0]))

    @property
    def failure(self) -> str:
        """Why there is no result, in a line; empty if there is one. Only for a process that has ended."""
        code = self._process.returncode
        if code == 0:
            return ""
        if self.stopped:
            return "interrupted"
        if code < 0:
            hint = " (out of memory?)" if code == -9 else ""  # SIGKILL, the kernel's way
            return f"its process was killed by signal {-code}{hint}"
        lines = (self.folder / LOG).read_text(encoding="utf-8", errors="replace").splitlines()
        return lines[-1] if lines else f"its process ended with code {code}"

    def stop(self) -> None:
        """Ends it now."""
        self.stopped = self._process.poll() is None
        self._process.kill()
        self._process.wait()
        self._close()

    def _close(self) -> None:
        self._took = self._took or time.perf_counter() - self._began
        with contextlib.suppress(BrokenPipeError):  # it never read its orders
            self._stdin.close()
