"""Taps of the backends of Keras: the value unchanged, with the value and the gradient noted.

Under JAX both notes are callbacks, so that they work inside compiled functions.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from lstmcore.debug.watch.seen import Notes

if TYPE_CHECKING:
    import jax
    import torch

    Tensor: TypeAlias = torch.Tensor | jax.Array  # of the backend


def _torch_tap(value: "torch.Tensor", notes: Notes, name: str) -> "torch.Tensor":
    import torch

    value = torch.as_tensor(value)
    _note(notes, name, value.detach().cpu().double())
    if not value.requires_grad or not torch.is_grad_enabled():
        return value
    view = value.view_as(value)
    view.register_hook(lambda gradient: _add(notes, f"d{name}", gradient.detach().cpu().double()))
    return view.view_as(view)  # hooks of somebody's own come first on the way back


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
    notes[f"{name}, times"] = notes.get(f"{name}, times", np.zeros(())) + 1


def _add(notes: Notes, name: str, gradient: object) -> None:
    notes[name] = notes.get(name, np.zeros(())) + np.array(gradient, np.float64)
