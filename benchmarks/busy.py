"""Threads that meet on a busy machine: `python -m benchmarks.busy`, two threads against one beside other processes.

Forward and backward of one row, whose 256 units are shared, so that the threads meet after every step. One and more
threads take turns of half a second. The neighbours are processes that do nothing but count.
"""

import os
import subprocess
import sys
import time
from typing import Annotated

import numba
import numpy as np
import typer

import lstmcore as lc
from benchmarks.machine import cli

NEIGHBOUR = "import os\nwhile os.getppid() == {parent}: sum(range(100_000))"  # none is left over
TURN = 0.5  # seconds
T, B, I, H = 100, 1, 64, 256


def turns(threads: int, rounds: int) -> dict[int, list[list[float]]]:
    """Milliseconds of each call of each turn, by the number of threads."""
    layer, x = lc.LSTM(I, H, seed=0), np.random.default_rng(0).standard_normal((T, B, I)).astype("float32")
    times: dict[int, list[list[float]]] = {1: [], threads: []}
    for _ in range(rounds):
        for count, of_count in times.items():
            numba.set_num_threads(count)
            of_count.append([])
            end = time.perf_counter() + TURN
            while time.perf_counter() < end:
                start = time.perf_counter()
                y, _, cache = layer.forward(x)
                layer.backward(y, cache)
                of_count[-1].append(1e3 * (time.perf_counter() - start))
    return times


def command(
    neighbours: Annotated[str, typer.Option(help="How many processes beside, with commas between.")] = "0,2",
    threads: Annotated[int, typer.Option(min=2, help="Against one.")] = 2,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each.")] = 20,
) -> None:
    """Times of forward + backward in ms, of one thread and of more, beside busy processes."""
    turns(threads, 1)  # compiles
    print("| neighbours | threads | median, ms | mean | 90 % | longest | mean / mean of one |\n|" + " ---: |" * 7)
    for beside in map(int, neighbours.split(",")):
        code = NEIGHBOUR.format(parent=os.getpid())
        processes = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(beside)]
        try:
            times = {count: np.concatenate(calls) for count, calls in turns(threads, rounds).items()}
        finally:
            for process in processes:
                process.kill()
                process.wait()
        for count, all_calls in times.items():
            figures = np.median(all_calls), all_calls.mean(), np.quantile(all_calls, 0.9), all_calls.max()
            ratio = all_calls.mean() / times[1].mean()
            print(f"| {beside} | {count} | " + " | ".join(f"{ms:.1f}" for ms in figures) + f" | {ratio:.2f} |")


if __name__ == "__main__":
    cli(command)
