"""lstmcore against torch.nn.LSTM, forward and backward, and whole training steps: checked, then timed, then written.

The truth is torch.nn.LSTM in float64. lstmcore may be off by at most 4 times what torch is off in the same precision,
plus 8 eps: the rule of tests/test_same_for_all.py, with its reasons. What does not pass is not timed.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import cupy
import numpy as np
import torch

from benchmarks.gpu import step
from benchmarks.gpu.contestants import Contestant, Problem, Shape, errors, ours, torchs
from benchmarks.gpu.timing import race
from benchmarks.rows import append

SECONDS = 420
ROUNDS = 15
SHAPES = (
    Shape("count", 20, 1000, 1, 24),
    Shape("loop256", 31, 200, 21, 256, both=True),
    Shape("wide512", 128, 64, 512, 512),
    Shape("wide768", 1024, 16, 768, 768),
    Shape("wide1024", 256, 64, 1024, 1024),
    Shape("packed512", 128, 64, 512, 512, padded=True),
    Shape("packed24", 20, 1000, 1, 24, padded=True),
    Shape("middle128", 100, 64, 128, 128),
    Shape("middle160", 100, 64, 128, 160),
)
STEPS = (Shape("step", 20, 50, 1, 24), Shape("step1000", 20, 1000, 1, 24))  # whole training steps (step.py)
WALL_GOAL = 3.0  # of a whole training step: the wall time of torch's, step by step / that of ours, the better one
GOALS = {  # the ratio of device times that we want at least: (shape, precision) -> torch's time / ours
    ("count", "ieee"): 3.0,
    ("loop256", "tf32"): 3.0,
    ("wide512", "tf32"): 2.5,
    ("wide768", "tf32"): 2.5,
    ("wide1024", "tf32"): 1.1,
    ("packed512", "tf32"): 3.0,
}


class Row(NamedTuple):
    date: str
    gpu: str
    shape: str
    T: int
    B: int
    I: int
    H: int
    both: bool
    padded: bool
    precision: str
    contestant: str
    version: str
    rounds: int = 0
    device_ms: float | None = None
    device_q20: float | None = None
    device_q80: float | None = None
    wall_ms: float | None = None
    device_ratio: float | None = None  # the best of torch's / this one's, median over the rounds
    wall_ratio: float | None = None  # torch eager's / this one's
    error: float | None = None  # the largest of all arrays, against float64
    note: str = ""


def main(out: Path) -> int:
    started, rows = time.monotonic(), []
    duels = [(shape, "ieee") for shape in STEPS] + [(shape, p) for shape in SHAPES for p in shape.precisions]
    for k, (shape, precision) in enumerate(duels):
        left = SECONDS - (time.monotonic() - started)
        if left < 10:
            print(f"no time for {[f'{s.name} {p}' for s, p in duels[k:]]}")
            break
        found = duel(shape, precision, left / (len(duels) - k))
        append(out / "bench.csv", found)
        rows += found
        print("\n".join(map(line, found)), flush=True)
    text = report(rows)
    (out / "bench.txt").write_text(text, encoding="utf-8")
    print(text)
    return 1 if any(row.note.startswith("wrong") for row in rows) else 0


def duel(shape: Shape, precision: str, seconds: float) -> list[Row]:
    """One shape in one precision: everybody is checked, and those who are right are timed in turn."""
    if shape in STEPS:
        lesson = step.Lesson(shape)
        truth, makers = step.truth(lesson), step.makers(lesson)
    else:
        problem = Problem(shape)
        truth, makers = torchs(problem, "ieee", dtype=torch.float64).results(), passes(problem, precision)
    there: list[Contestant] = []
    notes: dict[str, str] = {}
    for name, make in makers:
        try:
            there.append(make())
        except (RuntimeError, ValueError) as error:  # torch and cuDNN raise both where they cannot record a graph
            notes[name] = f"absent: {str(error).splitlines()[0]}"
    off = {c.name: errors(c.results(), truth) for c in there}
    allowed = {name: 4 * value + 8 * np.finfo("float32").eps for name, value in off["torch eager"].items()}
    for c in there:
        wrong = [name for name, value in off[c.name].items() if not value <= allowed[name]]
        if wrong:
            notes[c.name] = f"wrong: {', '.join(f'{name} by {off[c.name][name]:.2g}' for name in wrong)}"
    right = [c for c in there if c.name not in notes]
    times = dict(zip([c.name for c in right], race([c.call for c in right], ROUNDS, seconds), strict=True))
    rivals = [np.array(times[name].device) for name in times if name.startswith("torch")]
    common = (
        datetime.now(UTC).isoformat(timespec="seconds"), gpu(), *shape[:7], precision,
    )  # fmt: skip
    rows = []
    for c in there:
        row = Row(*common, c.name, c.version, error=max(off[c.name].values()), note=notes.get(c.name, ""))
        if c.name in times:
            device, wall = (np.array(values) for values in times[c.name])
            row = row._replace(
                rounds=len(device),
                device_ms=float(np.median(device)),
                device_q20=float(np.quantile(device, 0.2)),
                device_q80=float(np.quantile(device, 0.8)),
                wall_ms=float(np.median(wall)),
                device_ratio=float(np.median(np.min(rivals, axis=0) / device)),
                wall_ratio=float(np.median(np.array(times["torch eager"].wall) / wall)),
            )
        rows.append(row)
    return rows + [Row(*common, name, "", note=note) for name, note in notes.items() if note.startswith("absent")]


def passes(problem: Problem, precision: str) -> list[tuple[str, Callable[[], Contestant]]]:
    return [
        ("torch eager", lambda: torchs(problem, precision)),
        ("torch graph", lambda: torchs(problem, precision, graph=True)),
        ("lstmcore", lambda: ours(problem, precision)),
        ("lstmcore recorded", lambda: ours(problem, precision, graph=True)),
    ]


def gpu() -> str:
    return cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()


def line(row: Row) -> str:
    times = "" if row.device_ms is None else f"{row.device_ms:9.4f} ms  wall {row.wall_ms:9.4f} ms"
    ratio = "" if row.device_ratio is None else f"  {row.device_ratio:5.2f} x  wall {row.wall_ratio:5.2f} x"
    error = "" if row.error is None else f"  error {row.error:.1e}"
    return f"{row.shape:>10} {row.precision}  {row.contestant:24} {times}{ratio}{error}  {row.note}".rstrip()


def report(rows: list[Row]) -> str:
    """The goals first: reached or not; then everything."""
    lines = ["goal: torch's best device time / lstmcore's, forward and backward"]
    for (shape, precision), goal in GOALS.items():
        got = [r.device_ratio for r in rows if (r.shape, r.precision) == (shape, precision) and _is_ours(r)]
        if not got or got[0] is None:
            lines.append(f"{shape:>10} {precision}  goal {goal} x  not measured")
        else:
            lines.append(
                f"{shape:>10} {precision}  goal {goal} x  {got[0]:.2f} x  {'ok' if got[0] >= goal else 'SHORT'}"
            )
    for shape in STEPS:
        walls = [r.wall_ratio for r in rows if r.shape == shape.name and _is_ours(r) and r.wall_ratio is not None]
        got = f"{max(walls):.2f} x  {'ok' if max(walls) >= WALL_GOAL else 'SHORT'}" if walls else "not measured"
        lines.append(f"{shape.name:>10} ieee  goal {WALL_GOAL} x of wall time, against torch step by step  {got}")
    slow = [r for r in rows if _is_ours(r) and r.precision == "ieee" and r.device_ratio and r.device_ratio < 1]
    lines += [f"{r.shape:>10} ieee is slower than torch: {r.device_ratio:.2f} x" for r in slow]
    return "\n".join([*lines, "", *map(line, rows), ""])


def _is_ours(row: Row) -> bool:
    return row.contestant.startswith("lstmcore")
