"""A model as other systems lay it out: recurrent layers that they run in one call, and the layers around them."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from lstmcore.interop.convert import from_lstmcore
from lstmcore.interop.host import on_host
from lstmcore.layers import Bidirectional, Dropout, Layer, Recurrent, Stack
from lstmcore.ops.cells import CELLS


class Run(NamedTuple):
    """Recurrent layers of one kind and width, one over the other: a call of torch.nn.LSTM."""

    cell: str
    input_size: int
    hidden_size: int
    layers: tuple[Layer, ...]
    bidirectional: bool
    dropout: float  # between them
    merge: str  # of the last
    return_sequences: bool  # of the last
    bias: bool

    def weights(self, layout: str) -> dict[str, np.ndarray]:
        """Its arrays in a layout of the table."""
        stack = Stack(self.layers) if len(self.layers) > 1 else self.layers[0]
        return from_lstmcore(on_host(stack.params), layout, self.cell)


Block = Run | Layer


def blocks(model: Layer, joined: bool = True) -> list[Block]:
    """The model from its first layer on. joined: whether equal recurrent layers come as one Run.

    Raises ValueError for a recurrent layer of a cell that no other system has.
    """
    found: list[Block] = []
    for layer in _flat(model):
        if isinstance(layer, Bidirectional) and layer.merge not in ("concat", "sum"):
            raise ValueError(f"{layer!r} merges by {layer.merge!r}, which is not written for other systems")
        run = _run(layer)
        below = found[-2] if joined and len(found) > 1 and isinstance(found[-1], Dropout) else None
        between = found[-1].p if isinstance(below, Run) and isinstance(found[-1], Dropout) else 0.0
        if below is None and joined and found and run is not None:
            below = found[-1]
        if run is not None and isinstance(below, Run) and _continues(below, run, between):
            del found[-2 if between else -1 :]
            found.append(run._replace(
                input_size=below.input_size, layers=(*below.layers, *run.layers), dropout=between
            ))  # fmt: skip
        else:
            found.append(layer if run is None else run)
    return found


def _flat(model: Layer) -> Iterator[Layer]:
    if isinstance(model, Stack):
        for layer in model.layers:
            yield from _flat(layer)
    else:
        yield model


def _run(layer: Layer) -> Run | None:
    """One recurrent layer, or two directions of it; None for another kind of layer."""
    both = isinstance(layer, Bidirectional)
    parts = (layer.fw, layer.bw) if isinstance(layer, Bidirectional) else (layer,)
    if not all(isinstance(part, Recurrent) for part in parts):
        return None
    first: Recurrent = parts[0]  # type: ignore[assignment]
    options = {name for part in parts for name in getattr(part, "options", {}) if name != "bias"}
    if CELLS.get(first.cell.name) is None:
        raise ValueError(f"{first!r} runs a cell of its own ({first.cell.name}), which other systems have not")
    if options:
        raise ValueError(f"{first!r} has options that are not written for other systems: {', '.join(sorted(options))}")
    if any(type(part) is not type(first) or part.hidden_size != first.hidden_size for part in parts):
        return None
    merge = layer.merge if isinstance(layer, Bidirectional) else "concat"
    bias = first.options.get("bias", True)
    return Run(
        first.cell.name, first.input_size, first.hidden_size, (layer,), both, 0.0, merge, first.return_sequences, bias
    )


def _continues(below: Run, run: Run, between: float) -> bool:
    """Whether a layer goes on with a run: the same in all that a single call has once."""
    same = ("cell", "hidden_size", "bidirectional", "bias")
    return (
        all(getattr(below, name) == getattr(run, name) for name in same)
        and below.return_sequences
        and below.merge == "concat"
        and (len(below.layers) == 1 or below.dropout == between)
    )
