"""What a training costs on ranks: `python -m benchmarks.ranks`, some five minutes on two cores that do nothing else.

The same job in turns, each in processes of their own: plain `fit` and one rank on two threads, two ranks on one thread
each; sums as by default and exact; and, for the picture, one thread alone, and two ranks with twice the rows. A row
holds the median of the updates' times after the first two. `--shapes` names shapes as in a race. `--report` draws the
picture anew from the rows: how the time grows with the ranks, measured where there are rows, beyond them by a model.
"""

import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from benchmarks.machine import cli, cores, now, processor
from benchmarks.rows import Ranked, append, read
from benchmarks.shapes import SHAPES, choose

WARM = 2  # updates, not timed
UPDATES = {"char512": 6}  # 20 elsewhere
CLASSES = 65
RESULTS = Path(__file__).parent / "results"


class Way(NamedTuple):
    ranks: int | None  # None: no Ranks at all
    threads: int
    exact: bool | None = None
    times: int = 1  # the rows


WAYS = {
    "plain": Way(None, 2),
    "1 rank": Way(1, 2),
    "2 ranks": Way(2, 1),
    "1 rank, exact": Way(1, 2, True),
    "2 ranks, exact": Way(2, 1, True),
    "alone": Way(None, 1),
    "2 ranks, twice the rows": Way(2, 1, None, 2),
}
LINKS = {"2 us, 10 GB/s": (2e-6, 10e9), "30 us, 1.1 GB/s": (30e-6, 1.1e9)}  # latency, bandwidth


def exchange(ranks: int, parameters: int, latency: float, bandwidth: float) -> float:
    """Seconds of the best that an MPI's sum of float32 gradients does (Thakur et al. 2005, section 4): 2 log2 N
    messages, and every byte sent and received less than twice."""
    if ranks == 1:
        return 0.0
    return 2 * math.ceil(math.log2(ranks)) * latency + 2 * (ranks - 1) / ranks * 4 * parameters / bandwidth


def weak(ranks: int, work: float, parameters: int, latency: float, bandwidth: float) -> float:
    """The part of an update that is work, where each rank has rows that take `work` seconds."""
    return work / (work + exchange(ranks, parameters, latency, bandwidth))


def strong(ranks: int, work: float, parameters: int, latency: float, bandwidth: float) -> float:
    """Likewise, where all of them share those rows: the speed, over that of one rank, over the ranks."""
    return work / ranks / (work / ranks + exchange(ranks, parameters, latency, bandwidth))


def train(name: str, way: Way) -> None:
    """One training; the first rank prints the number of parameters and the median of its updates in ms."""
    import numpy as np

    import lstmcore as lc

    shape = SHAPES[name]
    rng, B = np.random.default_rng(0), shape.B * way.times
    x = rng.standard_normal((shape.T, B, shape.I)).astype("float32")
    targets = rng.integers(0, CLASSES, (shape.T, B))
    model = lc.Stack([lc.LSTM(shape.I, shape.H, seed=0), lc.Linear(shape.H, CLASSES, seed=1)])
    ranks = None
    if way.ranks is not None:
        from mpi4py import MPI

        ranks = lc.Ranks(MPI.COMM_WORLD, way.exact)
    ends: list[float] = []

    class Clock(lc.Callback):
        def on_batch(self, run: object) -> None:
            ends.append(time.perf_counter())

    batches = [(x, targets)] * (WARM + updates(name))
    lc.fit(model, lc.softmax_cross_entropy, batches, lc.Adam(), epochs=1, clip=1.0, rng=0, callbacks=[Clock()],
           progress=False, ranks=ranks)  # fmt: skip
    if ranks is None or ranks.first:
        took = [b - a for a, b in zip(ends[WARM - 1 :], ends[WARM:])]
        print(json.dumps([sum(w.size for w in model.params.values()), 1000 * statistics.median(took)]))


def measure(name: str, label: str, turn: int) -> Ranked:
    """A row, from processes of its own."""
    way, shape = WAYS[label], SHAPES[name]
    command = [sys.executable, "-m", "benchmarks.ranks", "--job", json.dumps([name, label])]
    launcher = [Path(sys.executable).with_name("mpiexec"), "-n", str(way.ranks)] if way.ranks is not None else []
    environment = os.environ | {"NUMBA_NUM_THREADS": str(way.threads)}
    done = subprocess.run([*launcher, *command], check=True, stdout=subprocess.PIPE, text=True, env=environment)
    parameters, ms = json.loads(done.stdout.splitlines()[-1])
    return Ranked(
        now(), processor(), cores(), version("lstmcore"), f"mpi4py {version('mpi4py')}, mpich {version('mpich')}", name,
        shape.T, shape.B * way.times, shape.I, shape.H, parameters, label, way.ranks or 1, way.threads, turn,
        updates(name), ms,
    )  # fmt: skip


def updates(name: str) -> int:
    """How many are timed of one training at this shape."""
    return UPDATES.get(name, 20)


def ratio(rows: Iterable[Ranked], shape: str, way: str, base: str) -> float:
    """The speed of one way over that of another, the median over the turns."""
    ms = {(row.way, row.turn): row.ms for row in rows if row.shape == shape}
    return statistics.median(ms[base, turn] / took for (label, turn), took in ms.items() if label == way)


def draw(rows: list[Ranked], path: Path) -> None:
    """Weak and strong scaling: the rows as dots, the model as lines. Raises ImportError without matplotlib."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.2), layout="constrained")
    numbers = [2**k for k in range(11)]
    models: list[tuple[str, Callable[[int, float, int, float, float], float], str, float]] = [
        ("weak: a batch for each rank", weak, "2 ranks, twice the rows", 1.0),
        ("strong: one batch for all", strong, "2 ranks", 0.5),
    ]
    for axes, (title, model, way, each) in zip(figure.subplots(1, 2, sharey=True), models):
        for k, shape in enumerate(dict.fromkeys(row.shape for row in rows)):
            own = [row for row in rows if row.shape == shape]
            work = statistics.median(row.ms for row in own if row.way == "alone") / 1000
            most = max(numbers) if model is weak else own[0].B
            for style, (words, link) in zip(("-", "--"), LINKS.items()):
                here = [n for n in numbers if n <= most]
                values = [model(n, work, own[0].parameters, *link) for n in here]
                axes.plot(here, values, style, color=f"C{k}", lw=1, label=f"{shape}, model: {words}")
            found = ratio(rows, shape, way, "alone") * each
            axes.plot([1, 2], [1, found], "o", color=f"C{k}", label=f"{shape}, measured")
        axes.set(xscale="log", xlabel="ranks, of one thread each", title=title, ylim=(0, None))
    figure.axes[0].set_ylabel("work / time of an update")
    figure.axes[0].legend(fontsize="small", loc="lower left")
    figure.suptitle(f"dots: measured on {rows[-1].machine}, {rows[-1].cores} cores; lines: a model")
    figure.savefig(path, dpi=110)


def main(
    out: Path = RESULTS / "ranks.csv",
    turns: int = 3,
    shapes: str = "loop256,char512",
    report: bool = False,
    job: str = "",
) -> None:
    """Measures, writes the rows, prints the ratios and draws the picture beside the rows."""
    if job:
        name, label = json.loads(job)
        train(name, WAYS[label])
        return
    if not report:
        out.unlink(missing_ok=True)
        for turn in range(turns):
            for name in choose(shapes):
                for label in WAYS:
                    append(out, [measure(name, label, turn)])
    rows = read(out, Ranked)
    for name in dict.fromkeys(row.shape for row in rows):
        for label in WAYS:
            base = "alone" if WAYS[label].threads * (WAYS[label].ranks or 1) == 1 or WAYS[label].times > 1 else "plain"
            ms = statistics.median(row.ms for row in rows if (row.shape, row.way) == (name, label))
            print(f"{name:8} {label:24} {ms:8.1f} ms, {ratio(rows, name, label, base):.2f} of the speed of {base!r}")
    draw(rows, out.with_suffix(".png"))


if __name__ == "__main__":
    cli(main)
