"""An optimizer's step, against PyTorch's: `python -m benchmarks.optimizers`, rows in results/optimizers.csv.

Both move the same numbers with the same gradients, one parameter of so many float32 numbers, in turns. From 2e6 numbers
on memory is what takes the time: `bytes` counts what a rule reads and writes of each number.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NamedTuple

import numba
import numpy as np
import torch
import typer

import lstmcore as lc
from benchmarks import machine, rows
from benchmarks.machine import cli
from lstmcore.train.update.optimizer import Optimizer

TURN = 0.02  # seconds
LR = 1e-3
RULES: dict[str, tuple[Callable[[], Optimizer], Callable[..., torch.optim.Optimizer]]] = {
    "SGD": (lambda: lc.SGD(LR), lambda p: torch.optim.SGD(p, LR)),
    "Momentum": (lambda: lc.Momentum(LR, 0.9), lambda p: torch.optim.SGD(p, LR, momentum=0.9)),
    "Nesterov": (lambda: lc.Nesterov(LR, 0.9), lambda p: torch.optim.SGD(p, LR, momentum=0.9, nesterov=True)),
    "Adagrad": (lambda: lc.Adagrad(LR), lambda p: torch.optim.Adagrad(p, LR)),
    "RMSProp": (lambda: lc.RMSProp(LR), lambda p: torch.optim.RMSprop(p, LR)),
    "Adam": (lambda: lc.Adam(LR), lambda p: torch.optim.Adam(p, LR)),
    "AdamW": (lambda: lc.AdamW(LR), lambda p: torch.optim.AdamW(p, LR)),
}


class Update(NamedTuple):
    """One rule on one parameter."""

    date: str  # UTC, ISO 8601
    machine: str
    threads: int
    rule: str
    numbers: int
    version: str
    torch: str
    rounds: int
    ns: float  # per number, median over the rounds
    gigabytes: float  # per second: what the rule must read and write, at the median
    torch_ns: float
    ratio: float  # torch's time / lstmcore's, median over the rounds
    ratio_q20: float
    ratio_q80: float
    apart: float  # the largest difference of the weights after all steps, in eps of the largest weight


def turns(rule: str, numbers: int, rounds: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Seconds per step of every round, of lstmcore and of torch; how far apart their weights are at the end."""
    rng = np.random.default_rng(0)
    w, dw = rng.standard_normal((2, numbers)).astype("float32")
    ours, theirs = RULES[rule]
    params, parameter = {"w": w.copy()}, torch.nn.Parameter(torch.from_numpy(w.copy()))
    parameter.grad = torch.from_numpy(dw.copy())
    opt, other = ours(), theirs([parameter])
    steps: tuple[Callable[[], object], ...] = (lambda: opt.step(params, {"w": dw}), other.step)
    for step in steps:
        step()  # compiles, makes the memory
    start = time.perf_counter()
    for step in steps:  # both go equally far
        step()
    calls = max(1, int(2 * TURN / (time.perf_counter() - start)))
    seconds = np.empty((rounds, 2))
    for turn in seconds:
        for k, step in enumerate(steps):
            start = time.perf_counter()
            for _ in range(calls):
                step()
            turn[k] = (time.perf_counter() - start) / calls
    apart = np.abs(params["w"] - parameter.detach().numpy()).max() / np.abs(params["w"]).max()
    return seconds[:, 0], seconds[:, 1], float(apart / np.finfo("float32").eps)


def command(
    numbers: Annotated[str, typer.Option(help="Of the parameter, with commas between.")] = "1e4,2e5,2e6,2e7",
    threads: Annotated[int, typer.Option(min=1, help="Of both.")] = 2,
    rounds: Annotated[int, typer.Option(min=3, help="Turns of each.")] = 15,
    out: Annotated[Path, typer.Option(help="Rows are added to this file.")] = Path("benchmarks/results/optimizers.csv"),
) -> None:
    """Nanoseconds per number of every rule, and torch's time over that."""
    numba.set_num_threads(threads)
    torch.set_num_threads(threads)
    print("| rule | numbers | ns | GB/s | torch, ns | torch / lstmcore | eps apart |\n| :--- |" + " ---: |" * 6)
    found = []
    for count in (int(float(n)) for n in numbers.split(",")):
        for rule, (ours, _) in RULES.items():
            own, other, apart = turns(rule, count, rounds)
            ns, torch_ns = 1e9 * float(np.median(own)) / count, 1e9 * float(np.median(other)) / count
            moved = 4 * (3 + 2 * len(ours().slots)) / ns  # w and slots read and written, dw read
            low, middle, high = map(float, np.quantile(other / own, (0.2, 0.5, 0.8)))
            print(
                f"| {rule} | {count} | {ns:.2f} | {moved:.1f} | {torch_ns:.2f} | {middle:.2f} | {apart:.1f} |",
                flush=True,
            )
            found.append(
                Update(
                    machine.now(), machine.processor(), threads, rule, count, lc.__version__, torch.__version__, rounds,
                    ns, moved, torch_ns, middle, low, high, apart,
                )
            )  # fmt: skip
    rows.append(out, found)


if __name__ == "__main__":
    cli(command)
