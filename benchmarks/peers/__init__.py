"""The same LSTM in several libraries: same weights, same inputs, same outputs. One file each.

Each module has a class `Peer(threads, variant)` with

    version              what it is, as it says itself
    modes                those it can run: "forward", "full", "train"
    forward(problem)     a `Job`: outputs, nothing kept for a backward pass
    full(problem)        a `Job`: outputs, then all gradients: dx, dW_ih, dW_hh, db
    trainer(problem, recipe)   a `Trainer`: the layer and its head, from the problem's weights
    writer(text)         torch and lstmcore only: the same for a character model, whose batches are `Piece`s

Each is given its data in the layout and the arrays that it likes best, before the clock runs. What it computes is
taken out by `Job.results`, after the clock: NumPy arrays with lstmcore's names and layouts.
A module that cannot be imported is an absent peer.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np

from benchmarks.problem import CHECKED, UPDATES, Problem

PEERS = {  # name: module, variant
    "torch": ("torch", ""),
    "jax": ("jax", ""),
    "tensorflow": ("tensorflow", ""),
    "tensorflow-xla": ("tensorflow", "xla"),
    "onnxruntime": ("onnxruntime", ""),
    "torch-bf16": ("torch", "bf16"),  # under autocast
}
USUAL = tuple(name for name in PEERS if name != "torch-bf16")  # those that compute in the dtype that is asked for


class Job(NamedTuple):
    call: Callable[[], Any]  # does the work once; returns when it is done
    results: Callable[[Any], dict[str, np.ndarray]]  # what `call` returned, as NumPy arrays by lstmcore's names


class Trainer(Protocol):
    """A model that learns: an LSTM, a linear head on each row's last output, softmax cross-entropy, clipping, Adam."""

    def place(self, batch: Any) -> Any:
        """A `Batch` in the library's own arrays."""

    def update(self, batch: Any) -> float:
        """One update from a placed batch: the loss before it."""

    def weights(self) -> dict[str, np.ndarray]:
        """The weights now, as NumPy arrays: lstmcore's names, and "head.W", "head.b"."""


def solve(peer: Any, problem: Problem, mode: str) -> dict[str, np.ndarray]:
    """A peer's numbers for a problem: those of one call, or in "train" the weights after a few updates."""
    if mode != "train":
        job = getattr(peer, mode)(problem)
        return job.results(job.call())
    trainer = peer.trainer(problem, CHECKED)
    batch = trainer.place(problem.batch)
    for _ in range(UPDATES):
        trainer.update(batch)
    return trainer.weights()
