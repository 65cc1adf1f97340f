"""One recurrent layer of Keras 3 under watch: its `call`, with taps on weights, input, initial state and outputs.

Weights are exchanged for tapped ones in a StatelessScope, as Keras does itself. At padded steps Keras repeats the last
real output, unless `zero_output_for_mask`. So what the loss says about padding is not lost: it piles up on the last
real step, and it is added there before lstmcore gets it.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import keras
import numpy as np

from lstmcore.arrays import State
from lstmcore.debug.watch.keras_taps import TAPS
from lstmcore.debug.watch.seen import Call, Notes
from lstmcore.ops.masking import masking_forward

if TYPE_CHECKING:
    from lstmcore.debug.watch.keras_taps import Tensor

WEIGHTS = ("kernel", "recurrent_kernel", "bias")


class Direction:
    """Notes the calls of one layer."""

    def __init__(self, layer: keras.layers.RNN):
        self.layer, self.tap = layer, TAPS[keras.backend.backend()]
        self.calls: list[Notes] = []
        self.obstacles: tuple[str, ...] = ()
        self.formats: set[str] = {keras.backend.standardize_dtype(layer.compute_dtype)}

    def attach(self) -> None:
        self.own_call = self.layer.call
        object.__setattr__(self.layer, "call", self._call)  # past Keras, which would look for variables in it

    def detach(self) -> None:
        object.__delattr__(self.layer, "call")

    @property
    def weights(self) -> dict[str, keras.Variable]:
        """By the names of Keras; a layer without biases has none."""
        found = {name: getattr(self.layer.cell, name, None) for name in WEIGHTS}
        return {name: variable for name, variable in found.items() if variable is not None}

    def _call(
        self,
        sequences: "Tensor",
        initial_state: "Sequence[Tensor] | None" = None,
        mask: "Tensor | Sequence[Tensor] | None" = None,
        training: bool = False,
    ) -> "Tensor | Sequence[Tensor]":
        layer, cell = self.layer, self.layer.cell
        if training and cell.recurrent_dropout:
            self.obstacles = (
                "its recurrent_dropout: Keras draws another mask for each gate, which lstmcore lacks; set it to 0, "
                "or watch with training=False",
            )
            return self.own_call(sequences, initial_state=initial_state, mask=mask, training=training)
        call: Notes = {}
        self.calls.append(call)
        weights = self.weights
        known = {id(variable) for variable in weights.values()}
        states = list(layer.states) if layer.stateful else []  # which Keras does not count among its variables
        others = [variable for variable in (*layer.variables, *states) if id(variable) not in known]
        values = [(variable, variable.value) for variable in others]
        values += [(variable, self.tap(variable.value, call, name)) for name, variable in weights.items()]
        if initial_state is None and layer.stateful:
            initial_state = [keras.ops.copy(variable.value) for variable in states]
        sequences = self.tap(sequences, call, "x")
        if initial_state is not None:
            given = initial_state if isinstance(initial_state, list | tuple) else [initial_state]
            initial_state = [self.tap(s, call, f"state{k}") for k, s in enumerate(given)]
        if mask is not None:
            mask = mask[0] if isinstance(mask, list | tuple) else mask
            self.tap(mask, call, "mask")
        with keras.StatelessScope(values) as scope, _NotedDropout(cell, training, lambda m: self.tap(m, call, "drawn")):
            output = self.own_call(sequences, initial_state=initial_state, mask=mask, training=training)
        for variable in others:
            if scope.get_current_value(variable) is not None:
                variable.assign(scope.get_current_value(variable))
        outputs = output if isinstance(output, list | tuple) else [output]
        self.formats.add(keras.backend.standardize_dtype(outputs[0].dtype))  # JAX makes float32 of float64
        outputs = [self.tap(out, call, name) for out, name in zip(outputs, ("y", "final0", "final1"))]
        return type(output)(outputs) if isinstance(output, list | tuple) else outputs[0]

    def whole(self) -> list[Notes]:
        """The calls that had values: others only asked for shapes. Those to which a gradient came back, if any."""
        valued = [call for call in self.calls if "x" in call]
        return [call for call in valued if came_back(call)] or valued

    def told(self, call: Notes, notes: list[str]) -> Call:
        """One call in lstmcore's terms, time in the order in which the layer goes."""
        layer = self.layer
        in_time = slice(None, None, -1 if layer.go_backwards else 1)

        def steps(a: np.ndarray) -> np.ndarray:
            return np.ascontiguousarray(a.swapaxes(0, 1)[in_time])  # (B, T, ...) -> (T, B, ...) as the layer reads it

        x = steps(call["x"])
        mask = steps(call["mask"].astype(bool)) if "mask" in call else None
        y = call["y"]
        dy = call.get("dy", np.zeros_like(y))
        if layer.return_sequences:
            y, dy = y.swapaxes(0, 1), dy.swapaxes(0, 1)  # in the order of the layer's own steps already
            y = masking_forward(y, mask)
            if mask is not None and not layer.zero_output_for_mask:
                repeats = ~mask & (np.cumsum(mask, axis=0) > 0)
                share = np.abs(dy[repeats]).sum() / max(np.abs(dy).sum(), np.finfo(float).tiny)
                if share > 0:
                    notes.append(
                        f"{share:.1%} of the upstream gradient came from padded steps, where Keras repeats the last "
                        "real output, and falls on that step (mask the loss, or set zero_output_for_mask)"
                    )
                dy = _piled(dy, mask)
        states = 2 if "c" in _states(layer) else 1
        state, dstate0, dstate = (_parts(call, name, states) for name in ("state", "dstate", "dfinal"))
        if mask is not None and not mask[0].all() and dstate0 is not None:
            notes.append("padding comes first: what Keras shows there differs by backend, so h0 is not compared")
            dstate0 = (None, *dstate0[1:])
        drawn = {"": call["drawn"]} if "drawn" in call else {}
        return Call(x, state, mask, y, dy, dstate, steps(call["dx"]) if "dx" in call else None, dstate0, drawn)


def came_back(call: Notes) -> bool:
    """Whether a gradient came back to a call."""
    return any(name.startswith("d") and name != "drawn" and not name.endswith(", times") for name in call)


class _NotedDropout:
    """While it lasts, the mask that a cell draws for its input is noted: it draws one for all steps."""

    def __init__(self, cell: keras.layers.Layer, training: bool, note: "Callable[[Tensor], object]"):
        self.cell, self.note = cell, note if training and cell.dropout else None

    def __enter__(self) -> None:
        if self.note is not None:
            self.own, self.noted = self.cell.get_dropout_mask, False
            object.__setattr__(self.cell, "get_dropout_mask", self._mask)

    def _mask(self, step: "Tensor") -> "Tensor":
        mask = self.own(step)
        if self.note is not None and not self.noted:
            self.noted = True
            self.note(mask)
        return mask

    def __exit__(self, *_: object) -> None:
        if self.note is not None:
            object.__delattr__(self.cell, "get_dropout_mask")


def _states(layer: keras.layers.RNN) -> str:
    return "hc" if isinstance(layer.cell, keras.layers.LSTMCell) else "h"


def _parts(call: Notes, name: str, states: int) -> State | None:
    parts = tuple(call.get(f"{name}{k}") for k in range(states))
    if all(part is None for part in parts):
        return None
    if name != "dfinal":
        return parts
    like = next(part for part in parts if part is not None)
    return tuple(np.zeros_like(like) if part is None else part for part in parts)


def _piled(dy: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """dy (T, B, H) of outputs that repeat the last real one -> that of the real ones: undoes the repetition."""
    piled, pile = np.zeros_like(dy), np.zeros_like(dy[0])
    for t in reversed(range(len(dy))):
        pile = pile + dy[t]
        piled[t] = np.where(mask[t, :, None], pile, 0)
        pile = np.where(mask[t, :, None], 0, pile)
    return piled
