"""The recorder for a torch module, or a torch function whose arguments are x and the weights: hooks note all of it.

Where a torch.autograd.Function with a backward of its own was used, the truth of its own forward is known: its forward
is run again as plain operations, and autograd goes back through those.
"""

from collections.abc import Callable
from typing import Any, TypeAlias, cast

import numpy as np
import torch
from torch.utils.hooks import RemovableHandle

from lstmcore.arrays import Plain
from lstmcore.debug.record.found import Found, table
from lstmcore.debug.record.names import INPUTS, STATES, arguments, called
from lstmcore.debug.watch.seen import Notes
from lstmcore.debug.watch.torch_recorder import add_to, tap
from lstmcore.debug.watch.torch_weights import host

Args = tuple[object, ...]
Given: TypeAlias = "tuple[torch.Tensor, *Args]"
ROUNDINGS = 4096  # units of rounding, as in gradcheck


class Parts:
    """Notes one call of a module or a function, or the calls of a cell, one for each step.

    A cell gets back views of what it gave. Where it is called with one, it gets the tensor itself: so what the view
    notes is the gradient from outside alone, which is dy. A Linear that was called once, later than all else, on every
    output or on the last, is a head: then what it read are the outputs.
    """

    def __init__(self, thing: Any):
        self.thing, self.module = thing, isinstance(thing, torch.nn.Module)
        self.forward = thing.forward if self.module else thing
        self.handles: list[RemovableHandle] = []
        self.notes: Notes = {}  # "x 0", "dx 0", "d out0 0": by call; "d NAME": gradients
        self.calls = 0
        self.outputs: list[list[torch.Tensor]] = []  # of each call
        self.handed: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}  # the view that was given for a tensor
        self.linear: dict[str, list[torch.Tensor]] = {}  # what each Linear inside read, the last one last

    def attach(self) -> None:
        if self.module:
            before = self.thing.register_forward_pre_hook(lambda m, args, kw: self._before(args, kw), with_kwargs=True)
            self.handles = [before, self.thing.register_forward_hook(lambda m, args, out: self._after(out))]
            for name, part in self.thing.named_modules():
                if isinstance(part, torch.nn.Linear) and part is not self.thing:
                    self.handles.append(part.register_forward_pre_hook(self._read_by(name)))
            self._weights(dict(self.thing.named_parameters()))

    def detach(self) -> None:
        for handle in self.handles:
            handle.remove()

    def call(self, *args: object, **kwargs: object) -> object:
        """The thing, seen: a module calls its hooks by itself."""
        if self.module:
            return self.thing(*args, **kwargs)
        args, kwargs = self._before(args, kwargs)
        return self._after(self.thing(*args, **kwargs))

    def _weights(self, weights: dict[str, torch.Tensor]) -> None:
        self.weights = weights
        self.values = {name: host(weight) for name, weight in weights.items()}
        for name, weight in weights.items():
            if weight.requires_grad:
                self.handles.append(weight.register_hook(add_to(self.notes, f"d {name}")))

    def _read_by(self, name: str) -> Callable[[object, Given], Args]:
        def hook(module: object, args: Given) -> Args:
            calls = self.linear.pop(name, [])
            self.linear[name] = [*calls, args[0]]
            return args if calls else (tap(args[0], self.notes, f" by {name}"), *args[1:])

        return hook

    def _before(self, args: Args, kwargs: Plain) -> tuple[Args, Plain]:
        args, kwargs = cast("tuple[Args, Plain]", _mapped((args, kwargs), self._itself))
        given = arguments(self.forward, args, kwargs)
        if self.calls == 0:
            self._looked_at(given)
        self.calls += 1
        x = given.get(self.x_name)
        if not isinstance(x, torch.Tensor):
            return args, kwargs
        seen = tap(x, self.notes, f"x {self.calls - 1}")
        return tuple(seen if a is x else a for a in args), {k: seen if a is x else a for k, a in kwargs.items()}

    def _itself(self, tensor: torch.Tensor) -> torch.Tensor:
        """What a view was given for; any other tensor as it is."""
        return self.handed[id(tensor)][1] if id(tensor) in self.handed else tensor

    def _looked_at(self, given: Plain) -> None:
        """The weights of a function, and which argument is x and which are states."""
        tensors = {k: v for k, v in given.items() if isinstance(v, torch.Tensor)}
        if not self.module:
            inside = {f"{k}.{n}": w for k, v in given.items() if isinstance(v, dict) for n, w in v.items()}
            asked = {k: v for k, v in {**tensors, **inside}.items() if v.requires_grad and v.is_leaf and v.ndim > 0}
            self._weights({k: v for k, v in asked.items() if k.split(".")[-1].lower() not in (*INPUTS, *STATES)})
        able = {k: v for k, v in tensors.items() if k not in self.weights and v.ndim > 1}
        self.x_name = next(iter(called(able, INPUTS)), "")
        pairs = [v for v in given.values() if isinstance(v, tuple) and v and isinstance(v[0], torch.Tensor)]
        self.states = {k: v for k, v in tensors.items() if k.lower() in STATES and k != self.x_name}
        self.states |= {name: v for pair in pairs for name, v in zip(("h0", "c0"), pair)}
        self.given = given

    def _after(self, output: object) -> object:
        self.outputs.append([])
        call, outputs = self.calls - 1, self.outputs[-1]

        def handed_on(tensor: torch.Tensor) -> torch.Tensor:
            """A view, so that the gradient noted is that of what came out, not of what is used inside."""
            view = tensor.view_as(tensor) if tensor.requires_grad else tensor
            if tensor.requires_grad:
                view.register_hook(add_to(self.notes, f"d out{len(outputs)} {call}"))
                self.handed[id(view)] = view, tensor
            outputs.append(view)
            return view

        return _mapped(output, handed_on)

    def found(self) -> Found:
        """All of it, by name and shape."""
        name = type(self.thing).__name__ if self.module else getattr(self.thing, "__name__", "the function")
        if self.calls != 1 and (self.calls == 0 or self.notes.get("x 0", np.zeros(0)).ndim != 2):
            often = f"was called {self.calls} times: record one call over all steps" if self.calls else "was not called"
            hint = "" if self.module or self.calls else " (call it as seen(x, ...))"
            raise RuntimeError(f"{name} {often} inside the with block{hint}")
        came = [k for k in range(len(self.outputs[-1])) if f"d out{k} {self.calls - 1}" in self.notes]
        came = came or [k for k in range(len(self.outputs[-1])) if f"d out{k} 0" in self.notes]
        if not came:
            raise RuntimeError("no gradient came back: call loss.backward() inside the with block, with grad enabled")
        values, x, dx = self.values, self.notes.get("x 0"), self.notes.get("dx 0")
        said: list[tuple[str, str, np.ndarray | None]]
        if self.calls > 1:
            x, y, dy, dx, dstate = self._steps()
            said = [("x", f"{self.x_name} of {name}, called {self.calls} times", x), ("y", "what it gave", y)]
            said += [("dy", "by a hook on it", dy)]
        else:
            head = self._head()
            if head:
                y, dy, dstate = self.notes[f" by {head}"], self.notes[f"d by {head}"], {}
                values = {k: a for k, a in values.items() if not k.startswith(f"{head}.")}
            else:
                y, dy, dstate = self._outputs(came, () if x is None else x.shape[:-1])
            said = [("x", f"{self.x_name} of {name}", x), ("y", f"what {head} read" if head else "what it gave", y)]
            said += [("dy", "by a hook on it", dy)]
        grads = {name: self.notes[f"d {name}"] for name in values if f"d {name}" in self.notes}
        grads |= {} if dx is None else {"x": dx}
        states = {STATES.get(k.lower(), k): host(v).reshape(-1, v.shape[-1]) for k, v in self.states.items()}
        said += [(k, "by a hook" if k in grads else "without a gradient", a) for k, a in values.items()]
        said += [(k, "given to the first step", a) for k, a in states.items()]
        unused = [
            k for k, v in self.given.items() if k != self.x_name and k not in self.weights and k not in self.states
        ]
        return Found(values, grads, x, dy, y, states, dstate, table(said, unused), self.own)

    def _head(self) -> str:
        """The Linear that read the outputs, if there is one."""
        name, calls = next(reversed(self.linear.items()), ("", []))
        x = self.notes.get("x 0")
        others = any(not key.startswith(f"{name}.") for key in self.values)
        if len(calls) != 1 or not others or x is None or x.ndim != 3 or np.array_equal(host(calls[0]), x):
            return ""
        width = self.values[f"{name}.weight"].shape[0]
        gave = width == 1 or any(out.shape[-1] == width for out in self.outputs[0])
        return name if gave and f"d by {name}" in self.notes else ""

    def _outputs(self, came: list[int], lead: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, Notes]:
        """y, dy and the gradients of final states, of one call."""
        outputs = self.outputs[0]
        self.y = next((k for k in came if tuple(outputs[k].shape[:-1]) == lead), came[0])
        final = [k for k in range(len(outputs)) if k != self.y and outputs[k].ndim <= 3]
        finals = {s: k for s, k in zip(("h0", "c0"), final) if f"d out{k} 0" in self.notes}
        dstate = {s: self.notes[f"d out{k} 0"].reshape(-1, outputs[k].shape[-1]) for s, k in finals.items()}
        return host(outputs[self.y]), self.notes[f"d out{self.y} 0"], dstate

    def _steps(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None, Notes]:
        """x, y, dy, dx (T, B, .) of a cell, and the gradient of the last c."""
        calls, self.y = range(self.calls), 0
        first = [self._itself(out) for out in self.outputs[0]]
        same = [k for k, tensor in enumerate(first) if tensor is first[0]]  # h, and h again in the state
        c = next((k for k in range(len(first)) if k not in same), None)
        x = np.array([self.notes[f"x {t}"] for t in calls])
        y = np.array([host(out[0]) for out in self.outputs])
        dy = np.array([sum(self.notes.get(f"d out{k} {t}", np.zeros_like(y[t])) for k in same) for t in calls])
        dx = np.array([self.notes[f"dx {t}"] for t in calls]) if "dx 0" in self.notes else None
        last = f"d out{c} {self.calls - 1}"
        return x, y, dy, dx, {"c0": self.notes[last]} if last in self.notes else {}

    def own(self) -> str:
        """Whether what a backward of one's own gave is the gradient of one's own forward."""
        functions = [f for out in self.outputs for f in _written_by_hand(out[0])]
        if not functions:
            return "your own forward: autograd made these gradients from it, so for it they are right"
        if self.calls > 1 or not hasattr(self, "y"):
            return "your own forward: it cannot be run again by itself, as a cell or with a head on it"
        held = {name: weight.detach().clone().requires_grad_() for name, weight in self.weights.items()}
        with _as_plain_operations(functions):
            arguments_again = {k: v.detach() if isinstance(v, torch.Tensor) else v for k, v in self.given.items()}
            if self.module:
                output = torch.func.functional_call(self.thing, held, (), arguments_again)
            else:
                given: Plain = dict(arguments_again)
                for name, weight in held.items():
                    holder, _, key = name.rpartition(".")
                    given = {**given, holder: {**given[holder], key: weight}} if holder else {**given, name: weight}
                output = self.thing(**given)
            y = _tensors(output)[self.y]
            (y * torch.as_tensor(self.notes[f"d out{self.y} 0"], dtype=y.dtype)).sum().backward()
        worst, at = 0.0, ""
        for name, weight in held.items():
            if weight.grad is not None and f"d {name}" in self.notes:
                right = host(weight.grad)
                off = float(np.max(np.abs(right - self.notes[f"d {name}"])) / max(float(np.max(np.abs(right))), 1e-300))
                worst, at = max((worst, at), (off, name))
        names = ", ".join(f.__name__ for f in functions)
        if worst <= ROUNDINGS * torch.finfo(y.dtype).eps:
            return f"your own forward: the backward of {names} is right for it, by autograd (off by {worst:.1e})"
        return (
            f"your own forward: the backward of {names} is wrong for it too, by autograd (off by {worst:.1e} in {at})"
        )


class _Context:
    """What stands for ctx while a forward is run as plain operations."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *args, **kwargs: None

    needs_input_grad = (False,) * 64


class _as_plain_operations:
    """While it lasts, `apply` of these functions runs their forward and lets autograd go back through it."""

    def __init__(self, functions: list[type[torch.autograd.Function]]):
        self.functions = functions

    def __enter__(self) -> None:
        for function in self.functions:
            function.apply = staticmethod(_plain(function))  # type: ignore[method-assign, unused-ignore]  # without torch

    def __exit__(self, *_: object) -> None:
        for function in self.functions:
            del function.apply


def _plain(function: type[torch.autograd.Function]) -> Callable[..., object]:
    takes_context = function.setup_context is torch.autograd.Function.setup_context
    return lambda *args: function.forward(*((_Context(), *args) if takes_context else args))


def _written_by_hand(y: torch.Tensor) -> list[type[torch.autograd.Function]]:
    """The torch.autograd.Functions on the way to y."""
    found: list[type[torch.autograd.Function]] = []
    seen, ahead = set(), [y.grad_fn]
    while ahead:
        node = ahead.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        function = getattr(type(node), "_forward_cls", None)
        if function is not None and function not in found:
            found.append(function)
        ahead += [below for below, _ in node.next_functions]
    return found


def _tensors(output: object) -> list[torch.Tensor]:
    found: list[torch.Tensor] = []

    def noted(tensor: torch.Tensor) -> torch.Tensor:
        found.append(tensor)
        return tensor

    _mapped(output, noted)
    return found


def _mapped(output: object, function: Callable[[torch.Tensor], torch.Tensor]) -> object:
    """Tuples, lists and dicts of tensors, each tensor replaced."""
    if isinstance(output, torch.Tensor):
        return function(output)
    if isinstance(output, dict):
        return {key: _mapped(part, function) for key, part in output.items()}
    if isinstance(output, tuple | list) and type(output) in (tuple, list):
        return output.__class__(_mapped(part, function) for part in output)
    return output
