"""Build a model from a few words and prove its gradients: the job behind `lstmcore check`."""

from typing import Literal, TypeAlias, get_args

import numpy as np

from lstmcore import debug, layers
from lstmcore.ops.cells import CELLS
from lstmcore.ops.losses import softmax_cross_entropy
from lstmcore.ops.recurrence import EngineName

Mask: TypeAlias = Literal["none", "right", "left", "gaps", "empty"]
Topology: TypeAlias = Literal["none", "interleaved", "towers"]


def model(
    cell: str,
    I: int,
    H: int,
    depth: int,
    bidirectional: str,
    dropout: float,
    classes: int,
    seed: int,
    engine: EngineName,
) -> layers.Layer:
    """A stack of `depth` recurrent layers, with dropout between them, and a linear head of `classes` outputs (0: none).

    bidirectional: "none"; "interleaved", each layer reads both directions of the one below (PyTorch); "towers", two
    independent stacks whose outputs are joined at the top (TensorFlow 1). Raises ValueError for an unknown word.
    """
    kind = layers.of_cell(CELLS[_one_of("cell", cell, tuple(CELLS))])
    _one_of("bidirectional", bidirectional, get_args(Topology))
    rng = np.random.default_rng(seed)

    def tower(directions: int) -> list[layers.Layer]:
        parts: list[layers.Layer] = []
        for k in range(depth):
            width = I if k == 0 else directions * H
            pair = [kind(width, H, seed=rng, engine=engine) for _ in range(directions)]
            parts.append(pair[0] if directions == 1 else layers.Bidirectional(pair[0], pair[1]))
            if dropout and k < depth - 1:
                parts.append(layers.Dropout(dropout))
        return parts

    if bidirectional == "towers":
        parts: list[layers.Layer] = [layers.Bidirectional(layers.Stack(tower(1)), layers.Stack(tower(1)))]
    else:
        parts = tower(2 if bidirectional == "interleaved" else 1)
    if classes:
        parts.append(layers.Linear(H if bidirectional == "none" else 2 * H, classes, seed=rng))
    return parts[0] if len(parts) == 1 else layers.Stack(parts)


def mask(pattern: str, T: int, B: int, seed: int) -> np.ndarray | None:
    """(T, B): rows of random length, padded at the right or at the left; random gaps; or right, with an empty row."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, T + 1, B)
    steps = np.arange(T)[:, None]
    return {
        "none": None,
        "right": steps < lengths,
        "left": steps >= T - lengths,
        "gaps": rng.random((T, B)) < 0.6,
        "empty": (steps < lengths) & (np.arange(B) > 0),
    }[_one_of("mask", pattern, get_args(Mask))]


def check(
    model: layers.Layer,
    T: int,
    B: int,
    I: int,
    pattern: str,
    *,
    classes: int = 0,
    seed: int = 0,
    directions: int | None = None,
    method: str = "complex",
) -> debug.GradCheck:
    """gradcheck on random input (T, B, I), through dropout masks and, with classes, through a cross-entropy."""
    rng = np.random.default_rng(seed)
    x, steps = rng.standard_normal((T, B, I)), mask(pattern, T, B, seed)
    targets = rng.integers(0, classes, (T, B)) if classes else None
    return debug.gradcheck(
        model,
        x,
        mask=steps,
        seed=seed,
        loss=None if targets is None else lambda y: softmax_cross_entropy(y, targets, steps),
        dropout_seed=seed,
        directions=directions,
        method=method,
    )


def _one_of(name: str, value: str, words: tuple[str, ...]) -> str:
    if value not in words:
        raise ValueError(f"`{name}` should be one of {', '.join(words)}; got {value!r}")
    return value
