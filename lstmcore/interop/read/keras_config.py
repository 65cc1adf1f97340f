"""What a configuration of Keras 3 says of a layer, with its arrays: the same for living layers and for files.

A layer of Keras that goes backwards leaves its outputs in flipped order, so that what follows it reads them from the
end; Reversed of lstmcore leaves each at its own step.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from lstmcore.arrays import Array, Plain
from lstmcore.interop.build import embedding, linear, recurrent
from lstmcore.interop.host import shape
from lstmcore.layers import Bidirectional, Dropout, Layer, ReLU, Reversed, Sigmoid, Softmax, Tanh

CELLS = {"LSTM": "lstm", "GRU": "gru", "SimpleRNN": "rnn", "LSTMCell": "lstm", "GRUCell": "gru", "SimpleRNNCell": "rnn"}
FUNCTIONS: dict[str, type[Layer]] = {"tanh": Tanh, "softmax": Softmax, "sigmoid": Sigmoid, "relu": ReLU}
ACTIVATIONS: dict[str, str | tuple[str | float, ...]] = {  # where they have other names or numbers here
    "linear": "identity",
    "hard_sigmoid": ("hard_sigmoid", 1 / 6),
    "leaky_relu": ("leaky_relu", 0.2),
}
MERGES = {"concat": "concat", "sum": "sum", "ave": "mean", "mul": "mul", None: "none"}
KEYS = ("kernel", "recurrent_kernel", "bias")
Part = tuple[str, Plain, Sequence[Array]]  # the kind of a layer, its configuration and its arrays


def in_order(parts: Iterable[Part], dtype: str | None, notes: list[str]) -> tuple[list[Layer], bool]:
    """The layers of parts that follow one another, and whether Keras has the outputs of the last in flipped order."""
    found, flipped = list[Layer](), False
    for kind, config, arrays in parts:
        backwards = flipped ^ bool(config.get("go_backwards"))
        layers = layers_of(kind, {**config, "go_backwards": backwards}, arrays, dtype, notes)
        found += map(Reversed, layers) if flipped and kind == "Bidirectional" else layers
        if kind in CELLS or kind in ("RNN", "Bidirectional"):
            said = config["layer"]["config"] if kind == "Bidirectional" else config
            flipped = backwards and bool(said.get("return_sequences"))
    if flipped:
        notes.append("outputs in flipped order there (go_backwards=True): here each stands at its own step")
    return found, flipped


def layers_of(kind: str, config: Plain, arrays: Sequence[Array], dtype: str | None, notes: list[str]) -> list[Layer]:
    """The layers of lstmcore that one layer of Keras is. arrays: as its get_weights() gives them.

    Raises ValueError, by name, for what lstmcore lacks.
    """
    name = config.get("name", kind)
    if kind == "TimeDistributed":
        inner = config["layer"]
        return layers_of(inner["class_name"], inner["config"], arrays, dtype, notes)
    if kind in CELLS:
        return _recurrent(kind, config, arrays, dtype, notes)
    if kind == "RNN" and isinstance(config.get("cell"), dict):
        inner = config["cell"]
        return layers_of(inner["class_name"], {**config, **inner["config"], "name": name}, arrays, dtype, notes)
    if kind == "Bidirectional":
        return [_both(config, arrays, dtype, notes)]
    if kind == "Dense":
        _check(name, kind, config, arrays, 1)
        layer: Layer = linear(arrays[0], arrays[1] if len(arrays) > 1 else None, dtype, name)
        return [layer, *_function(name, config.get("activation", "linear"))]
    if kind == "Embedding":
        if config.get("mask_zero"):
            notes.append("mask_zero there: here pass mask=(x != 0)")
        return [embedding(arrays[0], dtype, name)]
    if kind == "Dropout":
        return [_dropout(name, config)]
    if kind == "SpatialDropout1D":
        return [Dropout(config["rate"], per_sequence=True)]
    if kind in ("Activation", "Softmax", "ReLU"):
        for option, usual in (("axis", -1), ("max_value", None), ("negative_slope", 0), ("threshold", 0)):
            if config.get(option, usual) != usual:
                raise ValueError(f"`{name}` is a {kind} with {option}={config[option]}, which lstmcore lacks")
        return _function(name, config["activation"] if kind == "Activation" else kind.lower())
    if kind == "Masking":
        notes.append(f"Masking there: here pass mask=(x != {config['mask_value']:g}).any(axis=-1)")
    if kind in ("InputLayer", "Masking"):
        return []
    raise ValueError(f"`{name}` is a {kind}, which lstmcore lacks")


def _check(name: str, kind: str, config: Plain, arrays: Sequence[Array], matrices: int) -> None:
    """Raises ValueError for arrays that are not those of the configuration."""
    sizes = [shape(array) for array in arrays]
    n, H = matrices + bool(config.get("use_bias", True)), config.get("units")
    if len(sizes) != n or any(len(size) != 2 for size in sizes[:matrices]) or (H and sizes[0][-1] % H):
        raise ValueError(
            f"`{name}` is a {kind} of {H} units, which has {n} arrays; got {', '.join(map(str, sizes)) or 'none'} (the "
            "configuration of another model? quantised, or with LoRA?)"
        )
    if matrices > 1 and sizes[1][0] != H:
        raise ValueError(f"`{name}` is a {kind} of {H} units; its arrays are for {sizes[1][0]}")


def _dropout(name: str, config: Plain) -> Layer:
    noise = config.get("noise_shape")
    if noise is not None and (len(noise) != 3 or noise[1] != 1 or 1 in (noise[0], noise[2])):
        raise ValueError(f"`{name}` draws masks of the shape {tuple(noise)}; lstmcore has (B, T, I) and (B, 1, I)")
    return Dropout(config["rate"], per_sequence=noise is not None)


def _function(name: str, activation: object) -> list[Layer]:
    if activation in (None, "linear"):
        return []
    if activation not in FUNCTIONS:
        raise ValueError(f"`{name}` has the activation {activation!r}; there are linear, {', '.join(FUNCTIONS)}")
    return [FUNCTIONS[activation]()]


def _both(config: Plain, arrays: Sequence[Array], dtype: str | None, notes: list[str]) -> Layer:
    inner, other = config["layer"], config.get("backward_layer") or config["layer"]
    merge = config.get("merge_mode", "concat")
    if merge not in MERGES:
        raise ValueError(f"`{config['name']}` merges by {merge!r}, which Bidirectional of lstmcore lacks")
    if merge is None and not inner["config"].get("return_sequences"):
        raise ValueError(
            f"`{config['name']}` gives two final states (merge_mode=None, return_sequences=False): lstmcore has them "
            'side by side (merge_mode="concat")'
        )
    if inner["config"].get("go_backwards"):
        raise ValueError(f"`{config['name']}` has a first direction that goes backwards")
    n = 2 + bool(inner["config"].get("use_bias", True))
    (fw,) = layers_of(inner["class_name"], inner["config"], arrays[:n], dtype, notes)
    forwards = {**other["config"], "go_backwards": False}  # Bidirectional of lstmcore turns it
    (bw,) = layers_of(other["class_name"], forwards, arrays[n:], dtype, notes)
    return Bidirectional(fw, bw, MERGES[merge])


def _recurrent(kind: str, config: Plain, arrays: Sequence[Array], dtype: str | None, notes: list[str]) -> list[Layer]:
    cell, name = CELLS[kind], config.get("name", kind)
    _check(name, kind, config, arrays, 2)
    options: Plain = {"reverse": config.get("go_backwards", False)}
    options |= options_of(cell, config)
    for drop in ("dropout", "recurrent_dropout"):
        if config.get(drop):
            notes.append(f"{drop}={config[drop]:g} inside `{name}` is left out: put lc.Dropout around it to train on")
    if config.get("stateful"):
        notes.append("stateful there: here pass the state on")
    if config.get("zero_output_for_mask") and not config.get("return_sequences"):
        notes.append(
            f"`{name}` gives zero there where the last step is masked (zero_output_for_mask=True): here the final state"
        )
    return recurrent(
        dict(zip(KEYS, arrays)), "keras", cell, dtype=dtype, return_sequences=config.get("return_sequences", False),
        **options,
    )  # fmt: skip


def options_of(cell: str, config: Plain) -> Plain:
    """The options of a cell, by the names of `lstmcore.interop.build.FEATURES`."""
    options: Plain = {}
    activation, gate = config.get("activation", "tanh"), config.get("recurrent_activation", "sigmoid")
    if cell == "rnn" and activation in ("tanh", "relu"):
        options["nonlinearity"] = activation
    elif (activation, gate) != ("tanh", "sigmoid"):
        ours = [
            ACTIVATIONS.get(name, name) if isinstance(name, str) else "a function of its own"
            for name in (gate, activation)
        ]
        options["activations"] = (ours[1],) if cell == "rnn" else (*ours, ours[1])[: 3 if cell == "lstm" else 2]
    if cell == "gru":
        options["reset_after"] = config.get("reset_after", True)
    return options


def masked_input(x: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Classes 1, 2, ... where the mask is true, and 0, which mask_zero takes for padding, elsewhere."""
    return np.where(mask, np.maximum(x, 1), 0)
