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
    if options.topology == "layers":
        body = _tower(options, letters, 2, rng)
    else:
        fw, bw = (layers.Stack(_tower(options, letters, 1, rng)) for _ in range(2))
        body = [layers.Bidirectional(fw, bw)]
    width = 2 * options.widths[-1]
    if options.head == "per-step":
        return layers.Stack([*body, layers.Linear(width, len(CHANNELS), seed=rng), layers.Tanh()])
    last = [layers.Last()] if options.head == "last-output" else []
    return layers.Stack([*body, *last, layers.Linear(width, T * len(CHANNELS), bias=False, seed=rng), layers.Tanh()])


def _tower(options: Options, letters: int, directions: int, rng: np.random.Generator) -> list[layers.Layer]:
    """The layers of one direction, or of both at once, dropout after each."""
    parts: list[layers.Layer] = []
    reads, last = letters, len(options.widths) - 1
    for k, width in enumerate(options.widths):
        sequences = k < last or options.head != "last-state"  # whether all outputs are wanted
        pair = [layers.LSTM(reads, width, seed=rng, engine=options.engine, return_sequences=sequences)
                for _ in range(directions)]  # fmt: skip
        layer = layers.Bidirectional(pair[0], pair[1]) if directions == 2 else pair[0]
        parts += [layer, layers.Dropout(options.dropout)]
        reads = directions * width
    return parts
