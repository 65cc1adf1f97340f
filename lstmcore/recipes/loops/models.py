"""The networks: bidirectional LSTMs over residues, with one of three heads.

topology  "layers": each layer reads both directions of the one below (PyTorch's stacks, Keras' Bidirectional).
          "towers": one stack of layers per direction, which meet at the end (two stacks in bidirectional_dynamic_rnn).
head      "per-step": a dense layer that is the same at every residue, from what both directions know there.
          "last-state": each direction's state after the whole loop; one dense layer makes all residues' angles of it.
          "last-output": the same from both directions' outputs at the last residue, where the backward one has just
          begun: what "last relevant output" means after bidirectional_dynamic_rnn.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np

from lstmcore import layers
from lstmcore.recipes.loops.torsions import CHANNELS

Model: TypeAlias = Literal["per-step", "q3"]
Topology: TypeAlias = Literal["layers", "towers"]
Head: TypeAlias = Literal["per-step", "last-state", "last-output"]


@dataclass(frozen=True)
class Options:
    """What `lstmcore train loops` can be told. The defaults are those of --model per-step."""

    model: Model = "per-step"  # where the defaults come from, in MODELS
    topology: Topology = "layers"
    head: Head = "per-step"
    widths: tuple[int, ...] = (64, 64)  # units of each layer, in each direction
    dropout: float = 0.5  # after each layer
    batch: int = 64
    epochs: int = 30
    lr: float = 0.004
    falling: bool = True  # along a cosine to zero; else the rate stays
    decay: float = 0.01  # of AdamW; with 0 it is Adam
    patience: int = 10  # epochs without an improvement on the validation set
    pad: int | None = None  # steps; None: as many as the longest loop has
    split: str = "grouped"
    engine: str | None = None
    seed: int = 0


MODELS: dict[Model, Options] = {
    "per-step": Options(),
    "q3": Options("q3", "towers", "last-state", (256, 128, 64), 0.5, 200, 500, 0.004, False, 0.0, 50),
}


def build(options: Options, letters: int, T: int, rng: np.random.Generator) -> layers.Layer:
    """The network for one-hot residues (T, B, letters).

    It gives (T, B, 4), or, with a head over the last step, (B, 4 T). Raises ValueError for unknown names.
    """
    topologies, heads = get_args(Topology), get_args(Head)
    if options.topology not in topologies or options.head not in heads:
        raise ValueError(
            f"`topology` should be one of {', '.join(topologies)}, `head` of {', '.join(heads)}; got "
            f"{options.topology!r} and {options.head!r}"
        )
    body = _layers(options, letters, rng) if options.topology == "layers" else [_towers(options, letters, rng)]
    width = 2 * options.widths[-1]
    if options.head == "per-step":
        return layers.Stack([*body, layers.Linear(width, len(CHANNELS), seed=rng), layers.Tanh()])
    last = [layers.Last()] if options.head == "last-output" else []
    return layers.Stack([*body, *last, layers.Linear(width, T * len(CHANNELS), bias=False, seed=rng), layers.Tanh()])


def _layers(options: Options, letters: int, rng: np.random.Generator) -> list[layers.Layer]:
    parts: list[layers.Layer] = []
    reads = letters
    for width, sequences in _sizes(options):
        fw, bw = (_lstm(reads, width, sequences, options, rng) for _ in range(2))
        parts += [layers.Bidirectional(fw, bw), layers.Dropout(options.dropout)]
        reads = 2 * width
    return parts


def _towers(options: Options, letters: int, rng: np.random.Generator) -> layers.Layer:
    towers: list[layers.Layer] = []
    for _ in range(2):
        parts: list[layers.Layer] = []
        reads = letters
        for width, sequences in _sizes(options):
            parts += [_lstm(reads, width, sequences, options, rng), layers.Dropout(options.dropout)]
            reads = width
        towers.append(layers.Stack(parts))
    return layers.Bidirectional(towers[0], towers[1])


def _lstm(reads: int, width: int, sequences: bool, options: Options, rng: np.random.Generator) -> layers.Layer:
    return layers.LSTM(reads, width, seed=rng, engine=options.engine, return_sequences=sequences)


def _sizes(options: Options) -> list[tuple[int, bool]]:
    """(units, whether all outputs are wanted) of each layer."""
    top = len(options.widths) - 1
    return [(width, k < top or options.head != "last-state") for k, width in enumerate(options.widths)]
