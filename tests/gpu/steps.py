"""What the persistent kernels are held to: every step, computed anew from what the kernel itself began it with.

A bound on rounding that is carried through a sequence grows with each step, and soon allows anything. But a kernel
leaves behind its states, its gates and its da. So each step is looked at alone: what was made of h and c, of da and dc,
may be off by the rounding of this one step (bounded.py). If every step is right, all of them are. Only dc is not left
behind; its bound is carried along, and stays small: dc meets no matrix, it is multiplied by the forget gate alone.

The step is the cell's own text over arrays with bounds. Numbers in brackets: docs/derivation.md.
"""

import functools
from typing import Any, NamedTuple

import numpy as np
import pytest
from cases import Problem
from engines import Engine
from gpu.bounded import Bounded, assert_inside, product, sigmoid, tanh, where

from lstmcore.ops.cells import lstm
from lstmcore.ops.cells.cell import Maths
from lstmcore.ops.recurrence import directions

LOST = {"ieee": 0.0, "tf32": 2.0**-11}  # of a factor of a product: rounded to nearest, to 11 bits
STEP_FORWARD, STEP_BACKWARD = lstm.make_step(Maths(sigmoid, tanh, 1.0))


class Forward(NamedTuple):
    """A forward pass, on the host, in float64."""

    y: np.ndarray
    last: tuple[np.ndarray, ...]
    states: tuple[np.ndarray, ...]  # (T+1, B, H) each
    gates: np.ndarray  # (T, B, 4, H)


class Backward(NamedTuple):
    """A backward pass, likewise."""

    da: np.ndarray  # (T, B, 4, H)
    dx: np.ndarray
    dstate0: tuple[np.ndarray, ...]
    grads: dict[str, np.ndarray]


def problem_of(T: int, B: int, I: int, H: int, mask: str) -> Problem:
    """An LSTM's, in float32."""
    return Problem(("lstm", I, H), T, B, mask, seed=T, dtype="float32")


def check(problem: Problem, engine: Engine, precision: str) -> None:
    """Runs the problem forward and backward, and looks at every step of both."""
    layer, cache, forward = run_forward(problem, engine)
    check_forward(problem, forward, LOST[precision])
    check_backward(problem, forward, run_backward(problem, engine, layer, cache), LOST[precision])


def run_forward(problem: Problem, engine: Engine) -> tuple[Any, Any, Forward]:
    """The layer, its cache, and what to look at."""
    layer = engine.place(problem.layer())
    x, state, mask = map(engine.array, (problem.x, problem.state, problem.mask))
    y, last, cache = layer.forward(x, state, mask=mask)
    return layer, cache, Forward(*map(wide, engine.host((y, last, cache.states, cache.gates))))


def run_backward(problem: Problem, engine: Engine, layer: Any, cache: Any) -> Backward:
    """da is taken where the engine hands it to the products after the loop."""
    made, gradients = [], directions.Backward.gradients

    def noted(self: Any, cell: Any, da: Any, dstate0: Any) -> Any:
        made.append(da)
        return gradients(self, cell, da, dstate0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(directions.Backward, "gradients", noted)
        results = layer.backward(engine.array(problem.dy), cache, dstate=engine.array(problem.dstate))
    return Backward(*map(wide, engine.host((*made, *results))))


def check_forward(problem: Problem, got: Forward, lost: float, wild: bool = False) -> None:
    """wild: there may be numbers in it that are not finite, which are left out."""
    inside = functools.partial(assert_inside, wild=wild)
    W_ih, W_hh, b = (wide(problem.params[name]) for name in ("W_ih", "W_hh", "b"))
    h, c = got.states
    real = ~problem.padding()[..., None]
    a = product(wide(problem.x), W_ih, lost) + product(h[:-1], W_hh, lost) + b  # (1)
    *gates, h_new, c_new = STEP_FORWARD(*_blocks(a), c[:-1])
    for k, gate in enumerate(gates):
        inside(f"gate {lstm.gates[k]}", got.gates[:, :, k], where(real, gate, 0.0))
    inside("h", h[1:], where(real, h_new, h[:-1]))  # (23)
    inside("c", c[1:], where(real, c_new, c[:-1]))
    for s, first, last in zip(got.states, problem.state, got.last):
        assert np.array_equal(s[0], first, equal_nan=wild)
        assert np.array_equal(s[-1], last, equal_nan=wild)
    assert np.array_equal(got.y, np.where(real, h[1:], 0), equal_nan=wild)  # (42)


def check_backward(problem: Problem, forward: Forward, got: Backward, lost: float, wild: bool = False) -> None:
    """Likewise."""
    inside = functools.partial(assert_inside, wild=wild)
    W_ih, W_hh, x = wide(problem.params["W_ih"]), wide(problem.params["W_hh"]), wide(problem.x)
    (h, c), da, real = forward.states, got.da, ~problem.padding()[..., None]
    T, B, _, H = da.shape
    dh, dc = (Bounded(wide(d)) for d in problem.dstate)
    for t in reversed(range(T)):
        gates = (forward.gates[t, :, k] for k in range(4))
        *blocks, dc_prev = STEP_BACKWARD(dh + wide(problem.dy[t]), dc, *map(Bounded, gates), c[t], Bounded(c[t + 1]))
        for k, block in enumerate(blocks):
            inside(f"da of {lstm.gates[k]}, step {t}", da[t, :, k], where(real[t], block, 0.0))  # (24)
        dh = where(real[t], product(da[t].reshape(B, -1), W_hh.T, lost), dh)  # (18), (25)
        dc = where(real[t], dc_prev, dc)
    inside("dh0", got.dstate0[0], dh)
    inside("dc0", got.dstate0[1], dc)
    da = da.reshape(T * B, -1)
    x, h_prev = np.where(real, x, 0).reshape(T * B, -1), h[:-1].reshape(T * B, H)
    db = product(np.ones((1, T * B)), da, 0.0)
    inside("db", got.grads["b"][None, :], db)  # (19)
    inside("dW_hh", got.grads["W_hh"], product(h_prev.T, da, lost))  # (20)
    inside("dW_ih", got.grads["W_ih"], product(x.T, da, lost))  # (21)
    inside("dx", got.dx.reshape(T * B, -1), product(da, W_ih.T, lost))  # (22)


def _blocks(a: Bounded) -> tuple[Bounded, ...]:
    """The blocks i f g o of (..., 4H)."""
    values, errors = (np.split(array, 4, axis=-1) for array in (a.value, a.error))
    return tuple(map(Bounded, values, errors))


def wide(tree: Any) -> Any:
    """In float64: exactly what it was."""
    if isinstance(tree, dict):
        return {name: wide(value) for name, value in tree.items()}
    return tuple(map(wide, tree)) if isinstance(tree, tuple) else np.asarray(tree, "float64")
