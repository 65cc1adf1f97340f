"""The small steps that the page opens with: one for each cell, four steps long, two units wide."""

from typing import NamedTuple

import numpy as np

from lstmcore.debug.explain.graph import Step
from lstmcore.ops.cells import CELLS, Cell, variant

T, I, H = 4, 1, 2


class Example(NamedTuple):
    """A cell, and what the page calls it."""

    title: str
    cell: Cell


EXAMPLES = {
    "lstm": Example("LSTM", CELLS["lstm"]),
    "gru": Example("GRU", CELLS["gru"]),
    "rnn": Example("plain RNN", CELLS["rnn"]),
    "lstm-peepholes": Example("LSTM with peepholes", variant(CELLS["lstm"], peepholes=True)),
}


def example(cell: Cell, masked: bool = False) -> Step:
    """Weights, inputs and targets with two decimals, as a person would write them down. The initial state is zero.

    masked: step 2 is padding.
    """
    rng = np.random.default_rng(6)

    def some(*shape: int, size: float = 1.0) -> np.ndarray:
        return np.round(size * rng.uniform(-1, 1, shape), 2) + 0.0

    x, targets = some(T, 1, I, size=1.5), some(T, 1, H, size=0.8)
    params = {"W_ih": some(I, len(cell.input_blocks) * H), "W_hh": some(H, len(cell.recurrent_blocks) * H)}
    for name, blocks in cell.biases.items():
        starts = np.repeat([cell.initial_biases.get(cell.gates[k], 0.0) for k in blocks], H)
        params[name] = some(len(starts), size=0.3) + starts
    mask = np.arange(T)[:, None] != 2 if masked else None
    return Step(params, x, tuple(np.zeros((1, H)) for _ in cell.states), mask, targets)
