"""The cells: each file states one time step and its undoing."""

import functools
import inspect
import math
from collections.abc import Callable
from dataclasses import replace
from typing import TypedDict

from lstmcore.arrays import Plain
from lstmcore.ops.cells.activations import Activation
from lstmcore.ops.cells.cell import Cell, Maths, Steps
from lstmcore.ops.cells.gru import gru
from lstmcore.ops.cells.gru_variants import gru_variant
from lstmcore.ops.cells.lstm import lstm
from lstmcore.ops.cells.lstm_variants import lstm_variant
from lstmcore.ops.cells.rnn import rnn
from lstmcore.ops.cells.rnn_variants import rnn_variant

CELLS = {cell.name: cell for cell in (lstm, gru, rnn)}
VARIANTS: dict[Cell, Callable[..., Cell]] = {lstm: lstm_variant, gru: gru_variant, rnn: rnn_variant}


class Options(TypedDict, total=False):
    """What layers of these cells can be told of them, for type checkers; `options_of` says which cell knows what."""

    bias: bool
    peepholes: bool
    coupled: str | None
    clip_c: float | None
    clip_a: float | None
    activation: Activation
    gate_activation: Activation
    cell_activation: Activation
    proj_size: int | None
    layer_norm: bool
    reset: str


def options_of(cell: Cell) -> Plain:
    """What `variant` can make other of this cell, and what each option is where it is not given."""
    known = inspect.signature(VARIANTS[cell]).parameters if cell in VARIANTS else {}
    return {"bias": True} | {name: parameter.default for name, parameter in known.items()}


@functools.lru_cache(maxsize=None, typed=True)
def variant(cell: Cell, **options: object) -> Cell:
    """The cell with other options; itself without any. The same options give the same cell.

    bias: False leaves out the biases of all blocks that a product feeds. Raises ValueError for options that are wrong.
    """
    for name, value in options.items():
        if isinstance(options_of(cell).get(name), bool) and not isinstance(value, bool):
            raise ValueError(f"`{name}` should be True or False; got {value!r}")
        if name.startswith("clip") and not (
            value is None or (isinstance(value, int | float) and value is not True and 0 < value < math.inf)
        ):
            raise ValueError(f"`{name}` should be a number above 0, or None; got {value!r}")
    bias = options.pop("bias", True)
    made = VARIANTS[cell](**options) if options else cell
    if bias:
        return made
    if options.get("layer_norm"):
        raise ValueError("`layer_norm` adds the bias behind the normalisation, and has no form without: bias=True")
    fed = {*made.input_blocks, *made.recurrent_blocks}
    biases = {name: blocks for name, blocks in made.biases.items() if not fed.intersection(blocks)}
    return replace(made, biases=biases, initial_biases={})


__all__ = ["CELLS", "Cell", "Maths", "Options", "Steps", "gru", "lstm", "options_of", "rnn", "variant"]
