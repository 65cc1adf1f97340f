"""The hooks of `watch` in a Keras 3 LSTM, on the torch and the jax backend.

The layer's `call` is wrapped. Weights, input, initial state and outputs go through taps: functions that change nothing,
and note the value on the way forward and the gradient on the way back. Under JAX both notes are callbacks, so that they
work inside compiled functions; weights are exchanged for tapped ones in a StatelessScope, as Keras does itself.

At padded steps Keras repeats the last real output, unless `zero_output_for_mask`. So what the loss says about padding
is not lost: it piles up on the last real step, and it is added there before lstmcore gets it.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

import keras
import numpy as np
from ml_dtypes import finfo

from lstmcore.arrays import State
from lstmcore.debug.watch.seen import Call, Notes, Seen
from lstmcore.ops.masking import masking_forward

if TYPE_CHECKING:
    import jax
    import torch

    Tensor: TypeAlias = torch.Tensor | jax.Array  # of the backend


class Recorder:
    """Notes the calls of one layer. Raises ValueError for what lstmcore has not."""

    def __init__(self, layer: keras.layers.Layer):
        if not isinstance(layer, keras.layers.LSTM):
            raise TypeError(f"`module` should be a Keras 3 LSTM layer; got {type(layer).__name__}")
        if keras.backend.backend() not in TAPS:
            raise ValueError(f"Keras can be watched on {' and '.join(TAPS)}; it runs on {keras.backend.backend()}")
        cell = layer.cell
        if cell.activation is not keras.activations.tanh or cell.recurrent_activation is not keras.activations.sigmoid:
            raise ValueError("`module` should have the activations tanh and sigmoid; its own are others")
        if not layer.built:
            raise ValueError("`module` should be built: call the model once before the watch")
        if layer.stateful:
            raise ValueError("`module` should not be stateful: hand the state over as initial_state")
        if layer.zero_output_for_mask and not layer.return_sequences:
            raise ValueError("`module` should return sequences if it has zero_output_for_mask")
        self.layer, self.tap = layer, TAPS[keras.backend.backend()]
        self.calls: list[Notes] = []
        self.obstacles: tuple[str, ...] = ()

    def attach(self) -> None:
        self.own_call = self.layer.call
        object.__setattr__(self.layer, "call", self._call)  # past Keras, which would look for variables in it

    def detach(self) -> None:
        object.__delattr__(self.layer, "call")
        if keras.backend.backend() == "jax":
            import jax

            jax.effects_barrier()  # until every callback has come back

    def _call(
        self,
        sequences: "Tensor",
        initial_state: "Sequence[Tensor] | None" = None,
        mask: "Tensor | Sequence[Tensor] | None" = None,
        training: bool = False,
    ) -> "Tensor | Sequence[Tensor]":
        cell = self.layer.cell
        if training and (cell.dropout or cell.recurrent_dropout):
            self.obstacles = ("Keras does not tell what its dropout drew; set it to 0, or watch with training=False",)
            return self.own_call(sequences, initial_state, mask, training)
        call: Notes = {}
        self.calls.append(call)
        tapped = [(v, self.tap(v.value, call, name)) for name, v in self._weights().items()]
        sequences = self.tap(sequences, call, "x")
        if initial_state is not None:
            initial_state = [self.tap(s, call, f"state{k}") for k, s in enumerate(initial_state)]
        if mask is not None:
            mask = mask[0] if isinstance(mask, list | tuple) else mask
            self.tap(mask, call, "mask")
        with keras.StatelessScope(tapped):
            output = self.own_call(sequences, initial_state, mask, training)
        outputs = output if isinstance(output, list | tuple) else [output]
        outputs = [self.tap(out, call, name) for out, name in zip(outputs, ("y", "final0", "final1"))]
        return type(output)(outputs) if isinstance(output, list | tuple) else outputs[0]

    def _weights(self) -> dict[str, keras.Variable]:
        cell = self.layer.cell
        weights = {"kernel": cell.kernel, "recurrent_kernel": cell.recurrent_kernel, "bias": cell.bias}
        return {name: v for name, v in weights.items() if v is not None}

    def seen(self) -> Seen:
        """All of it in lstmcore's terms."""
        calls = [call for call in self.calls if "x" in call]  # without values: a call that only asked for shapes
        if not calls and not self.obstacles:
            raise RuntimeError(
                "the watched layer was not called inside the with block, or in a function compiled before it "
                "(compile anew: model.make_train_function(force=True))"
            )
        if not calls:
            raise RuntimeError(f"this step cannot be replayed: {self.obstacles[0]}")
        weights = {name: calls[0][name] for name in self._weights()}
        if any(call[f"{name}, times"] > 1 for call in calls for name in weights) or any(
            np.any(call[name] != weights[name]) for call in calls for name in weights
        ):
            raise RuntimeError("watch one training step at a time: the layer ran in two")
        if not any(name.startswith("d") for call in calls for name in call):
            raise RuntimeError("no gradient came back: differentiate the loss inside the with block")
        grads = {
            name: sum(call[f"d{name}"] for call in calls if f"d{name}" in call)
            for name in weights
            if any(f"d{name}" in call for call in calls)
        }
        notes: list[str] = []
        told = tuple(self._told(call, notes) for call in calls)
        eps = float(finfo(self.layer.compute_dtype).eps)
        return Seen(
            "keras", "lstm", weights, grads, told, self.layer.return_sequences, eps, tuple(notes), self.obstacles
        )

    def _told(self, call: Notes, notes: list[str]) -> Call:
        in_time = slice(None, None, -1 if self.layer.go_backwards else 1)

        def steps(a: np.ndarray) -> np.ndarray:
            return np.ascontiguousarray(a.swapaxes(0, 1)[in_time])  # (B, T, ...) -> (T, B, ...) as the layer reads it

        x = steps(call["x"])
        mask = steps(call["mask"].astype(bool)) if "mask" in call else None
        y = call["y"]
        dy = call.get("dy", np.zeros_like(y))
        if self.layer.return_sequences:
            y, dy = y.swapaxes(0, 1), dy.swapaxes(0, 1)  # in the order of the layer's own steps already
            y = masking_forward(y, mask)
            if mask is not None and not self.layer.zero_output_for_mask:
                repeats = ~mask & (np.cumsum(mask, axis=0) > 0)
                share = np.abs(dy[repeats]).sum() / max(np.abs(dy).sum(), np.finfo(float).tiny)
                if share > 0:
                    notes.append(
                        f"{share:.1%} of the upstream gradient came from padded steps, where Keras repeats the last "
                        "real output, and falls on that step (mask the loss, or set zero_output_for_mask)"
                    )
                dy = _piled(dy, mask)
        state, dstate0, dstate = (self._parts(call, name) for name in ("state", "dstate", "dfinal"))
        if mask is not None and not mask[0].all() and dstate0 is not None:
            notes.append("padding comes first: what Keras shows there differs by backend, so h0 is not compared")
            dstate0 = (None, *dstate0[1:])
        return Call(x, state, mask, y, dy, dstate, steps(call["dx"]) if "dx" in call else None, dstate0)

    def _parts(self, call: Notes, name: str) -> State | None:
        parts = tuple(call.get(f"{name}{k}") for k in range(2))
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


# ---- taps: the value unchanged, with the value and the gradient noted -------------------------------------------


def _torch_tap(value: "torch.Tensor", notes: Notes, name: str) -> "torch.Tensor":
    import torch

    value = torch.as_tensor(value)
    _note(notes, name, value.detach().cpu())
    if not value.requires_grad or not torch.is_grad_enabled():
        return value
    view = value.view_as(value)
    view.register_hook(lambda gradient: _add(notes, f"d{name}", gradient.detach().cpu()))
    return view


def _jax_tap(value: "jax.Array", notes: Notes, name: str) -> "jax.Array":
    import jax

    jax.debug.callback(lambda v: _note(notes, name, v), value)
    if not jax.numpy.issubdtype(value.dtype, jax.numpy.floating):
        return value

    def backward(_: None, gradient: jax.Array) -> tuple[jax.Array]:
        jax.debug.callback(lambda g: _add(notes, f"d{name}", g), gradient)
        return (gradient,)

    tap = jax.custom_vjp(lambda v: v)
    tap.defvjp(lambda v: (v, None), backward)
    return tap(value)


TAPS: "dict[str, Callable[..., Tensor]]" = {"torch": _torch_tap, "jax": _jax_tap}


def _note(notes: Notes, name: str, value: object) -> None:
    notes[name] = np.array(value, np.float64)
    notes[f"{name}, times"] = notes.get(f"{name}, times", 0) + 1


def _add(notes: Notes, name: str, gradient: object) -> None:
    notes[name] = notes.get(name, 0) + np.array(gradient, np.float64)
