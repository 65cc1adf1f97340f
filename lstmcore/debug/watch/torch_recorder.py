"""The hooks of `watch` in a torch.nn.LSTM, GRU or RNN.

Input, initial state and outputs are handed on as new views. So the gradient noted is that through this layer alone,
whatever else an input is used for, and after whatever hooks other people put on an output. Packed input is unpacked as
pack_padded_sequence lays it out: step after step, at each step those rows that are long enough, the longest first.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch.nn.utils.rnn import PackedSequence
from torch.utils.hooks import RemovableHandle

from lstmcore.arrays import State
from lstmcore.debug.watch.seen import Call, Notes, Seen


class Recorder:
    """Notes the calls of one module. Raises ValueError for what lstmcore has not."""

    def __init__(self, module: torch.nn.Module):
        if not isinstance(module, torch.nn.LSTM | torch.nn.GRU | torch.nn.RNN):
            raise TypeError(f"`module` should be a torch.nn.LSTM, GRU or RNN; got {type(module).__name__}")
        if module.proj_size:
            raise ValueError(f"`module` should have no projection; got proj_size={module.proj_size}")
        if getattr(module, "nonlinearity", "tanh") != "tanh":
            raise ValueError(f"`module` should be a tanh RNN; got nonlinearity={module.nonlinearity!r}")
        self.module = module
        self.handles: list[RemovableHandle] = []
        self.weights: dict[str, np.ndarray] = {}
        self.grads: dict[str, np.ndarray] = {}
        self.calls: list[Notes] = []
        self.obstacles: tuple[str, ...] = ()

    def attach(self) -> None:
        self.handles = [
            self.module.register_forward_pre_hook(self._before, with_kwargs=True),
            self.module.register_forward_hook(self._after, with_kwargs=True),
        ]
        for name, weight in self.module.named_parameters():
            if weight.requires_grad:
                self.handles.append(weight.register_hook(add_to(self.grads, name)))

    def detach(self) -> None:
        for handle in self.handles:
            handle.remove()

    def _before(self, module: torch.nn.RNNBase, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        """Notes what the layer is given, and hands on views that note their gradients."""
        weights = {name: host(weight) for name, weight in module.named_parameters()}
        if self.calls and any(np.any(weights[name] != self.weights[name]) for name in weights):
            raise RuntimeError("watch one training step at a time: the weights changed between two calls")
        self.weights = weights
        if module.training and module.dropout and module.num_layers > 1:
            self.obstacles = (
                f"torch does not tell what its dropout ({module.dropout:g} between the layers) drew; "
                "set dropout to 0, or watch in evaluation mode",
            )
        given = dict(zip(("input", "hx"), args)) | kwargs
        call: Notes = {}
        self.calls.append(call)
        x, hx = given["input"], given.get("hx")
        if isinstance(x, PackedSequence):
            call["packed"] = x
            given["input"] = PackedSequence(tap(x.data, call, "x"), *x[1:])
        else:
            given["input"] = tap(x, call, "x")
        if hx is not None:
            parts = hx if isinstance(hx, tuple) else (hx,)
            parts = tuple(tap(part, call, f"state{k}") for k, part in enumerate(parts))
            given["hx"] = parts if isinstance(hx, tuple) else parts[0]
        return (), given

    def _after(self, module: torch.nn.RNNBase, args: tuple, kwargs: dict, output: tuple) -> tuple:
        """Hands on views of the outputs, and notes what comes back to the outputs themselves."""
        call = self.calls[-1]

        def hand_on(tensor: torch.Tensor, name: str) -> torch.Tensor:
            call[name] = host(tensor)
            if not tensor.requires_grad:
                return tensor
            tensor.register_hook(add_to(call, f"d{name}"))
            return tensor.view_as(tensor)  # hooks of somebody's own sit on the view, and come first on the way back

        y, state = output
        y = PackedSequence(hand_on(y.data, "y"), *y[1:]) if isinstance(y, PackedSequence) else hand_on(y, "y")
        if isinstance(state, tuple):
            return y, tuple(hand_on(s, f"final{k}") for k, s in enumerate(state))
        return y, hand_on(state, "final0")

    def seen(self) -> Seen:
        """All of it in lstmcore's terms."""
        if not self.calls:
            raise RuntimeError("the watched layer was not called inside the with block")
        if not any(name.startswith("d") for call in self.calls for name in call):
            raise RuntimeError("no gradient came back: call loss.backward() inside the with block, with grad enabled")
        calls = tuple(self._told(call) for call in self.calls)
        frozen = [name for name, w in self.module.named_parameters() if not w.requires_grad]
        notes = [f"frozen, so without a gradient to compare: {', '.join(frozen)}"] if frozen else []
        if any(call.mask is not None for call in calls):
            notes.append("packed input: steps beyond a row's length do not exist, so nothing can come from padding")
        eps = torch.finfo(next(self.module.parameters()).dtype).eps
        cell = self.module.mode.split("_")[0].lower()  # "LSTM", "GRU", "RNN_TANH"
        return Seen("torch", cell, self.weights, self.grads, calls, True, eps, tuple(notes), self.obstacles)

    def _told(self, call: Notes) -> Call:
        steps, mask = self._steps(call)
        states = range(2 if isinstance(self.module, torch.nn.LSTM) else 1)
        state, dstate0 = ([call.get(f"{d}state{k}") for k in states] for d in ("", "d"))
        dstate = [call.get(f"dfinal{k}", np.zeros_like(call[f"final{k}"])) for k in states]
        dy = steps(call.get("dy", np.zeros_like(call["y"])))
        dx = steps(call["dx"]) if "dx" in call else None
        tree = self._tree
        return Call(steps(call["x"]), tree(state), mask, steps(call["y"]), dy, tree(dstate), dx, tree(dstate0))

    def _steps(self, call: Notes) -> tuple[Callable[[np.ndarray], np.ndarray], np.ndarray | None]:
        """How to bring x, y and their gradients to (T, B, ...), and the mask."""
        if "packed" in call:
            sizes, order = call["packed"].batch_sizes.numpy(), call["packed"].unsorted_indices
            sorted_mask = np.arange(sizes[0]) < sizes[:, None]  # (T, B), longest row first
            columns = slice(None) if order is None else order.cpu().numpy()

            def unpacked(rows: np.ndarray) -> np.ndarray:
                padded = np.zeros((*sorted_mask.shape, rows.shape[-1]))
                padded[sorted_mask] = rows  # step by step, and within a step row by row: the order of both
                return padded[:, columns]

            return unpacked, sorted_mask[:, columns]
        if call["x"].ndim == 2:
            return (lambda a: a[:, None]), None
        if self.module.batch_first:
            return (lambda a: np.ascontiguousarray(a.swapaxes(0, 1))), None
        return (lambda a: a), None

    def _tree(self, parts: list[np.ndarray | None]) -> State | None:
        """States (layers * directions, B, H) as the lstmcore layer takes them; None if there are none."""
        if all(part is None for part in parts):
            return None
        whole = [p[:, None] if p is not None and p.ndim == 2 else p for p in parts]
        D = 2 if self.module.bidirectional else 1
        each = [tuple(p if p is None else p[n] for p in whole) for n in range(self.module.num_layers * D)]
        layers = [tuple(each[n : n + D]) if D == 2 else each[n] for n in range(0, len(each), D)]
        return tuple(layers) if len(layers) > 1 else layers[0]


def tap(tensor: torch.Tensor, call: Notes, name: str) -> torch.Tensor:
    """Notes the tensor; a view of it that notes its gradient."""
    call[name] = host(tensor)
    if not tensor.requires_grad or not torch.is_grad_enabled():
        return tensor
    view = tensor.view_as(tensor)
    view.register_hook(add_to(call, f"d{name}"))
    return view


def add_to(notes: Notes, name: str) -> Callable[[torch.Tensor | None], None]:
    """A hook that adds a gradient to what is noted under a name."""

    def hook(gradient: torch.Tensor | None) -> None:
        if gradient is not None:  # torch's way of saying zero
            notes[name] = notes.get(name, 0) + host(gradient)

    return hook


def host(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().to("cpu", torch.float64).numpy().copy()
