"""An engine held to the whole pack: in a process of its own, with limits of time; every case gets its verdict."""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lstmcore.arrays import Plain
from lstmcore.debug.certify.pack import HERE, read_pack
from lstmcore.debug.certify.verdict import Verdict, one_line

START, EACH = 180.0, 120.0  # seconds that an engine may take to begin, and for a case
FALLS, HANGS = 20, 3  # of its process, and cases without an answer: then the other cases are given up
WORKER = "import sys; sys.path.append(sys.argv.pop(1)); from lstmcore.debug.certify.worker import main; main()"
BAD = ("ignored", "wrong", "crash")


@dataclass(frozen=True)
class Score:
    """What came of an engine."""

    engine: str
    version: str
    dtype: str
    verdicts: list[Verdict]
    seconds: float

    def count(self, verdict: str) -> int:
        """How many cases have a verdict."""
        return sum(v.verdict == verdict for v in self.verdicts)

    @property
    def judged(self) -> list[Verdict]:
        """Cases that say something about the engine."""
        return [v for v in self.verdicts if v.verdict not in ("refused", "ambiguous")]

    @property
    def bad(self) -> list[Verdict]:
        """Cases in which the numbers are wrong, or there are none."""
        return [v for v in self.verdicts if v.verdict in BAD]

    def unexpected(self, expected: Mapping[str, str]) -> list[str]:
        """Where it is not as expected (case -> verdict; "agree", "refused" and "ambiguous" need not be told)."""
        said = {v.case: v.verdict for v in self.verdicts}
        new = [f"{v.case}: {v.verdict}, {v.words}" for v in self.bad if expected.get(v.case) != v.verdict]
        gone = [
            f"{case}: {said[case]}; {verdict} was expected, take it out of the file"
            for case, verdict in expected.items()
            if case in said and said[case] != verdict and said[case] not in BAD
        ]
        return new + gone


class CannotBegin(ValueError):
    """The engine is not installed, or there is none of that name."""


def certify(
    name: str,
    dtype: str = "",
    index: Path = HERE,
    only: Sequence[str] = (),
    python: str = sys.executable,
    watch: Callable[[int, int, Verdict], None] = lambda done, total, verdict: None,
    seconds: float = EACH,
) -> Score:
    """Runs an engine over the cases of the pack (those whose names hold one of the words of `only`).

    name: see engines. python: another interpreter, in which the engine is installed and NumPy and safetensors are.
    dtype: see engines. watch: is called after every case. A case that takes longer than `seconds`, or takes the process
    with it, is a crash; the engine is started anew for the next. Raises CannotBegin.
    """
    began = time.perf_counter()
    left = [case for case in read_pack(index) if not only or any(word in case for word in only)]
    total, verdicts, version, falls, hangs = len(left), [], "", 0, 0
    if not left:
        raise CannotBegin(f"no case has any of {', '.join(only)} in its name")
    while left:
        child = _Child(name, dtype, index, python)
        try:
            first = child.answer(START)
            if "error" in first:
                raise CannotBegin(f"{name}: {first['error']}")
            version, dtype = first["version"], first["dtype"]
            while left:
                child.ask(left[0])
                told = child.answer(seconds)
                verdict = _verdict(told) if "case" in told else Verdict(left[0], "crash", told["error"])
                verdicts.append(verdict)
                watch(len(verdicts), total, verdict)
                left.pop(0)
                if "case" not in told:
                    falls, hangs = falls + 1, hangs + ("hangs" in told)
                    break
        finally:
            child.end()
        if falls == FALLS or hangs == HANGS:
            why = f"gave no answer {HANGS} times" if hangs == HANGS else f"fell {FALLS} times"
            verdicts += [Verdict(case, "crash", f"not tried: its process {why}") for case in left]
            left = []
    return Score(name, version, dtype, verdicts, time.perf_counter() - began)


def _verdict(told: Plain) -> Verdict:
    lists = {name: tuple(told[name]) for name in ("wrong", "missing")}  # JSON has lists alone
    return Verdict(**{**told, **lists})


class _Child:
    """The worker, seen from here."""

    def __init__(self, name: str, dtype: str, index: Path, python: str):
        backend = {"KERAS_BACKEND": name.split(":")[1]} if name.startswith("keras:") else {}
        home = str(Path(__file__).parents[3])  # where another interpreter finds lstmcore
        self._process = subprocess.Popen(
            [python, "-c", WORKER, home, name, dtype, str(index)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            env=os.environ | backend,
            start_new_session=True,  # so that what it starts ends with it
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._said: list[str] = []  # on standard error, the last lines
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._read_answers, self._read_errors)]
        for thread in self._threads:
            thread.start()

    def ask(self, case: str) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # it fell; `answer` tells
            self._process.stdin.write(case + "\n")
            self._process.stdin.flush()

    def answer(self, seconds: float) -> Plain:
        """The next line of the worker; {"error": why} if there is none."""
        try:
            line = self._lines.get(timeout=seconds)
        except queue.Empty:
            return {"error": f"no answer within {seconds:g} s", "hangs": True}
        if line is not None:
            return json.loads(line)
        code = self._process.wait()
        self._threads[1].join(timeout=5)
        why = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        return {"error": f"its process {why}" + "".join(f": {one_line(line)}" for line in self._said[-1:])}

    def end(self) -> None:
        with contextlib.suppress(OSError, AttributeError):  # it is gone; Windows has no groups
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()
        self._process.wait()
        for thread in self._threads:
            thread.join(timeout=5)
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            with contextlib.suppress(OSError):  # what was asked last was never read
                pipe.close()  # type: ignore[union-attr]

    def _read_answers(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._said = [*self._said[-4:], line.strip()]
