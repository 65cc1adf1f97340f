"""Layers own the parameters; the maths is in ops. Every layer keeps the contract of `Layer`."""

from collections.abc import Callable
from typing import Any

from lstmcore.layers.activation import Tanh
from lstmcore.layers.bidirectional import Bidirectional
from lstmcore.layers.dropout import Dropout
from lstmcore.layers.embedding import Embedding
from lstmcore.layers.last import Last
from lstmcore.layers.layer import Layer, to_cpu, to_gpu
from lstmcore.layers.linear import Linear
from lstmcore.layers.params import Params
from lstmcore.layers.recurrent import GRU, LSTM, RNN, Recurrent
from lstmcore.layers.stack import Stack

SIMPLE: dict[str, Callable[..., Layer]] = {
    "LSTM": LSTM,
    "GRU": GRU,
    "RNN": RNN,
    "Linear": Linear,
    "Embedding": Embedding,
    "Tanh": Tanh,
    "Dropout": Dropout,
    "Last": Last,
}


def from_config(config: dict[str, Any], engine: Any = None) -> Layer:
    """A layer like the one whose `config()` this is, with fresh parameters.

    Raises ValueError for a kind that does not exist and for options that do not fit it.
    """
    if not isinstance(config, dict) or "kind" not in config:
        raise ValueError(f"`config` should be a dict with a kind, as layer.config() gives; got {config!r:.80}")
    options = {name: value for name, value in config.items() if name != "kind"}
    kind = config["kind"]
    try:
        if kind == "Stack":
            return Stack([from_config(part, engine) for part in options["layers"]])
        if kind == "Bidirectional":
            return Bidirectional(
                from_config(options["fw"], engine), from_config(options["bw"], engine), options["merge"]
            )
        if kind in ("LSTM", "GRU", "RNN"):
            options["engine"] = engine
        return SIMPLE[kind](**options)
    except (KeyError, TypeError) as error:
        raise ValueError(f"`config` does not describe a layer of this version: kind {kind!r}, {error}") from error


__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Bidirectional",
    "Dropout",
    "Embedding",
    "Last",
    "Layer",
    "Linear",
    "Params",
    "Recurrent",
    "Stack",
    "Tanh",
    "from_config",
    "to_cpu",
    "to_gpu",
]
