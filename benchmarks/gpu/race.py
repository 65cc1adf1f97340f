"""The same call again and again, with threads that dawdle at random: every bit must stay the same.

A kernel that owes its result to a lucky order of threads or blocks gives another one sooner or later. And NVIDIA's
compute-sanitizer, where it is there, looks for wrong addresses, shared memory read too early and wrong barriers.
"""

import csv
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cupy
import numpy as np

from lstmcore.ops.cells import lstm
from lstmcore.ops.gpu.cupy_machine import Gpu
from lstmcore.ops.recurrence.directions import Backward, Forward
from lstmcore.ops.recurrence.gpu.fused import FusedGpu

SECONDS = 240  # for all repeats; the sanitizers take the rest
REPEATS = 1000
SANITIZERS = ("memcheck", "racecheck", "synccheck")
SANITIZER_SECONDS = 60  # each
FOUND = 77  # the exit code of a sanitizer that found something


class Case(NamedTuple):
    T: int
    B: int
    I: int
    H: int
    masked: bool
    precision: str = "ieee"
    directions: int = 1  # in one launch


CASES = (
    Case(20, 100, 1, 24, False),
    Case(20, 100, 1, 24, True, directions=2),
    Case(20, 33, 12, 37, True),
    Case(31, 40, 21, 64, True),
    Case(31, 40, 21, 64, True, "tf32", directions=2),
    Case(31, 200, 21, 256, False, directions=2),
    Case(31, 200, 21, 256, True, "tf32"),
    Case(40, 64, 64, 512, True, "tf32"),
    Case(40, 16, 64, 768, False, "tf32"),
    Case(20, 5, 7, 1024, True),
)
SMALL = (
    Case(3, 5, 2, 7, True, directions=2),
    Case(3, 9, 12, 37, True),
    Case(3, 9, 5, 64, True, "tf32", directions=2),
    Case(2, 3, 2, 130, True),
)


class Call:
    """One forward, predict and backward pass on random numbers, every second direction in flipped time."""

    def __init__(self, case: Case):
        rng = np.random.default_rng(0)

        def normal(*shape: int) -> cupy.ndarray:
            return cupy.asarray(rng.normal(size=shape).astype("float32"))

        T, B, I, H = case[:4]
        x, mask = normal(T, B, I), cupy.asarray(rng.random((T, B)) < 0.7) if case.masked else None
        self.inputs, self.upstream = [], []
        for k in range(case.directions):
            params = {name: normal(*shape) / shape[0] ** 0.5 for name, shape in lstm.shapes(I, H).items()}
            state, dstate = ((normal(B, H), normal(B, H)) for _ in range(2))
            flip = slice(None, None, -1 if k % 2 else 1)
            self.inputs.append(Forward(x[flip], params, state, None if mask is None else mask[flip]))
            self.upstream.append((normal(T, B, H)[flip], dstate, params))

    def results(self, engine: FusedGpu) -> tuple[str, list[cupy.ndarray]]:
        """The kernel family that ran, and every array that came out."""
        caches = engine.forward_all(lstm, tuple(self.inputs))
        arrays = [array for cache in caches for array in (cache.gates, *cache.states)]
        for y, last in engine.predict_all(lstm, tuple(self.inputs)):
            arrays += [y, *last]
        undone = tuple(Backward(*given, cache) for given, cache in zip(self.upstream, caches))
        for dx, dstate0, dparams in engine.backward_all(lstm, undone):
            arrays += [dx, *dstate0, *dparams.values()]
        return str(caches[0].private), arrays


def differences(case: Case, repeats: int, seconds: float) -> dict[str, object]:
    """Repeats a call with dawdling threads until it has its number or its time: how many words ever differed?"""
    call, device = Call(case), cupy.cuda.Device().id
    quiet, hunted = Gpu(device), Gpu(device, (("HUNT_RACES", 1),))
    family, wanted = call.results(FusedGpu("cupy", lambda: quiet, case.precision))
    engine, bad, nan = FusedGpu("cupy", lambda: hunted, case.precision), cupy.zeros((), "int64"), 0
    nan = sum(int(cupy.isnan(array).sum()) for array in wanted)
    started, done = time.monotonic(), 0
    while done < repeats and time.monotonic() - started < seconds:
        for array, want in zip(call.results(engine)[1], wanted, strict=True):
            words, before = (cupy.ascontiguousarray(a).view("uint32") for a in (array, want))
            bad += (words != before).sum()
        done += 1
        if done % 20 == 0:
            cupy.cuda.Device().synchronize()
    return {
        **case._asdict(), "kernel": family, "repeats": done, "different_words": int(bad), "nan": nan,
        "seconds": round(time.monotonic() - started, 2),
    }  # fmt: skip


def sanitized(out: Path) -> Iterator[dict[str, object]]:
    """What each of NVIDIA's tools says of the small cases."""
    program = shutil.which("compute-sanitizer") or shutil.which("/usr/local/cuda/bin/compute-sanitizer")
    for tool in SANITIZERS:
        if program is None:
            yield {"tool": tool, "outcome": "compute-sanitizer is not here"}
            continue
        command = [program, "--tool", tool, "--error-exitcode", str(FOUND), sys.executable, "-m", __spec__.name]
        try:
            result = subprocess.run(command, capture_output=True, text=True, timeout=SANITIZER_SECONDS)
        except subprocess.TimeoutExpired:
            yield {"tool": tool, "outcome": f"not done in {SANITIZER_SECONDS} s"}
            continue
        (out / f"{tool}.log").write_text(result.stdout + result.stderr, encoding="utf-8")
        outcome = {0: "clean", FOUND: "found something"}.get(result.returncode, f"failed ({result.returncode})")
        yield {"tool": tool, "outcome": outcome}


def main(out: Path) -> int:
    rows = []
    for k, case in enumerate(CASES):
        left = SECONDS - sum(float(row["seconds"]) for row in rows)
        rows.append(differences(case, REPEATS, left / (len(CASES) - k)))
        print(rows[-1], flush=True)
        _write(out / "race.csv", rows)
    tools = []
    for row in sanitized(out):
        tools.append(row)
        print(row, flush=True)
        _write(out / "sanitizers.csv", tools)
    broken = [row for row in rows if row["different_words"] or row["nan"]]
    broken += [row for row in tools if str(row["outcome"]).startswith(("found", "failed"))]
    for row in broken:
        print("BROKEN:", row)
    return 1 if broken else 0


def _write(path: Path, rows: list[dict[str, object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":  # as a sanitizer runs it: every array in memory of its own, so that each end is watched
    cupy.cuda.set_allocator(None)
    for small in SMALL:
        outcome = differences(small, 2, SANITIZER_SECONDS)
        print(outcome)
        if outcome["different_words"] or outcome["nan"]:
            sys.exit(1)
