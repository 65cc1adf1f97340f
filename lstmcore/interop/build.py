"""Layers of lstmcore out of other people's arrays and options."""

import re
from collections.abc import Callable, Iterable, Mapping

from lstmcore.arrays import Plain
from lstmcore.interop.convert import to_lstmcore
from lstmcore.interop.host import on_host
from lstmcore.interop.layouts import Layout
from lstmcore.layers import Dropout, Embedding, Layer, Linear, Reversed, Stack, from_config
from lstmcore.layers.initialise import UNFILLED
from lstmcore.layers.kinds import configs
from lstmcore.ops.cells import CELLS, options_of, variant

# Options of other people's layers: what nearly everybody has, and what the others are called.
FEATURES: dict[str, tuple[object, str]] = {
    "proj_size": (0, "a projection (proj_size={value})"),
    "nonlinearity": ("tanh", "an RNN with {value} in place of tanh"),
    "reset_after": (True, "a GRU whose reset gate comes before the product (reset_after=False, linear_before_reset=0)"),
    "peepholes": (False, "peepholes (the gates look at c)"),
    "clip": (None, "a clip of the activations' inputs at {value:g}"),
    "cell_clip": (None, "a clip of c at {value:g}"),
    "input_forget": (False, "coupled input and forget gates (input_forget=1)"),
    "activations": (None, "the activations {value}"),
    "reverse": (False, "a layer that runs backwards by itself"),
}
ACTIVATIONS = {"gate_activation": "sigmoid", "activation": "tanh", "cell_activation": "tanh"}  # in the order of others
# The option of lstmcore's layer that does the same, and the value that it takes.
OURS: dict[str, Callable[..., Plain]] = {
    "proj_size": lambda value: {"proj_size": value},
    "nonlinearity": lambda value: {"activation": value},
    "reset_after": lambda value: {"reset": "before"},
    "peepholes": lambda value: {"peepholes": True},
    "clip": lambda value: {"clip_a": float(value)},
    "cell_clip": lambda value: {"clip_c": float(value)},
    "input_forget": lambda value: {"coupled": "f"},
    "activations": lambda value: {
        name: spec[0] if isinstance(spec, tuple) and len(spec) == 1 else spec
        for name, spec in zip(ACTIVATIONS if len(value) > 1 else ("activation",), value)
        if spec not in (ACTIVATIONS[name], (ACTIVATIONS[name],))
    },
}


def recurrent(
    weights: Mapping[str, object],
    layout: str | Layout,
    cell: str,
    *,
    dtype: str | None = None,
    bidirectional: bool | None = None,
    return_sequences: bool = True,
    dropout: float = 0.0,
    **options: object,
) -> list[Layer]:
    """The layers of a recurrent stack, weights in; dropout between them. Options by the names of `FEATURES`.

    return_sequences=False: of the last layer. Raises ValueError for a feature that lstmcore lacks, by its name, and
    what `to_lstmcore` raises.
    """
    reverse = options.pop("reverse", False)
    chosen = refuse(cell, options)
    if not any(_is_bias(key) for key in weights):
        chosen["bias"] = False
    config, params = to_lstmcore(weights, layout, cell, bidirectional=bidirectional, dtype=dtype, options=chosen)
    kinds = sorted({value.dtype.name for value in params.values()})
    if len(kinds) > 1 or kinds[0].startswith("complex"):
        raise TypeError(f'the weights are {" and ".join(kinds)}: pass dtype="float32" or "float64", of real numbers')
    parts = config["layers"] if config["kind"] == "Stack" else [config]
    for k, part in enumerate(parts):
        for _, inner in configs(part):
            if "return_sequences" in inner:
                inner["return_sequences"] = return_sequences or k < len(parts) - 1
    model = from_config(config, seed=UNFILLED)
    for name, value in params.items():
        model.params[name] = value
    layers = list(model.layers) if isinstance(model, Stack) else [model]
    layers = [Reversed(layer) for layer in layers] if reverse else layers
    return [part for layer in layers[:-1] for part in ([layer, Dropout(dropout)] if dropout else [layer])] + layers[-1:]


def refuse(cell: str, options: Mapping[str, object]) -> Plain:
    """The options of the lstmcore layer for those of others. Raises ValueError, by name, for what it lacks.

    activations: of the gates, of the candidate and of c, in this order, as lstmcore's options have them.
    """
    chosen: Plain = {}
    for name, value in options.items():
        if name not in FEATURES:
            raise TypeError(f"no option {name!r} here; there are {', '.join(FEATURES)}")
        usual, words = FEATURES[name]
        if value in (usual, None):
            continue
        ours = OURS[name](value) if name in OURS else {}
        if name not in OURS or not ours.keys() <= options_of(CELLS[cell]).keys():
            raise ValueError(f"{words.format(value=value)}: {cell.upper()} of lstmcore has no such thing")
        chosen |= ours
    try:
        variant(CELLS[cell], **chosen)
    except ValueError as error:
        unusual = {name: value for name, value in options.items() if value not in (FEATURES[name][0], None)}
        words = ", ".join(FEATURES[name][1].format(value=value) for name, value in unusual.items())
        raise ValueError(f"{words}: {error}") from error
    return chosen


def _is_bias(key: str) -> bool:
    return "bias" in key or re.split(r"[./]", key)[-1] in ("b", "B", "b_hn", "bhn") or bool(re.search(r"/b\d$", key))


def linear(W: object, b: object | None, dtype: str | None, name: str = "weight") -> Linear:
    """A Linear layer of W (in, out) and b (out,) or None."""
    arrays = on_host({name: W} | ({} if b is None else {f"{name}'s bias": b}), dtype)
    matrix, *rest = arrays.values()
    layer = Linear(matrix.shape[0], matrix.shape[1], bias=bool(rest), dtype=matrix.dtype, seed=UNFILLED)
    for key, value in zip(layer.params, (matrix, *rest)):
        layer.params[key] = value
    return layer


def embedding(W: object, dtype: str | None, name: str = "weight") -> Embedding:
    """An Embedding layer of W (V, I)."""
    (table,) = on_host({name: W}, dtype).values()
    layer = Embedding(table.shape[0], table.shape[1], dtype=table.dtype, seed=UNFILLED)
    layer.params["W"] = table
    return layer


def chain(layers: Iterable[Layer]) -> Layer:
    """The layers one after the other: a Stack, or the one layer that there is."""
    found = list(layers)
    if not found:
        raise ValueError("there is no layer in it that lstmcore has")
    return found[0] if len(found) == 1 else Stack(found)
