"""The weights of a torch module under watch: what each call makes of them, and what hooks on them change afterwards.

During a call views stand in their places. So a gradient noted is that through this module alone, though the same tensor
may be used elsewhere (a tie, a penalty on its norm). What somebody's own hooks on the weight then do to the gradient
counts too: it is noted before and behind them, and the difference is added.
"""

import weakref
from collections.abc import Callable
from typing import cast

import numpy as np
import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from lstmcore.debug.watch.seen import Notes
from lstmcore.debug.watch.torch_modules import Recurrent, is_computed, weight_names

Tap = Callable[[torch.Tensor, str], torch.Tensor]
ELSEWHERE = 1e-3  # so much of a gradient, and it was no rounding


class Weights:
    """values: what the calls read; grads: what came back through them."""

    def __init__(self, module: Recurrent):
        self.module, self.names = module, weight_names(module)
        self.values: Notes = {}
        self.frozen: dict[str, bool] = {}
        self.through: Notes = {}  # through the calls
        self.before: Notes = {}  # all that reached the tensor, before and behind the hooks of others
        self.behind: Notes = {}
        self.known: dict[str, tuple[torch.Tensor, int]] = {}  # the tensor that a value was read of, and its version

    def attach(self, tap: Tap) -> list[RemovableHandle]:
        """Hooks on the weights themselves, and on what computes them. tap: notes what a weight is, and its gradient."""
        handles = []
        for name in self.names:
            if is_computed(self.module, name):
                computed = getattr(self.module.parametrizations, name)
                handles.append(computed.register_forward_hook(lambda _, __, value, name=name: tap(value, name)))
            elif isinstance(weight := getattr(self.module, name), nn.Parameter) and weight.requires_grad:
                handles += self._around_hooks(name, weight)
        return handles

    def _around_hooks(self, name: str, weight: nn.Parameter) -> list[RemovableHandle]:
        old: Notes = {}

        def before(gradient: torch.Tensor) -> None:
            old.pop("grad", None)
            if weight.grad is not None:
                old["grad"] = host(weight.grad)
            old["given"] = host(gradient)
            add(self.before, name, gradient)

        def behind(gradient: torch.Tensor) -> None:
            add(self.behind, name, gradient)
            old["given"] = host(gradient)

        def accumulated(weight: torch.Tensor) -> None:
            """.grad should have grown by the gradient; where a hook has changed it, that counts."""
            if weight.grad is None or not weight.grad.any() or "given" not in old:
                return  # used up already: an optimizer inside the backward pass
            now, was = host(weight.grad), old.get("grad", np.zeros(()))
            change = now - was - old["given"]
            rounding = 4 * torch.finfo(weight.dtype).eps * (np.abs(now) + np.abs(was) + np.abs(old["given"]))
            if np.any(np.abs(change) > rounding):
                self.behind[name] = self.behind[name] + change

        handles = [weight.register_hook(before)]
        hooks = weight._backward_hooks
        if hooks is not None:  # the first of them
            others = list(hooks.items())
            hooks.clear()
            hooks.update([others[-1], *others[:-1]])
        return [
            *handles,
            weight.register_hook(behind),
            weight.register_post_accumulate_grad_hook(accumulated),
        ]

    def swap(self, module: Recurrent, tap: Tap) -> Callable[[], None]:
        """Views in the places of the weights, until what this returns is called. module: or a replica of it."""
        own = cast("dict[str, torch.Tensor]", module._parameters)  # a view is no Parameter
        places = [own if name in own else vars(module) for name in self.names]
        saved = [(place, name, place[name]) for place, name in zip(places, self.names) if name in place]
        views = {name: tap(weight, name) for _, name, weight in saved}
        for place, name, _ in saved:
            place[name] = views[name]
        if isinstance(module, nn.RNNBase):  # which reads its weights from a list, once it has found them unchanged
            for key in ("_flat_weights", "_flat_weight_refs"):
                saved.append((vars(module), key, vars(module)[key]))
            held = zip(module._flat_weights_names, module._flat_weights)
            vars(module)["_flat_weights"] = [views.get(name, weight) for name, weight in held]
            vars(module)["_flat_weight_refs"] = [weakref.ref(weight) for weight in module._flat_weights]

        def back() -> None:
            for place, name, weight in saved:
                place[name] = weight

        return back

    def note(self, name: str, weight: torch.Tensor) -> None:
        """What a call reads. Raises RuntimeError where it is not what the calls before have read."""
        known = self.known.get(name)
        if known is not None and known[0] is weight and known[1] == version(weight) >= 0:
            return
        value = host(weight)
        if name in self.values and np.any(value != self.values[name]):
            computed = "" if weight.is_leaf else f" ({name} is computed anew for each call)"
            raise RuntimeError(f"watch one training step at a time: the weights changed between two calls{computed}")
        self.values[name], self.known[name] = value, (weight, version(weight))
        self.frozen[name] = not weight.requires_grad

    def grads(self) -> Notes:
        """The gradient of each weight through this module, behind the hooks of others."""
        found = {**self.before, **self.through}  # a forward of somebody's own may have read them past the views
        return {name: g + self.behind.get(name, 0.0) - self.before.get(name, 0.0) for name, g in found.items()}

    def notes(self, eps: float) -> list[str]:
        """In words: what is not compared, and what hooks have changed."""
        said = {
            "frozen, so without a gradient to compare": [name for name in self.names if self.frozen.get(name)],
            "computed from other weights, whose gradients are not compared": [
                name for name in self.names if name in self.values and not self.known[name][0].is_leaf
            ],
            "used outside of this layer too, and what came from there is not compared": [
                name
                for name, g in self.through.items()
                if _differ(self.before.get(name, g), g, max(ELSEWHERE, 16 * eps))
            ],
            "changed by a hook on the weight, after the layer gave its gradient": [
                name for name, g in self.before.items() if _differ(self.behind.get(name, g), g, 0.0)
            ],
        }
        return [f"{words}: {', '.join(names)}" for words, names in said.items() if names]


def _differ(a: np.ndarray, b: np.ndarray, share: float) -> bool:
    return bool(np.max(np.abs(a - b)) > share * np.max(np.abs(b)))


def add(notes: Notes, name: str, gradient: torch.Tensor) -> None:
    """Adds a gradient to what is noted under a name."""
    value = host(gradient)
    notes[name] = notes[name] + value if name in notes else value


def version(tensor: torch.Tensor) -> int:
    """How often it was written to; -1 where torch does not count."""
    return -1 if tensor.is_inference() else tensor._version


def host(tensor: torch.Tensor) -> np.ndarray:
    """The numbers of a tensor, copied, in float64."""
    return tensor.detach().to("cpu", torch.float64).numpy().copy()
