"""A model as a model of Keras 3, which saves it as .keras or .weights.h5."""

from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from lstmcore.arrays import Plain
from lstmcore.interop.host import on_host
from lstmcore.interop.read.keras_config import ACTIVATIONS, MERGES
from lstmcore.interop.write.blocks import Block, Run, blocks, time_major
from lstmcore.layers import Bidirectional, Dropout, Embedding, Last, Layer, Linear, ReLU, Sigmoid, Softmax, Tanh
from lstmcore.ops.cells.activations import Spec, checked

if TYPE_CHECKING:
    import keras

FUNCTIONS = {Tanh: "tanh", Sigmoid: "sigmoid", ReLU: "relu", Softmax: "softmax"}
KINDS = {"lstm": "LSTM", "gru": "GRU", "rnn": "SimpleRNN"}
OPTIONS = ("bias", "activation", "gate_activation", "cell_activation", "reset")
NAMES: dict[Spec, str] = {
    checked("activation", ACTIVATIONS.get(name, name)): name
    for name in ("tanh", "sigmoid", "relu", "softsign", "softplus", "elu", *ACTIVATIONS)
}
OURS = {ours: theirs for theirs, ours in MERGES.items()}


def to_keras(model: Layer) -> "keras.Sequential":
    """The model as a keras.Sequential with these weights; batch first, as Keras has it: (B, T, I), or classes (B, T).

    Raises ValueError for a layer or an option that Keras lacks, ImportError where Keras or its backend is not
    installed.
    """
    try:
        import keras
    except ImportError as error:
        raise ImportError(
            f"a model of Keras is made by Keras: pip install keras, and set KERAS_BACKEND to torch or jax ({error})"
        ) from None
    model, _ = time_major(model)
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
        if isinstance(block, Last) and isinstance(before, Run) and not (before.bidirectional or before.reverse):
            parts[-1] = before._replace(return_sequences=False)
        else:
            parts.append(block)
    return parts


def _layer(kinds: ModuleType, block: Block) -> "keras.Layer":
    if isinstance(block, Run):
        if not block.bidirectional:
            return _recurrent(kinds, block)
        return kinds.Bidirectional(_recurrent(kinds, block), merge_mode=_merge(block))
    if isinstance(block, Bidirectional):
        fw, bw = _directions(block)
        back = _recurrent(kinds, bw, go_backwards=True)
        return kinds.Bidirectional(_recurrent(kinds, fw), merge_mode=_merge(block), backward_layer=back)
    if isinstance(block, Linear):
        return kinds.Dense(block.output_size, use_bias=block.bias)
    if isinstance(block, Embedding):
        return kinds.Embedding(block.classes, block.output_size)
    if isinstance(block, Dropout):
        return (kinds.SpatialDropout1D if block.per_sequence else kinds.Dropout)(block.p)
    if type(block) not in FUNCTIONS:
        raise ValueError(f"{block!r} is a layer that a keras.Sequential lacks")
    return kinds.Activation(FUNCTIONS[type(block)])  # type: ignore[index]


def _recurrent(kinds: ModuleType, run: Run, go_backwards: bool = False) -> "keras.Layer":
    run.refuse("Keras", OPTIONS)
    if run.reverse and run.return_sequences:
        raise ValueError(
            f"Reversed({run.layers[0]!r}) gives each output at its own step; Keras (go_backwards=True) gives them in "
            "flipped order"
        )
    said: Plain = {"activation": _function(run, "activation")}
    if run.cell != "rnn":
        said["recurrent_activation"] = _function(run, "gate_activation")
    if run.cell == "lstm" and run.activation("cell_activation") != run.activation("activation"):
        raise ValueError(f"{run.layers[0]!r} has two activations, of the candidate and of c; Keras has one for both")
    if run.cell == "gru":
        said["reset_after"] = run.options.get("reset") != "before"
    return getattr(kinds, KINDS[run.cell])(
        run.hidden_size, return_sequences=run.return_sequences, use_bias=run.bias,
        go_backwards=go_backwards or run.reverse, **said,
    )  # fmt: skip


def _function(run: Run, option: str) -> str:
    spec = run.activation(option)
    if spec not in NAMES:
        raise ValueError(
            f"{run.layers[0]!r} has {option}={spec}, which Keras lacks: it has {', '.join(NAMES.values())}"
        )
    return NAMES[spec]


def _merge(block: Run | Bidirectional) -> str:
    if OURS[block.merge] is None:
        layer = block.layers[0] if isinstance(block, Run) else block
        raise ValueError(f"{layer!r} gives two outputs: a keras.Sequential has one")
    return OURS[block.merge]  # type: ignore[return-value]


def _directions(block: Bidirectional) -> tuple[Run, Run]:
    """Both directions, which are not alike."""
    fw, bw = (blocks(part, joined=False) for part in (block.fw, block.bw))
    if len(fw) != 1 or len(bw) != 1 or not isinstance(fw[0], Run) or not isinstance(bw[0], Run):
        raise ValueError(f"{block!r} is a layer that a keras.Sequential lacks")
    if fw[0].cell != bw[0].cell or any(run[0].reverse or run[0].bidirectional for run in (fw, bw)):  # type: ignore
        raise ValueError(f"{block!r} is a layer that a keras.Sequential lacks")
    return fw[0], bw[0]


def _weights(block: Block) -> list[np.ndarray]:
    """The arrays of a layer in the order of its set_weights."""
    if isinstance(block, Run):
        return list(block.weights("keras").values())
    if isinstance(block, Bidirectional):
        return [array for run in _directions(block) for array in run.weights("keras").values()]
    return list(on_host(block.params).values())
