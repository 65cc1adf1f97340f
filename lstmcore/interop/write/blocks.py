"""A model as other systems lay it out: recurrent layers that they run in one call, and the layers around them."""

from collections.abc import Collection, Iterator
from typing import NamedTuple

import numpy as np

from lstmcore.arrays import Plain
from lstmcore.interop.convert import from_lstmcore
from lstmcore.interop.host import on_host
from lstmcore.layers import BatchFirst, Bidirectional, Dropout, Last, Layer, Recurrent, Reversed, Stack
from lstmcore.ops.cells import CELLS, options_of
from lstmcore.ops.cells.activations import Spec, checked


class Run(NamedTuple):
    """Recurrent layers of one kind and width, one over the other: a call of torch.nn.LSTM."""

    cell: str
    input_size: int
    hidden_size: int
    layers: tuple[Layer, ...]
    bidirectional: bool
    return_sequences: bool  # of the last
    options: Plain  # of the cell, where they are not as usual
    merge: str = "concat"  # of the last
    dropout: float = 0.0  # between them
    reverse: bool = False  # in flipped time

    @property
    def bias(self) -> bool:
        return bool(self.options.get("bias", True))

    @property
    def width(self) -> int:
        """Of the output of one direction."""
        return int(self.options.get("proj_size", self.hidden_size))

    def weights(self, layout: str) -> dict[str, np.ndarray]:
        """Its arrays in a layout of the table."""
        stack = Stack(self.layers) if len(self.layers) > 1 else self.layers[0]
        return from_lstmcore(on_host(stack.params), layout, self.cell, options=self.options)

    def activation(self, name: str) -> Spec:
        """The function of an option of the cell, with its numbers."""
        return checked(name, {**options_of(CELLS[self.cell]), **self.options}[name])

    def refuse(self, system: str, known: Collection[str]) -> None:
        """Raises ValueError, by name, for an option that the system lacks."""
        for name, value in self.options.items():
            if name not in known:
                raise ValueError(f"{self.layers[0]!r} has {name}={value!r}, which {system} lacks")


Block = Run | Layer


def blocks(model: Layer, joined: bool = True) -> list[Block]:
    """The model from its first layer on. joined: whether equal recurrent layers come as one Run.

    Raises ValueError for a recurrent layer of a cell that no other system has.
    """
    found: list[Block] = []
    for layer in _flat(model):
        if isinstance(layer, Dropout) and layer.per_sequence and any(map(_ends, found)):
            layer = Dropout(layer.p)  # of one step
        if joined and isinstance(layer, Dropout) and layer.per_sequence:
            raise ValueError(f"{layer!r} draws one mask for all steps, which torch lacks")
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


def time_major(model: Layer) -> tuple[Layer, bool]:
    """The model, without what puts the batch first around it, and whether that was there."""
    return (model.model, True) if isinstance(model, BatchFirst) else (model, False)


def _ends(block: Block) -> bool:
    """Whether one step comes out of it."""
    return isinstance(block, Last) or (isinstance(block, Run) and not block.return_sequences)


def _flat(model: Layer) -> Iterator[Layer]:
    if isinstance(model, Stack):
        for layer in model.layers:
            yield from _flat(layer)
    elif isinstance(model, BatchFirst):
        raise ValueError(
            f"{model!r} should stand around the whole model to be written for other systems, not within it"
        )
    else:
        yield model


def _run(layer: Layer) -> Run | None:
    """One recurrent layer, or two alike in both directions; None for another kind of layer."""
    if isinstance(layer, Reversed):
        run = _run(layer.bw)
        return None if run is None or run.bidirectional or run.reverse else run._replace(reverse=True)
    if isinstance(layer, Bidirectional):
        fw, bw = _run(layer.fw), _run(layer.bw)
        if fw is None or bw is None or fw.reverse or fw.bidirectional or fw._replace(layers=bw.layers) != bw:
            return None
        return fw._replace(layers=(layer,), bidirectional=True, merge=layer.merge)
    if not isinstance(layer, Recurrent):
        return None
    if CELLS.get(layer.cell.name) is None:
        raise ValueError(f"{layer!r} runs a cell of its own ({layer.cell.name}), which other systems lack")
    return Run(
        layer.cell.name, layer.input_size, layer.hidden_size, (layer,), False, layer.return_sequences, layer.options
    )


def _continues(below: Run, run: Run, between: float) -> bool:
    """Whether a layer goes on with a run: the same in all that a single call has once."""
    same = ("cell", "hidden_size", "bidirectional", "options")
    return (
        all(getattr(below, name) == getattr(run, name) for name in same)
        and below.return_sequences
        and below.merge == "concat"
        and not (below.reverse or run.reverse)
        and (len(below.layers) == 1 or below.dropout == between)
    )
