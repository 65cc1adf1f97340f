"""One training step on a CPU, laid out once: which compiled code runs on which memory, and in which order.

A step of a small model takes some hundred microseconds, and its arithmetic a quarter of that. The rest is Python, which
checks, plans and makes arrays anew in every step. Here it does so once; afterwards a step is a row of calls. They are
the calls that the layers would make, on arrays of the same shapes, so the bits are those of the layers.

Each function below lays out one kind of layer: forward, and right below how it is undone.
"""

import contextlib
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import numpy as np

from lstmcore.arrays import Array
from lstmcore.layers import GRU, LSTM, RNN, Dropout, Layer, Linear, Stack, seen
from lstmcore.layers.dropout import DropoutCache
from lstmcore.layers.layer import Rng
from lstmcore.layers.linear import LinearCache
from lstmcore.layers.recurrent import Recurrent
from lstmcore.layers.stack import StackCache
from lstmcore.ops.dropout import dropout_backward, dropout_forward, dropout_scale
from lstmcore.ops.linear import linear_backward, linear_forward
from lstmcore.ops.recurrence.products import bias_of

OFTEN, MOST = 3, 4  # how often a shape must come, and how many are laid out: each holds the memory of a cache

Grads = dict[str, Array]
Plan = tuple[Array, Any, "Undo"]  # where y will be, a cache whose arrays hold the last step's numbers, and the way back
Undo = Callable[[Array, bool], tuple[Array, Grads]]  # (dy, is dx wanted) -> where dx and the gradients will be
Calls = list[Callable[[], object]]


class Unrecorded(RuntimeError):
    """Why a step cannot be laid out; nothing was changed."""


class Passes:
    """The forward and the backward pass of a model over batches like x, without masks, from zero states.

    grads are arrays that stay where they are: each `backward` fills them anew. So are those of `cache`.
    Raises Unrecorded for a model with a layer that is not laid out here.
    """

    def __init__(self, model: Layer, x: Array, rng: Rng = None):
        self.model, self.rng = model, rng
        self.x: Array = np.array(x, order="C")
        self.calls: Calls = []
        self.y, self.cache, undo = self.lay_out(model, self.x)
        self._forward, self.calls = self.calls, []
        self.dy: Array = np.empty_like(self.y)
        _, self.grads = undo(self.dy, False)
        self._backward, self.calls = self.calls, []

    def forward(self, x: Array) -> Array:
        """x as the first one in shape and dtype -> a copy of y."""
        self.model.params.check_shapes()
        np.copyto(self.x, x)
        for call in self._forward:
            call()
        return self.y.copy()

    def backward(self, dy: Array) -> None:
        np.copyto(self.dy, dy)
        for call in self._backward:
            call()

    def lay_out(self, layer: Layer, x: Array) -> Plan:
        """One layer, whose input will be x."""
        lay_out = KINDS.get(type(layer))
        if lay_out is None:
            raise Unrecorded(f"{layer!r} is not one of {', '.join(kind.__name__ for kind in KINDS)}")
        if METHODS[type(layer)] != _methods(type(layer)) or {"forward", "backward"} & vars(layer).keys():
            raise Unrecorded(f"a method of {layer!r} was replaced")
        return lay_out(self, layer, x)


class Recorded:
    """The passes of a training. A shape of batches is laid out when it comes for the third time."""

    def __init__(self, model: Layer, rng: Rng):
        self.model, self.rng = model, rng
        self.passes: dict[object, Passes] = {}
        self.seen: Counter[object] = Counter()

    def of(self, x: Array) -> Passes | None:
        """Those for batches like x; None if there are none."""
        if type(x) is not np.ndarray:
            return None
        key = (x.shape, x.dtype)
        found = self.passes.get(key)
        if found is None and len(self.passes) < MOST:
            self.seen[key] += 1
            if self.seen[key] == OFTEN:
                with contextlib.suppress(Unrecorded):  # then its layers run one by one, to the same bits
                    found = self.passes[key] = Passes(self.model, x, self.rng)
        return found

    def owns(self, cache: object) -> bool:
        """Whether the memory of a cache is that of the passes."""
        return any(passes.cache is cache for passes in self.passes.values())


def _stack(passes: Passes, stack: Stack, x: Array) -> Plan:
    undos, caches = [], []
    for part in stack.layers:
        x, cache, undo = passes.lay_out(part, x)
        undos.append(undo)
        caches.append(cache)

    def undo_all(dy: Array, dx_wanted: bool) -> tuple[Array, Grads]:
        grads: list[Grads] = [{}] * len(undos)
        for k in reversed(range(len(undos))):
            dy, grads[k] = undos[k](dy, dx_wanted or k > 0)
        return dy, {f"{k}.{name}": g for k, part in enumerate(grads) for name, g in part.items()}

    return x, StackCache(tuple(caches), stack), undo_all


def _recurrent(passes: Passes, layer: Recurrent, x: Array) -> Plan:
    from lstmcore.ops.recurrence.cpu import fused

    engine = layer.own_engine()
    if not isinstance(engine, fused.FusedCpu):
        raise Unrecorded(f"{layer!r} does not run on {fused.fused_cpu.NAME} step by step")
    (T, B, I), H, cell, params = x.shape, layer.hidden_size, layer.cell, layer.params
    plan = fused.planned(cell, T, B, I, H, engine.kinds[x.dtype], False)
    if plan.parts > 1:  # its tasks wait for each other, and who can wait may change
        raise Unrecorded(f"the units of {layer!r} are shared by threads that meet at every step")
    given = layer.before_forward(x, None, None)
    y, _, cache = layer.after_forward(given, engine.forward(cell, *given))
    zeros, (_, *memory) = given.state0, cast(fused.Buffers, cache.private)
    tasks = engine.forward_tasks(cell, plan, x, params, zeros, None, *memory)
    if not any(tasks.arguments.bias is w for w in params.values()):
        passes.calls.append(partial(_fill, tasks.arguments.bias, bias_of, cell, params))
    passes.calls.append(partial(tasks.arguments.counters.fill, 0))
    passes.calls.append(partial(fused.run, tasks))

    def undo(dy: Array, dx_wanted: bool) -> tuple[Array, Grads]:
        whole = engine.in_pieces(cell, x.shape, H, x.dtype, False)
        wanted = cache._replace(dx_wanted=dx_wanted)
        if layer.return_sequences:
            tasks = whole.tasks(dy, zeros, params, wanted)
        else:
            dh_last = np.empty((B, H), x.dtype)
            passes.calls.append(partial(np.add, zeros[0], dy, out=dh_last))  # (45)
            tasks = whole.tasks(None, (dh_last, *zeros[1:]), params, wanted)
        given = tasks.arguments
        if given.W_hh is not params["W_hh"]:
            passes.calls.append(partial(np.concatenate, (params["W_hh"], params["W_ih"]), out=given.W_hh))
        passes.calls += [partial(whole.sums.fill, 0), partial(given.counters.fill, 0), partial(fused.run, tasks)]
        grads = whole.gradients(params)
        if len(whole.sums) > 1 or not all(np.may_share_memory(g, whole.sums) for g in grads.values()):
            passes.calls.append(partial(_fill_all, grads, whole.gradients, params))
        return given.dx, grads

    return (y if layer.return_sequences else cache.states[0][-1]), cache, undo


def _linear(passes: Passes, layer: Linear, x: Array) -> Plan:
    W, b = layer.params["W"], layer.params["b"] if layer.bias else None
    y = np.empty((*x.shape[:-1], layer.output_size), x.dtype)
    passes.calls.append(partial(_fill, y, linear_forward, x, W, b))

    def undo(dy: Array, dx_wanted: bool) -> tuple[Array, Grads]:
        made = [np.empty_like(a) for a in (x, *layer.params.values())]

        def call() -> None:
            for own, new in zip(made, linear_backward(dy, x, W)):  # without a bias, db is left over
                np.copyto(own, new)

        passes.calls.append(call)
        return made[0], dict(zip(layer.params, made[1:]))

    return y, LinearCache(x, None, layer, seen.look(x, layer.params)), undo


def _dropout(passes: Passes, layer: Dropout, x: Array) -> Plan:
    rng = passes.rng
    if rng is None:
        return x, DropoutCache(None, None, x, layer), lambda dy, dx_wanted: (dy, {})
    shape = (1, *x.shape[1:]) if layer.per_sequence and x.ndim == 3 else x.shape
    scale, y = np.empty(shape, x.dtype), np.empty_like(x)
    passes.calls.append(lambda: np.copyto(scale, dropout_scale(rng, shape, layer.p, x)))
    passes.calls.append(partial(_fill, y, dropout_forward, x, scale))

    def undo(dy: Array, dx_wanted: bool) -> tuple[Array, Grads]:
        dx = np.empty_like(dy)
        passes.calls.append(partial(_fill, dx, dropout_backward, dy, scale))
        return dx, {}

    return y, DropoutCache(scale, None, y, layer), undo


KINDS: dict[type, Callable[..., Plan]] = {
    Stack: _stack, LSTM: _recurrent, GRU: _recurrent, RNN: _recurrent, Linear: _linear, Dropout: _dropout,
}  # fmt: skip


def _methods(kind: type[Layer]) -> tuple[object, object]:
    return kind.forward, kind.backward


METHODS = {kind: _methods(kind) for kind in KINDS}  # what is laid out here


def _fill(out: Array, function: Callable[..., Array], *given: object) -> None:
    np.copyto(out, function(*given))


def _fill_all(out: Grads, function: Callable[..., Grads], *given: object) -> None:
    for own, new in zip(out.values(), function(*given).values()):
        np.copyto(own, new)
