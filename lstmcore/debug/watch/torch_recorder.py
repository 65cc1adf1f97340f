"""The hooks of `watch` in a torch.nn.LSTM, GRU, RNN, or a cell of these.

Input, initial state, weights and outputs are handed on as new views. So the gradient noted is that through this layer
alone, whatever else they are used for, and after whatever hooks other people put on an output.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence
from torch.utils.hooks import RemovableHandle

from lstmcore.debug.watch.seen import PRECISIONS, Notes, Seen
from lstmcore.debug.watch.torch_modules import Recurrent, cell_of, options_of, watchable
from lstmcore.debug.watch.torch_operations import Operations
from lstmcore.debug.watch.torch_told import Noted, joined, told
from lstmcore.debug.watch.torch_weights import Weights, add, host, version

Given: TypeAlias = "dict[str, torch.Tensor | PackedSequence | Sequence[torch.Tensor]]"
Output: TypeAlias = Any  # y and the final state, a state, or None after an error: as the module nests them


LEFT_OUT = "a call that is left out"
NO_HOOKS = 'which has no place for hooks: run the step under torch.compiler.set_stance("force_eager")'


@dataclass
class Hook:
    """A hook that stays with the module that is watched: in a copy or a file of it, it does nothing."""

    function: Callable[..., object]

    def __call__(self, *args: object) -> object:
        return self.function(*args)

    def __reduce__(self) -> tuple[object, ...]:
        return Hook, (_nothing,)


def _nothing(*_: object) -> None:
    pass


@dataclass
class Open:
    """A call that has begun."""

    noted: Noted
    operations: Operations
    put_back: Callable[[], None]


@dataclass
class Derivatives:
    """Which backward passes there were: after one that can be differentiated itself, another may be of second order."""

    differentiable: set[int] = field(default_factory=set)
    second: bool = False

    def note(self) -> None:
        task = torch._C._current_graph_task_id()
        if torch.is_grad_enabled():  # create_graph=True
            self.differentiable.add(task)
        elif self.differentiable - {task}:
            self.second = True


class Recorder:
    """Notes the calls of one module. Raises ValueError for what lstmcore lacks, TypeError for another module."""

    def __init__(self, module: nn.Module):
        self.module: Recurrent = watchable(module)
        self.options = options_of(self.module)
        self.weights = Weights(self.module)
        self.calls: list[Noted] = []
        self.open: dict[int, Open] = {}  # by thread: DataParallel runs its replicas at once
        self.handed: dict[int, tuple[torch.Tensor, Noted, int]] = {}  # final states handed on, by their identity
        self.derivatives = Derivatives()
        self.cuts: list[tuple[Noted, Noted, str]] = []
        self.compiled = False
        self.lock = threading.Lock()  # one call after the other: views stand in the places of the weights

    def attach(self) -> None:
        """Raises RuntimeError if another watch is on: two would put each other's views in the places of the weights."""
        if any(isinstance(hook, Hook) for hook in self.module._forward_pre_hooks.values()):
            raise RuntimeError("`module` is watched already")
        self.handles: list[RemovableHandle] = [
            self.module.register_forward_pre_hook(Hook(self._before), with_kwargs=True),
            self.module.register_forward_hook(Hook(self._after), with_kwargs=True, always_call=True),
            *self.weights.attach(self._weight),
        ]

    def detach(self) -> None:
        for handle in self.handles:
            handle.remove()
        for call in self.open.values():  # what a key press has interrupted
            self._close(call)

    def _weight(self, weight: torch.Tensor, name: str) -> torch.Tensor:
        if torch.compiler.is_compiling() or threading.get_ident() not in self.open:  # read outside of a call
            return weight
        self.weights.note(name, weight)
        return self._tap(weight, self.weights.through, name, name)

    def _before(self, module: Recurrent, args: tuple, kwargs: Given) -> tuple[tuple, Given] | None:
        """Notes what the layer is given, and hands on views that note their gradients."""
        if torch.compiler.is_compiling():
            self.compiled = True
            return None
        if torch._C._are_functorch_transforms_active():
            raise RuntimeError(
                "a transform of torch.func (grad, vmap, ...) cannot be watched: its gradients pass no hooks; watch a "
                "step with loss.backward()"
            )
        noted = Noted(training=module.training)
        given: Given = {**dict(zip(("input", "hx"), args)), **kwargs}
        x, hx = given["input"], given.get("hx")
        if isinstance(x, PackedSequence):
            noted.packed = x
            given["input"] = PackedSequence(self._noted(x.data, noted.notes, "x"), *x[1:])
        elif isinstance(x, torch.Tensor):
            given["input"] = self._noted(x, noted.notes, "x")
        parts = [hx] if isinstance(hx, torch.Tensor) else [] if hx is None else list(hx)
        states = [part for part in parts if isinstance(part, torch.Tensor)]
        self._follow(noted, states)
        taps = tuple(self._noted(part, noted.notes, f"state{k}") for k, part in enumerate(states))
        if taps:
            given["hx"] = taps[0] if isinstance(hx, torch.Tensor) else taps
        operations, thread = Operations(), threading.get_ident()
        self.lock.acquire()
        self.open[thread] = now = Open(noted, operations, lambda: None)
        now.put_back = self.weights.swap(module, self._weight)
        self.calls.append(noted)
        operations.__enter__()
        names = ("input", "hx")[: len(args)]
        return tuple(given[name] for name in names), {n: value for n, value in given.items() if n not in names}

    def _after(self, module: Recurrent, args: tuple, kwargs: Given, output: Output) -> Output:
        """Hands on views of the outputs, and notes what comes back to them."""
        if torch.compiler.is_compiling():
            return None
        call = self.open.pop(threading.get_ident(), None)
        if call is None:
            return None
        self._close(call)
        if output is None:  # an error, or a checkpoint's second pass, which ends as soon as it has what it wants
            return None
        noted = call.noted
        noted.precision, noted.whole = call.operations.precision, True
        noted.factors = [host(factor) for factor in call.operations.factors]
        if not isinstance(module, nn.RNNBase):
            return self._states(output, noted)
        assert isinstance(output, tuple)
        y, final = output
        if isinstance(y, PackedSequence):
            return PackedSequence(self._handed(y.data, noted, "y"), *y[1:]), self._states(final, noted)
        return self._handed(y, noted, "y"), self._states(final, noted)

    def _close(self, call: Open) -> None:
        if call.noted in self.calls:
            call.operations.__exit__(None, None, None)
        call.put_back()
        self.lock.release()

    def _states(self, final: Output, noted: Noted) -> Output:
        """The final states, handed on: later calls are asked whether they begin with them."""
        states = final if isinstance(final, tuple) else (final,)
        handed = tuple(self._handed(state, noted, f"final{k}") for k, state in enumerate(states))
        self.handed |= {id(state): (state, noted, k) for k, state in enumerate(handed)}
        return handed if isinstance(final, tuple) else handed[0]

    def _handed(self, tensor: torch.Tensor, noted: Noted, name: str) -> torch.Tensor:
        noted.notes[name] = host(tensor)
        view = tensor.view_as(tensor)  # the tensor itself may be used inside too, as a cell's c is for its h
        if view.requires_grad:
            noted.live = True
            view.register_hook(self._adds(noted.notes, f"d{name}"))
        return view.clone()  # hooks of somebody's own sit here, and come first on the way back; so does what they write

    def _noted(self, tensor: torch.Tensor, notes: Notes, name: str) -> torch.Tensor:
        notes[name] = host(tensor)
        return self._tap(tensor, notes, f"d{name}", name)

    def _tap(self, tensor: torch.Tensor, notes: Notes, key: str, name: str) -> torch.Tensor:
        """A view that notes its gradient."""
        if not tensor.requires_grad or not torch.is_grad_enabled():
            return tensor
        view = tensor.view_as(tensor)
        view.register_hook(self._adds(notes, key))
        return view

    def _adds(self, notes: Notes, key: str) -> Callable[[torch.Tensor | None], None]:
        def hook(gradient: torch.Tensor | None) -> None:
            if gradient is not None:  # torch's way of saying zero
                self.derivatives.note()
                add(notes, key, gradient)

        return hook

    def _follow(self, noted: Noted, parts: list[torch.Tensor]) -> None:
        """Which call the initial state comes from, and whether its gradient can go back there."""
        known = [self.handed.get(id(part)) if version(part) == 0 else None for part in parts]  # as it was handed on
        if parts and all(found is not None and found[2] == k for k, found in enumerate(known)):
            before = {id(found[1]): found[1] for found in known if found is not None}
            noted.follows = next(iter(before.values())) if len(before) == 1 else None
        for k, part in enumerate(parts):
            if torch.is_grad_enabled() and part.grad_fn is None:
                value = host(part)
                for other in reversed(self.calls):
                    final = other.notes.get(f"final{k}")
                    if other.live and final is not None and np.any(value) and np.array_equal(final, value):
                        self.cuts.append((other, noted, "hc"[k] if len(parts) > 1 else "h"))
                        break

    def seen(self) -> Seen:
        """All of it in lstmcore's terms."""
        kept = self._kept()
        obstacles = self._obstacles(kept)
        precision = self._on_gpu(max((call.precision for call in kept), key=lambda name: PRECISIONS[name].eps))
        calls, numbers = joined([told(self.module, call, kept) for call in kept])
        weights, grads = (
            {key if isinstance(self.module, nn.RNNBase) else f"{key}_l0": value for key, value in arrays.items()}
            for arrays in (self.weights.values, self.weights.grads())
        )
        notes = (*self.weights.notes(PRECISIONS[precision].eps), *self._notes(kept, precision))
        return Seen(
            "torch", cell_of(self.module), self.options, weights, grads, calls, True, precision, notes,
            self._cuts({id(call): f"call {number}" for call, number in zip(kept, numbers)}), obstacles,
        )  # fmt: skip

    def _kept(self) -> list[Noted]:
        """The calls to which a gradient came back. Raises RuntimeError if there are none."""
        kept = [call for call in self.calls if call.whole and any(name.startswith("d") for name in call.notes)]
        if self.compiled and not self.calls:
            raise RuntimeError(f"the watched layer ran inside torch.compile, {NO_HOOKS}")
        if not self.calls:
            raise RuntimeError(
                "the watched layer was not called inside the with block: as layer(x), since layer.forward(x) runs no "
                f"hooks; and not inside torch.compile, {NO_HOOKS}"
            )
        if not kept:
            raise RuntimeError("no gradient came back: call loss.backward() inside the with block, with grad enabled")
        return kept

    def _obstacles(self, kept: list[Noted]) -> tuple[str, ...]:
        """Why nothing can be compared; and the factors of a dropout that draws none, since it drops all."""
        found = []
        if self.derivatives.second:
            found.append(
                "a gradient was differentiated again (create_graph=True), and second derivatives are not told apart "
                "from the first: watch a step without the penalty that needs them"
            )
        layers, p = getattr(self.module, "num_layers", 1), getattr(self.module, "dropout", 0.0)
        for call in kept:
            if call.training and p == 1:
                call.factors = [np.zeros(())] * (layers - 1)
        if p and any(call.training and len(call.factors) != layers - 1 for call in kept):
            found.append(
                f"what its dropout ({p:g} between the layers) drew could not be seen: cuDNN keeps that to itself; run "
                "the step under torch.backends.cudnn.flags(enabled=False)"
            )
        return tuple(found)

    def _notes(self, kept: list[Noted], precision: str) -> Iterator[str]:
        left_out = sum(call.whole for call in self.calls) - len(kept)
        if left_out:
            yield (
                f"{left_out} call{'s' if left_out > 1 else ''} to which no gradient came back left out (under "
                "torch.no_grad, not used by the loss, or computed again by a checkpoint)"
            )
        own, eps = self._own_format(), PRECISIONS[precision].eps
        if precision != own or eps > PRECISIONS["float32"].eps:
            by = f" where the weights are {own}" if precision != own else ""
            yield f"computed in {precision}{by}: compared as far as its rounding, {eps:.1e}, tells"
        if any(call.packed is not None for call in kept):
            yield "packed input: steps beyond a row's length do not exist, so nothing can come from padding"

    def _cuts(self, names: dict[int, str]) -> tuple[str, ...]:
        """Where a state went on without its gradient. names: of the calls, by identity."""
        found: dict[tuple[str, str], list[str]] = {}
        for a, b, state in self.cuts:
            found.setdefault((names.get(id(b), LEFT_OUT), names.get(id(a), LEFT_OUT)), []).append(state)
        return tuple(
            f"{b} began with the final {' and '.join(states)} of {a} without its gradient"
            for (b, a), states in found.items()
        )

    def _own_format(self) -> str:
        return str(next(self.module.parameters()).dtype).removeprefix("torch.")

    def _on_gpu(self, precision: str) -> str:
        """float32 on a GPU may be the coarser tfloat32 inside products."""
        if precision != "float32" or not next(self.module.parameters()).is_cuda:
            return precision
        by_cudnn = isinstance(self.module, nn.RNNBase)
        allowed = torch.backends.cudnn.allow_tf32 if by_cudnn else torch.backends.cuda.matmul.allow_tf32
        return "tfloat32" if allowed else precision


def tap(tensor: torch.Tensor, notes: Notes, name: str) -> torch.Tensor:
    """Notes the tensor; a view of it that notes its gradient."""
    notes[name] = host(tensor)
    if not tensor.requires_grad or not torch.is_grad_enabled():
        return tensor
    view = tensor.view_as(tensor)
    view.register_hook(add_to(notes, f"d{name}"))
    return view


def add_to(notes: Notes, name: str) -> Callable[[torch.Tensor | None], None]:
    """A hook that adds a gradient to what is noted under a name."""

    def hook(gradient: torch.Tensor | None) -> None:
        if gradient is not None:  # torch's way of saying zero
            add(notes, name, gradient)

    return hook
