"""Every gradient equals the derivative of the forward pass: complex step, and central differences as a second opinion.

The loss is L = sum(dy y) + sum(dstate state_last), with random dy and dstate. Complex step (Squire & Trapp 1998): the
imaginary part of L(v + i s) / s is L'(v) + O(s^2); with s = 1e-30 nothing is left of the second term and nothing
cancels, so what remains is rounding: 4e-14 of an array's largest entry for the deepest networks here, as test_truth.py
derives it, and 1e-12 is allowed.
The forward pass that is differentiated is the reference engine's in complex128; the gradients are each engine's own.
"""

from functools import cache

import numpy as np
import pytest
from cases import CELLS, LAYERS, MASKS, Problem, flatten, recurrent_parts, run, witness, worst_relative_error

STEP = 1e-30


def loss(layer, x, state, mask, dy, dstate):
    """sum(dy y) + sum(dstate state), in the dtype of the layer."""
    y, last = layer.predict(x, state, mask=mask)
    return np.sum(dy * y) + sum(np.sum(d * s) for d, s in side_by_side(dstate, last))


def side_by_side(tree, other):
    """The arrays of two states, side by side."""
    if tree is None:
        return []
    if isinstance(tree, tuple):
        return [pair for u, v in zip(tree, other, strict=True) for pair in side_by_side(u, v)]
    return [(tree, other)]


def as_complex(tree):
    if isinstance(tree, tuple):
        return tuple(as_complex(part) for part in tree)
    return None if tree is None else tree.astype(complex)


@cache
def complex_step(spec: tuple, T: int, B: int, mask: str, saturate: str):
    """The problem, and the derivative of its loss by every number in x, the state and the parameters."""
    problem = Problem(spec, T, B, mask, seed=3 * T + B, saturate=saturate)
    twin = problem.layer().to(dtype="complex128", engine="reference")
    x, state = as_complex(problem.x), as_complex(problem.state)
    variables = {"dx": x} | flatten({"dstate0": state}) | {f"grads.{name}": twin.params[name] for name in twin.params}
    gradients = {}
    for name, values in variables.items():
        gradients[name] = np.empty(values.shape)
        for place in np.ndindex(values.shape):
            values[place] += 1j * STEP
            gradients[name][place] = loss(twin, x, state, problem.mask, problem.dy, problem.dstate).imag / STEP
            values[place] = values[place].real
    return problem, gradients


def check(engine, spec, T, B, mask, saturate=""):
    engine.skip_if_unsupported(*{part[0] for part in recurrent_parts(spec)})
    problem, want = complex_step(spec, T, B, mask, saturate)
    got = {name: value for name, value in run(problem, engine).items() if name in want}
    worst, name = worst_relative_error(got, want)
    assert worst <= 1e-12, f"{name}: {worst:.3g}"
    if problem.mask is None or problem.mask.any():
        assert any(np.abs(value).max() > 1e-3 for name, value in want.items() if name.startswith("grads"))  # not 0 = 0


@pytest.mark.pairwise("name", "mask")
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("name", LAYERS)
def test_complex_step(engine, name, mask):
    check(engine, LAYERS[name], 4, 2, mask)


@pytest.mark.pairwise
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("cell", CELLS)
def test_complex_step_with_saturated_gates(engine, cell, mask):
    """Biases of -30, -12, 12 and 30 on every other unit of every gate."""
    check(engine, (cell, 2, 4), 4, 3, mask, saturate="some")


@pytest.mark.parametrize("T", [1, 12])
@pytest.mark.parametrize("cell", CELLS)
def test_complex_step_short_and_long(engine, cell, T):
    check(engine, (cell, 2, 3), T, 2, "none")


@pytest.mark.pairwise("name", "mask")
@pytest.mark.parametrize("mask", ["none", "gaps"])
@pytest.mark.parametrize("name", LAYERS)
def test_central_differences(engine, name, mask):
    """Along three random directions through all variables at once.

    D(s) = (L(v + s d) - L(v - s d)) / 2s has the error s^2 L''' / 6 + O(s^4), so D(s) and D(s / 2) differ by 3/4 of
    that of D(s), and D(s / 2) is off by a third of the difference (the rest, smaller by s^2, is allowed for by the
    whole difference). Rounding adds the oracle's bounds of y and state, weighted by |dy| and |dstate|, over s / 2.
    """
    spec = LAYERS[name]
    engine.skip_if_unsupported(*{part[0] for part in recurrent_parts(spec)})
    problem = Problem(spec, 4, 2, mask, seed=5)
    got = run(problem, engine)
    _, bounds = witness(problem)
    weights = flatten({"y": problem.dy, "state": problem.dstate})
    rounding = sum(np.sum(np.abs(weights[key]) * bounds[key]) for key in weights) * 2.0**-53
    rng = np.random.default_rng(6)
    s = 1e-3
    for _ in range(3):
        direction = {key: rng.normal(size=value.shape) / 8 for key, value in gradients(got).items()}
        slope = sum(np.sum(gradients(got)[key] * direction[key]) for key in direction)
        whole, half = (difference(problem, direction, step) for step in (s, s / 2))
        # the directions mix some 100 numbers: the moved points have bounds like the start's, doubled to be safe
        assert abs(half - slope) <= abs(whole - half) + 2 * rounding / (s / 2)
        assert abs(whole - half) <= 1e-5 * (1 + abs(slope))  # so the line above asks for five digits or more


def gradients(results):
    return {key: value for key, value in results.items() if key.startswith(("dx", "dstate0", "grads"))}


def difference(problem: Problem, direction: dict, s: float) -> float:
    return (moved_loss(problem, direction, s) - moved_loss(problem, direction, -s)) / (2 * s)


def moved_loss(problem: Problem, direction: dict, s: float) -> float:
    layer = problem.layer()
    for name, value in problem.params.items():
        layer.params[name] = value + s * direction[f"grads.{name}"]
    state = moved_state(problem.state, direction, s, "dstate0")
    return loss(layer, problem.x + s * direction["dx"], state, problem.mask, problem.dy, problem.dstate)


def moved_state(state, direction, s, key):
    if isinstance(state, tuple):
        return tuple(moved_state(part, direction, s, f"{key}.{k}") for k, part in enumerate(state))
    return None if state is None else state + s * direction[key]
