"""Cells of Equinox: LSTMCell and GRUCell, whose arrays are torch's with one bias in place of two."""

from collections.abc import Callable

import numpy as np
from equinox import nn

from lstmcore.interop.build import recurrent
from lstmcore.interop.proof import Proof, compare, flat, inputs
from lstmcore.layers import Layer


def read(thing: nn.LSTMCell | nn.GRUCell, *, dtype: str | None = None) -> tuple[Layer, Proof]:
    """Raises ValueError, by name, for another module, and if both sides disagree."""
    if not isinstance(thing, nn.LSTMCell | nn.GRUCell):
        raise ValueError(f"a {type(thing).__name__} is no cell of Equinox: hand over the cell that is in it")
    kind = "gru" if isinstance(thing, nn.GRUCell) else "lstm"
    weights = {"weight_ih": np.asarray(thing.weight_ih), "weight_hh": np.asarray(thing.weight_hh)}
    if thing.use_bias:
        weights["bias_ih"] = np.asarray(thing.bias)
    if thing.use_bias and isinstance(thing, nn.GRUCell):
        of_n = np.asarray(thing.bias_n)  # stands where torch has the last block of its second bias
        weights["bias_hh"] = np.concatenate([np.zeros_like(of_n), np.zeros_like(of_n), of_n])
    (layer,) = recurrent(weights, "torch", kind, dtype=dtype)
    return layer, _prove(thing, kind, layer)


def _prove(thing: Callable[..., object], kind: str, layer: Layer) -> Proof:
    """One step, row by row: cells of Equinox know no batch."""
    x = inputs(layer)[0]
    zeros = np.zeros(len(layer.params["W_hh"]), x.dtype)
    rows = [thing(row, (zeros, zeros) if kind == "lstm" else zeros) for row in x]
    want = np.stack([np.stack(row) if isinstance(row, tuple) else np.asarray(row)[None] for row in rows], 1)
    error = compare(flat(layer.to(engine="reference").step(x)[1]), list(want), float(np.finfo(x.dtype).eps))
    return Proof(error, "one step beside Equinox on random input")
