"""What a program had inside its loop back: as it was seen there, or as a short case tells by its weight gradients."""

from typing import NamedTuple

import numpy as np

from lstmcore.arrays import namespace
from lstmcore.debug.diagnose.training_step import Prepared, forward
from lstmcore.debug.diagnose.trial import Bench, Numbers
from lstmcore.debug.mistakes import Mutant, mutant
from lstmcore.debug.mistakes.around_layers import ORDERS, READ_IN_ORDER
from lstmcore.debug.mistakes.mutant import remade
from lstmcore.debug.mistakes.wrong_calls import in_order
from lstmcore.interop import to_lstmcore
from lstmcore.ops.activation import array_maths
from lstmcore.ops.cells import Cell
from lstmcore.ops.cells.cell import Step
from lstmcore.ops.cells.symbol import Number
from lstmcore.ops.recurrence import Cache

GATES = ("da_i", "da_f", "da_g", "da_o")


class Seen(NamedTuple):
    """What a program had inside its loop back: arrays by name, and how far each number may be off."""

    arrays: Numbers
    slack: Numbers
    judged: tuple[str, ...]  # the arrays and gradients that say something of their own


def seen_inside(bench: Bench) -> Seen | None:
    """What the case holds of the way back, or what a short one tells; None if that is too little."""
    case = bench.case
    if (
        case.cell != "lstm"
        or case.options
        or case.norm is not None
        or tuple(case.state) != ("h0", "c0")
        or case.dy.ndim != 3
        or case.mask is not None
    ):
        return None
    if not all(name in case.steps for name in GATES):
        return _recovered(bench)
    arrays = {n: case.steps[n].astype(float) for n in ("dh", "dc", *GATES) if n in case.steps}
    for name, last in (("dh", case.dstate["h0"]), ("dc", case.dstate["c0"])):
        if name in arrays and np.array_equal(arrays[name][-1], last):
            del arrays[name]  # kept as it was carried, before this step's share came in
    slack = {n: bench.reading.written[n].moved(a) for n, a in arrays.items()}
    return Seen(arrays, slack, (*arrays, *case.grads))


def _recovered(bench: Bench) -> Seen | None:
    """da from the weight gradients: dW = sum over t of (x_t, h_{t-1}, 1)^T da_t, if T B <= I + H + 1."""
    case = bench.case
    if not set(case.weights) <= set(case.grads):
        return None
    cache = kept_ahead(bench, bench.prepared())
    T, B, _ = case.x.shape
    inputs = np.concatenate([cache.x, cache.states[0][:-1], np.ones((T, B, 1))], axis=-1).reshape(T * B, -1)
    if len(inputs) > inputs.shape[1] or np.linalg.matrix_rank(inputs) < len(inputs):
        return None
    given, allowed = (ours(bench, arrays) for arrays in (case.grads, bench.allowed()))
    D, bound = (np.concatenate([a["W_ih"], a["W_hh"], a["b"][None]]) for a in (given, allowed))
    back = np.linalg.pinv(inputs.T)  # (T B, I + H + 1)
    da, slack = back @ D, np.abs(back) @ bound
    if np.any(np.abs(inputs.T @ da - D) > bound + np.abs(inputs.T) @ slack):
        return None  # no gradients of pre-activations give these: the products are wrong themselves
    arrays, slacks = ({n: a.reshape(T, B, 4, -1)[:, :, k] for k, n in enumerate(GATES)} for a in (da, slack))
    return Seen(arrays, slacks, (*arrays, *(key for key in case.grads if key not in case.weights)))


def right_inside(bench: Bench, given: Prepared) -> list[tuple[Number, ...]]:
    """da of each gate (B, H), step by step, as it should be; given: what `prepare` gives, over any arrays."""
    params, x, _, _, dy, dstate = given
    engine, found = mutant(*bench.base), []
    step = engine.cells["lstm"].make_step(array_maths(namespace(x)))[1]

    def step_backward(*args: Number) -> tuple[Number, ...]:
        out = step(*args)
        found.append(out[:4])
        return out

    last = (dstate["h0"], dstate["c0"])
    engine.loop.backward(with_step(engine, step_backward), dy, last, params, kept_ahead(bench, given))
    return found[::-1]


def with_step(engine: Mutant, step_backward: Step) -> Cell:
    """The engine's LSTM with another step back."""
    return remade(engine.cells["lstm"], lambda maths: (step_backward, step_backward))


def ours(bench: Bench, arrays: Numbers) -> Numbers:
    """Arrays of the case's layout under lstmcore's names, gates in the order found; zeros for those not there."""
    case = bench.case
    every = {key: arrays.get(key, np.zeros(value.shape)) for key, value in case.weights.items()}
    every = every if case.norm is None else case.norm.others(every)
    both = any("bw" in name for name in case.state)
    _, read = to_lstmcore(every, case.layout, case.cell, gradients=True, bidirectional=both, options=case.options)
    for order, mistake in zip(ORDERS, READ_IN_ORDER):
        read = in_order(read, order) if mistake in bench.base else read
    return {name: value for name, value in read.items() if " " not in name}


def kept_ahead(bench: Bench, given: Prepared) -> Cache:
    """What the way forward kept."""
    params, x, mask, state, *_ = given
    model = mutant(*bench.base).twin(bench.model, params)
    return forward(model, x, mask, state)[2]
