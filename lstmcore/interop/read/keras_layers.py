"""Living layers and models of Keras 3."""

from typing import Any

import numpy as np

from lstmcore.arrays import Plain
from lstmcore.interop.build import chain
from lstmcore.interop.proof import LENGTHS, Proof, T, compare, inputs
from lstmcore.interop.read.keras_config import layers_of, masked_input
from lstmcore.layers import Embedding, Layer
from lstmcore.layers.tree import leaves
from lstmcore.ops.masking import mask_from_lengths


def read(thing: Any, *, dtype: str | None = None) -> tuple[Layer, Proof]:
    """The model of a layer or of a model whose layers follow one another. Raises ValueError, by name, for what lstmcore
    has not, for a layer that is not built, and if both sides disagree."""
    notes: list[str] = []
    parts = _parts(thing)
    layers = [layer for part in parts for layer in _layers(part, dtype, notes)]
    model = chain(layers)
    proof = prove(thing, model)
    return model, proof._replace(words="; ".join([proof.words, *notes]))


def _parts(thing: Any) -> list[Any]:
    """The layers of a model, and of models in it; a layer alone."""
    return [part for layer in thing.layers for part in _parts(layer)] if hasattr(thing, "layers") else [thing]


def _layers(layer: Any, dtype: str | None, notes: list[str]) -> list[Layer]:
    if not layer.built:
        raise ValueError(f"`{layer.name}` should be built: call it once before")
    config: Plain = layer.get_config()
    kinds = (kind.__name__ for kind in type(layer).__mro__ if kind.__module__.startswith("keras."))
    return layers_of(next(kinds), config, layer.weights, dtype, notes)


def prove(theirs: Any, model: Layer) -> Proof:
    """Both sides on random input. A layer alone, and a model that begins with mask_zero, on rows of unequal lengths."""
    import keras

    x = inputs(model)
    mask: np.ndarray | None = mask_from_lengths(LENGTHS, T)
    first = (getattr(theirs, "layers", None) or [theirs])[0]
    options: Plain = {}
    words = "run beside Keras on random input"
    if isinstance(next(leaf for _, leaf in leaves(model) if leaf.params), Embedding):
        known = getattr(first, "mask_zero", False)
        x, mask = (masked_input(x, mask), mask) if known and mask is not None else (x, None)
    elif hasattr(theirs, "layers"):
        mask = None
    elif mask is not None:
        options["mask"] = np.ascontiguousarray(mask.T)
    words += " of unequal lengths" if mask is not None else ""
    try:
        answer = theirs(np.ascontiguousarray(x.swapaxes(0, 1)), training=False, **options)
    except Exception as reason:  # whatever the layer wants besides
        return Proof(None, f"it does not run on {x.swapaxes(0, 1).shape} alone ({reason!s:.100})")
    parts = [keras.ops.convert_to_numpy(part) for part in (answer if isinstance(answer, list | tuple) else [answer])]
    want = np.stack(parts, -2) if getattr(model, "merge", "") == "none" else parts[0]  # what follows are states
    got = model.to(engine="reference").predict(x, mask=mask)[0]
    if want.ndim > 2:
        want = want.swapaxes(0, 1)  # at padded steps Keras repeats the last
        want = want if mask is None else np.where(mask.reshape(*mask.shape, *[1] * (want.ndim - 2)), want, 0)
    error = compare([got], [want], float(np.finfo(np.float32).eps))
    return Proof(error, f"{words}, batch first there: here x is (T, B, I)")
