"""What a training costs on ranks: `python -m benchmarks.ranks [--out benchmarks/results/ranks.csv]`.

The same job in turns, each in a process of its own: plain `fit` on two threads, one rank on two threads, two ranks on
one thread each; sums in MPI's order and exact. A row holds the median of the updates' times after the first three.
"""

import argparse
import csv
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.shapes import SHAPES

WAYS = {  # ranks, threads of each, and how the sums are made; None: no Ranks at all
    "plain": (1, 2, None),
    "1 rank": (1, 2, False),
    "2 ranks": (2, 1, False),
    "1 rank, exact": (1, 2, True),
    "2 ranks, exact": (2, 1, True),
}
COLUMNS = ("shape", "way", "ranks", "threads", "turn", "updates", "ms")
WARM = 3  # updates, not timed


def job(name: str, updates: int, exact: bool | None) -> None:
    """One training; rank 0 prints the median of its updates in ms."""
    import numpy as np

    import lstmcore as lc

    shape, classes = SHAPES[name], 65
    rng = np.random.default_rng(0)
    x = rng.standard_normal((shape.T, shape.B, shape.I)).astype("float32")
    targets = rng.integers(0, classes, (shape.T, shape.B))
    model = lc.Stack([lc.LSTM(shape.I, shape.H, seed=0), lc.Linear(shape.H, classes, seed=1)])
    ranks = None
    if exact is not None:
        from mpi4py import MPI

        ranks = lc.Ranks(MPI.COMM_WORLD, exact=exact)
    ends: list[float] = []

    class Clock(lc.Callback):
        def on_batch(self, run: object) -> None:
            ends.append(time.perf_counter())

    batches = [(x, targets)] * (WARM + updates)
    lc.fit(model, lc.softmax_cross_entropy, batches, lc.Adam(), epochs=1, clip=1.0, rng=0, callbacks=[Clock()],
           progress=False, ranks=ranks)  # fmt: skip
    if ranks is None or ranks.rank == 0:
        print(1000 * statistics.median(b - a for a, b in zip(ends[WARM - 1 :], ends[WARM:])))


def timed(name: str, way: str, updates: int) -> float:
    ranks, threads, exact = WAYS[way]
    command = [sys.executable, "-m", "benchmarks.ranks", "--job", name, str(updates), str(exact)]
    launcher = [Path(sys.executable).with_name("mpiexec"), "-n", str(ranks)] if exact is not None else []
    environment = os.environ | {"NUMBA_NUM_THREADS": str(threads)}
    done = subprocess.run([*launcher, *command], check=True, capture_output=True, text=True, env=environment)
    return float(done.stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="benchmarks/results/ranks.csv")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--updates", type=int, default=15)
    parser.add_argument("--job", nargs=3, help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.job is not None:
        job(told.job[0], int(told.job[1]), {"None": None, "True": True, "False": False}[told.job[2]])
        return
    with open(told.out, "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(COLUMNS)
        for name in ("loop256", "char512"):
            times: dict[str, list[float]] = {way: [] for way in WAYS}
            for turn in range(told.turns):
                for way, (ranks, threads, _) in WAYS.items():
                    times[way].append(timed(name, way, told.updates))
                    rows.writerow([name, way, ranks, threads, turn, told.updates, f"{times[way][-1]:.3f}"])
                    file.flush()
            for way in WAYS:
                speed = statistics.median(a / b for a, b in zip(times["plain"], times[way]))
                print(f"{name:8} {way:14} {statistics.median(times[way]):8.1f} ms, {speed:.2f} of the plain speed")


if __name__ == "__main__":
    main()
