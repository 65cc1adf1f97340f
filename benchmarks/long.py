"""Long sequences: `python -m benchmarks.long`, peak memory and CPU time of a step, each in a process of its own.

"plain" and "recompute" are a layer's forward and backward, given y and dy; "fit" and "segments" two updates of
`lc.fit` on one batch, an LSTM with a linear head at every step (CPU seconds are those of the second alone).
"""

import resource
import subprocess
import sys
import time

import numpy as np

import lstmcore as lc
from benchmarks.machine import cli

JOBS = {"plain": "recompute", "fit": "segments"}  # the usual way -> the one in little memory
MIB = 2**20


def measure(job: str, T: int, B: int, I: int, H: int) -> tuple[float, float]:
    """CPU seconds of a step, and the peak of resident memory of this process in MiB."""
    x = np.random.default_rng(0).standard_normal((T, B, I), np.float32)
    took: list[float] = []
    if job in ("plain", "recompute"):
        layer = lc.LSTM(I, H, seed=1, recompute=job == "recompute")
        dy, cache = np.full((T, B, H), 0.001, np.float32), None
        for _ in range(2):
            before = time.process_time()
            _, _, cache = layer.forward(x, reuse=cache)
            layer.backward(dy, cache)
            took.append(time.process_time() - before)
    else:
        model = lc.Stack([lc.LSTM(I, H, seed=1), lc.Linear(H, 1, seed=2)])
        targets = np.zeros((T, B, 1), np.float32)

        class Clock(lc.Callback):
            def on_batch(self, run: object) -> None:
                took.append(time.process_time())

        options = {"segments": True} if job == "segments" else {}
        clock = Clock()
        lc.fit(
            model, lc.squared_error, [(x, targets)], lc.Adam(), epochs=2, callbacks=[clock], progress=False, **options
        )
        took = [took[1] - took[0]]
    return took[-1], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MIB


def main(T: int = 100_000, B: int = 8, I: int = 64, H: int = 128, rounds: int = 1, job: str = "") -> None:
    """Measures all jobs, taking turns; or, with --job, one of them in this process."""
    if job:
        print(*measure(job, T, B, I, H))
        return
    sizes = ["--T", str(T), "--B", str(B), "--I", str(I), "--H", str(H)]
    print(f"T = {T:,}, B = {B}, I = {I}, H = {H}, float32; x alone has {T * B * I * 4 / MIB:.0f} MiB")
    for usual, little in JOBS.items():
        seen: dict[str, list[tuple[float, float]]] = {usual: [], little: []}
        for _ in range(rounds):
            for name in seen:
                command = [sys.executable, "-m", "benchmarks.long", *sizes, "--job", name]
                seconds, peak = subprocess.check_output(command, text=True).split()
                seen[name].append((float(seconds), float(peak)))
        for name, found in seen.items():
            print(f"{name:10} {np.median([s for s, _ in found]):8.2f} CPU s   peak {max(p for _, p in found):7.0f} MiB")
        ratios = [b[0] / a[0] for a, b in zip(seen[usual], seen[little])]
        print(f"{little} / {usual}: {np.median(ratios):.2f} of the time")


if __name__ == "__main__":
    cli(main)
