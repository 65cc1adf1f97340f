"""Living layers and models of Keras 3."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from lstmcore.arrays import Plain
from lstmcore.interop.build import chain
from lstmcore.interop.proof import LENGTHS, B, Differs, Proof, T, compare, inputs
from lstmcore.interop.read.keras_config import Part, in_order, masked_input
from lstmcore.layers import Embedding, Layer
from lstmcore.layers.tree import leaves
from lstmcore.ops.masking import mask_from_lengths

if TYPE_CHECKING:
    import keras


def read(thing: "keras.Layer", *, dtype: str | None = None) -> tuple[Layer, Proof]:
    """The model of a layer or of a model whose layers follow one another. Raises ValueError, by name, for what lstmcore
    lacks, for a layer that is not built, and if both sides disagree."""
    notes: list[str] = []
    layers, flipped = in_order(map(_said, _parts(thing)), dtype, notes)
    model = chain(layers)
    try:
        proof = prove(thing, model, flipped)
    except Differs as error:
        raise Differs(f"`{thing.name}` gives something else than its layers in order, {model!r}: {error}") from error
    return model, proof._replace(words="; ".join([proof.words, *notes]))


def _parts(thing: "keras.Layer") -> "list[keras.Layer]":
    """The layers of a model, and of models in it; a layer alone."""
    return [part for layer in thing.layers for part in _parts(layer)] if hasattr(thing, "layers") else [thing]


def _said(layer: "keras.Layer") -> Part:
    if not (layer.built or layer.weights):
        raise ValueError(f"`{layer.name}` should be built: call it once before")
    kinds = (kind.__name__ for kind in type(layer).__mro__ if kind.__module__.startswith("keras."))
    states = {id(state) for state in _states(layer)}
    return next(kinds), layer.get_config(), [weight for weight in layer.weights if id(weight) not in states]


def prove(theirs: "keras.Layer", model: Layer, flipped: bool) -> Proof:
    """Both sides on random input. A layer alone, and a model that begins with mask_zero, on rows of unequal lengths.

    flipped: whether the outputs of Keras stand in flipped order.
    """
    import keras

    coarse = {part.compute_dtype for part in _parts(theirs)} - {"float32", "float64"}
    if coarse:
        return Proof(None, f"it computes in {', '.join(coarse)} there, too coarse to tell one reading from another")
    states = [state for part in _parts(theirs) for state in _states(part)]
    rows = np.arange(states[0].shape[0] if states else B) % B
    x = inputs(model)[:, rows]
    mask: np.ndarray | None = mask_from_lengths(LENGTHS[rows], T)
    first = next((part for part in _parts(theirs) if part.weights), theirs)
    options: Plain = {}
    words = "run beside Keras on random input"
    if isinstance(next(leaf for _, leaf in leaves(model) if leaf.params), Embedding):
        known = getattr(first, "mask_zero", False)
        x, mask = (masked_input(x, mask), mask) if known and mask is not None else (x, None)
    elif hasattr(theirs, "layers") or (getattr(theirs, "zero_output_for_mask", False) and not theirs.return_sequences):
        mask = None
    elif mask is not None:
        options["mask"] = np.ascontiguousarray(mask.T)
    words += " of unequal lengths" if mask is not None else ""
    try:
        with _from_zero(states):
            answer = theirs(np.ascontiguousarray(x.swapaxes(0, 1)), training=False, **options)
    except Exception as reason:  # whatever the layer wants besides
        return Proof(None, f"it does not run on {x.swapaxes(0, 1).shape} alone ({reason!s:.100})")
    parts = [keras.ops.convert_to_numpy(part) for part in keras.tree.flatten(answer)]
    apart = getattr(model, "merge", "") == "none"
    if hasattr(theirs, "layers") and len(parts) != 1 + apart:  # of a layer, what follows are states
        raise Differs(f"it gives {len(parts)} outputs; a model that is read gives one")
    want = np.stack(parts, -2) if apart else parts[0]
    try:
        got = model.to(engine="reference").predict(x, mask=mask)[0]
    except ValueError as reason:
        raise Differs(f"its layers do not read each other in their order, {model!r}: {reason}") from reason
    if want.ndim > 2:
        want = want[:, ::-1] if flipped else want
        want = want.swapaxes(0, 1)  # at padded steps Keras repeats the last
        want = want if mask is None else np.where(mask.reshape(*mask.shape, *[1] * (want.ndim - 2)), want, 0)
    error = compare([got], [want], float(np.finfo(np.float32).eps))  # which Keras rounds to here and there
    return Proof(error, f"{words}, batch first there: here x is (T, B, I)")


def _states(layer: "keras.Layer") -> "list[keras.Variable]":
    """The variables in which a stateful layer keeps its state."""
    ways = [getattr(layer, name) for name in ("forward_layer", "backward_layer") if hasattr(layer, name)]
    return [state for way in ways or [layer] if getattr(way, "stateful", False) for state in way.states]


@contextmanager
def _from_zero(states: "Sequence[keras.Variable]") -> Iterator[None]:
    """The states of stateful layers at zero, for as long as the block lasts."""
    import keras

    before = [keras.ops.copy(state.value) for state in states]
    try:
        for state in states:
            state.assign(keras.ops.zeros_like(state.value))
        yield
    finally:
        for state, value in zip(states, before):
            state.assign(value)
