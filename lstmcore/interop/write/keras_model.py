"""A model as a model of Keras 3, which saves it as .keras or .weights.h5."""

from typing import Any

import numpy as np

from lstmcore.interop.host import on_host
from lstmcore.interop.write.blocks import Block, Run, blocks
from lstmcore.layers import Dropout, Embedding, Last, Layer, Linear, ReLU, Sigmoid, Softmax, Tanh

FUNCTIONS = {Tanh: "tanh", Sigmoid: "sigmoid", ReLU: "relu", Softmax: "softmax"}
KINDS = {"lstm": "LSTM", "gru": "GRU", "rnn": "SimpleRNN"}


def to_keras(model: Layer) -> Any:
    """The model as a keras.Sequential with these weights; batch first, as Keras has it: (B, T, I), or classes (B, T).

    Raises ValueError for a layer that Keras has not, ImportError where Keras or its backend is not installed.
    """
    try:
        import keras
    except ImportError as error:
        raise ImportError(
            f"a model of Keras is made by Keras: pip install keras, and set KERAS_BACKEND to torch or jax ({error})"
        ) from None
    found = _without_last(blocks(model, joined=False))
    width = len(next(iter(model.params.values()))) if model.params else 1
    shape = (None,) if isinstance(found[0], Embedding) else (None, width)
    made = [_layer(keras.layers, block) for block in found]
    theirs = keras.Sequential([keras.Input(shape), *made])
    for layer, block in zip(made, found):
        layer.set_weights(_weights(block))
    return theirs


def _without_last(found: list[Block]) -> list[Block]:
    """Last() right after one direction is its final state."""
    parts: list[Block] = []
    for block in found:
        before = parts[-1] if parts else None
        if isinstance(block, Last) and isinstance(before, Run) and not before.bidirectional:
            parts[-1] = before._replace(return_sequences=False)
        else:
            parts.append(block)
    return parts


def _layer(kinds: Any, block: Block) -> Any:
    if isinstance(block, Run):
        layer = getattr(kinds, KINDS[block.cell])(
            block.hidden_size, return_sequences=block.return_sequences, use_bias=block.bias
        )
        return kinds.Bidirectional(layer, merge_mode=block.merge) if block.bidirectional else layer
    if isinstance(block, Linear):
        return kinds.Dense(block.output_size, use_bias=block.bias)
    if isinstance(block, Embedding):
        return kinds.Embedding(block.classes, block.output_size)
    if isinstance(block, Dropout):
        return kinds.Dropout(block.p)
    if type(block) not in FUNCTIONS:
        raise ValueError(f"{block!r} is a layer that a keras.Sequential has not")
    return kinds.Activation(FUNCTIONS[type(block)])  # type: ignore[index]


def _weights(block: Block) -> list[np.ndarray]:
    """The arrays of a layer in the order of its set_weights."""
    if isinstance(block, Run):
        return list(block.weights("keras").values())
    return list(on_host(block.params).values())
