"""What all optimizers share: the checks, the decay of the weights, and what is remembered for each parameter."""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lstmcore.arrays import Array, dtype_name, namespace
from lstmcore.shapes import check_like


class Optimizer:
    """Moves parameters against their gradients. The update rules are in optimizers.py; each fills in four things:

    slots       the names of the arrays that it remembers for each parameter, zero at first
    numbers     what its formula needs beside arrays, at learning rate lr and step t: plain floats
    rule        its formula, pointwise: (sqrt, w, dw, *slots, *numbers) -> (w, *slots), all new
    decoupled   true if the weights decay beside the gradient, in place of through it (AdamW)

    Three numbers belong to every rule:

    lr            the learning rate; `opt.lr` can be assigned at any time
    weight_decay  L2. Through the gradient: dw + weight_decay w, the gradient of weight_decay / 2 ||w||^2 beside the
                  loss. Decoupled: w is first multiplied by 1 - lr weight_decay.
    l1            L1: dw + l1 sign(w), a subgradient of l1 ||w||_1. Always through the gradient.

    Both reach every parameter that has a gradient, biases too. To spare some, step twice with two optimizers and a part
    of the gradients each.
    """

    slots: tuple[str, ...] = ()
    decoupled = False

    def __init__(self, lr: float, weight_decay: float, l1: float):
        self.lr = lr
        self.weight_decay = number("weight_decay", weight_decay)
        self.l1 = number("l1", l1)
        self._state: dict[str, dict[str, Any]] = {}

    numbers: Callable[..., tuple[float, ...]]
    rule: Callable[..., tuple]

    def step(self, params: Mapping[str, Array], grads: Mapping[str, Array]) -> None:
        """Moves, in place, every parameter that has a gradient.

        params: name -> array, as `layer.params`. grads: name -> its gradient, as `layer.backward` gives them; left
        unchanged. A parameter without a gradient is left alone, and so is what is remembered of it: that is how to
        freeze one. Raises KeyError for a gradient without a parameter, ValueError or TypeError for another shape, dtype
        or array library; then nothing has been changed.
        """
        steps = [(*self._checked(params, name, dw), dw) for name, dw in grads.items()]
        for name, w, memory, dw in steps:
            self._state[name] = memory
            memory["t"] += 1
            keep = 1 - self.lr * self.weight_decay if self.decoupled else 1.0
            decay = 0.0 if self.decoupled else self.weight_decay
            arrays = (w, *(memory[slot] for slot in self.slots))
            _update(self.rule, arrays, dw, (keep, decay, self.l1), self.numbers(self.lr, memory["t"]))

    @property
    def lr(self) -> float:
        return self._lr

    @lr.setter
    def lr(self, lr: float) -> None:
        self._lr = number("lr", lr)

    @property
    def state(self) -> dict[str, dict[str, Any]]:
        """What is remembered: name -> {"t": steps so far, slot: array, ...}. The optimizer's own arrays, not copies.

        Assigning copies: with a saved state, and the same numbers in the constructor, training goes on bit for bit as
        it would have without the pause. Raises ValueError for the state of another kind of optimizer.
        """
        return self._state

    @state.setter
    def state(self, state: Mapping[str, Mapping[str, Any]]) -> None:
        wanted = {"t", *self.slots}
        for name, memory in state.items():
            if set(memory) != wanted:
                raise ValueError(
                    f"`state` of {name!r} should hold {', '.join(sorted(wanted))}, as {type(self).__name__} remembers; "
                    f"got {', '.join(sorted(memory)) or 'nothing'} (the state of another optimizer?)"
                )
        self._state = {
            name: {"t": int(memory["t"])}
            | {slot: namespace(memory[slot]).asarray(memory[slot], copy=True) for slot in self.slots}
            for name, memory in state.items()
        }

    def __repr__(self) -> str:
        constants = {"lr": self.lr} | {k: v for k, v in vars(self).items() if not k.startswith("_")}
        return f"{type(self).__name__}({', '.join(f'{name}={value:g}' for name, value in constants.items())})"

    def _checked(self, params: Mapping[str, Array], name: str, dw: Array) -> tuple[str, Array, dict[str, Any]]:
        """The parameter, and what is remembered of it, once they are found to fit its gradient."""
        if name not in params:
            raise KeyError(f"gradient {name!r} has no parameter; there are {', '.join(params)} (of another model?)")
        w = params[name]
        _check_fits(f"grads[{name!r}]", dw, w)
        memory = self._state.get(name)
        if memory is None:
            if not dtype_name(w.dtype).startswith("float"):
                raise TypeError(f"`params[{name!r}]` should be float32 or float64 to be trained; got {w.dtype}")
            return name, w, {"t": 0} | {slot: namespace(w).zeros_like(w) for slot in self.slots}
        for slot in self.slots:
            _check_fits(f"state[{name!r}][{slot!r}]", memory[slot], w)
        return name, w, memory


def _update(
    rule: Callable, arrays: tuple[Array, ...], dw: Array, decays: tuple[float, float, float], numbers: tuple[float, ...]
) -> None:
    """One step of one parameter and its slots, `arrays`, in place: compiled for NumPy, in array code elsewhere."""
    w, *slots = arrays
    if isinstance(w, np.ndarray) and all(a.flags.c_contiguous for a in (dw, *arrays)):
        _compiled()(rule, arrays, dw, (*decays, *numbers))
        return
    xp = namespace(w)
    keep, decay, l1 = decays
    dw = dw + decay * w + l1 * xp.sign(w)
    for a, new in zip(arrays, rule(xp.sqrt, keep * w, dw, *slots, *numbers)):
        a[...] = new


@functools.cache
def _compiled() -> Callable:
    """The compiled update, imported when it is needed: Numba takes a while."""
    from lstmcore.train.update_cpu import update

    return update


def number(name: str, value: float, below: float = math.inf) -> float:
    """A number in [0, below), as a plain float: NumPy's float64 would widen float32 arrays."""
    try:
        checked = float(value)
    except (TypeError, ValueError):
        checked = math.nan
    if not 0 <= checked < below:
        raise ValueError(f"`{name}` should be a number in [0, {below:g}); got {value!r}")
    return checked


def _check_fits(name: str, value: Array, w: Array) -> None:
    # The first line decides nearly always; it is short because it runs for every parameter at every step.
    if type(value) is type(w) and value.shape == w.shape and value.dtype == w.dtype:
        return
    check_like(name, value, tuple(w.shape), "the shape of the parameter", w)
