"""The Hessian-vector product against a complex step of the backward pass, its own symmetry, and torch.

Tolerances: a second derivative sums some 100 terms of size 1 for each of its first ones: 1e-12 of the largest entry of
each array, and of the sum of absolute values in an inner product, as in test_forward_mode.py.
"""

import numpy as np
import pytest
from cases import CELLS, LAYERS, MASKS, Problem, relative_error, worst_relative_error
from directions import STEP, gradients, inner, random_direction, shifted, size

import lstmcore as lc
from lstmcore.debug.derivatives.second_order import hvp
from lstmcore.debug.dual import Dual


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("name", LAYERS)
def test_equals_complex_step_of_backward(name, mask):
    problem = Problem(LAYERS[name], 4, 2, mask, seed=1)
    direction = random_direction(problem, 2)
    moved = gradients(*shifted(problem, direction, 1j * STEP), problem.mask, problem.dy, problem.dstate)
    got = hvp(problem.layer(), problem.x, problem.dy, direction, problem.state, problem.mask, problem.dstate)
    worst, where = worst_relative_error(got, {k: v.imag / STEP for k, v in moved.items()})
    assert worst <= 1e-12, f"{where}: {worst:.3g}"
    if problem.mask is None or problem.mask.any():
        assert any(np.abs(v).max() > 1e-2 for v in got.values())  # not 0 = 0


@pytest.mark.parametrize("mask", ["none", "gaps"])
@pytest.mark.parametrize("cell", CELLS)
def test_equals_complex_step_with_saturated_gates(cell, mask):
    problem = Problem((cell, 2, 4), 4, 3, mask, seed=3, saturate="some")
    direction = random_direction(problem, 4)
    moved = gradients(*shifted(problem, direction, 1j * STEP), problem.mask, problem.dy, problem.dstate)
    got = hvp(problem.layer(), problem.x, problem.dy, direction, problem.state, problem.mask, problem.dstate)
    assert worst_relative_error(got, {k: v.imag / STEP for k, v in moved.items()})[0] <= 1e-12


def test_the_undoing_over_duals_equals_the_equations_written_out():
    rng = np.random.default_rng(0)
    names = ("dh", "dc_next", "i", "f", "g", "o", "c_prev", "c")
    v, v_dot = (dict(zip(names, rng.uniform(0.1, 0.9, (8, 3, 5)))) for _ in range(2))
    _, step_backward = lc.LSTM(1, 1).cell.make_step(lc.ops.activation.array_maths(lc.debug.dual))
    _, da_f, _, _, dc_prev = step_backward(*(Dual(v[name], v_dot[name]) for name in names))
    slope = 1 - np.tanh(v["c"]) ** 2
    dc = v["dc_next"] + v["dh"] * v["o"] * slope
    dc_dot = v_dot["dc_next"] + v_dot["dh"] * v["o"] * slope + v["dh"] * v_dot["o"] * slope
    dc_dot -= 2 * v["dh"] * v["o"] * np.tanh(v["c"]) * slope * v_dot["c"]
    df, df_dot = dc * v["c_prev"], dc_dot * v["c_prev"] + dc * v_dot["c_prev"]
    f, f_dot = v["f"], v_dot["f"]
    np.testing.assert_allclose(dc_prev.tangent, dc_dot * f + dc * f_dot, rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(
        da_f.tangent, df_dot * f * (1 - f) + df * f_dot * (1 - 2 * f), rtol=1e-13, atol=1e-14
    )  # some twenty roundings of numbers near 1


@pytest.mark.parametrize("name", LAYERS)
def test_is_symmetric(name):
    """<u, H v> = <v, H u>: a Hessian is, and a wrong line of it breaks this."""
    problem = Problem(LAYERS[name], 4, 2, "gaps", seed=5)
    u, v = random_direction(problem, 6), random_direction(problem, 7)
    Hu, Hv = (
        hvp(problem.layer(), problem.x, problem.dy, d, problem.state, problem.mask, problem.dstate) for d in (u, v)
    )
    assert abs(inner(u, Hv) - inner(v, Hu)) <= 1e-12 * (size(u, Hv) + size(v, Hu))
    assert size(u, Hv) > 1


@pytest.mark.parametrize("name", ["three-layers-last", "per-step-head", "interleaved"])
def test_with_a_loss_equals_complex_step_of_the_whole_gradient(name):
    """The loss is curved too: softmax cross-entropy moves dy with y. And the whole is symmetric again."""
    problem = Problem(LAYERS[name], 4, 2, "right", seed=8)
    targets = np.random.default_rng(9).integers(0, problem.dy.shape[-1], problem.dy.shape[:-1])
    mask = problem.mask if targets.ndim == 2 else None

    def loss(y):
        return lc.softmax_cross_entropy(y, targets, mask)

    def whole_gradient(layer, x, state):
        y, _, _ = layer.forward(x, state, problem.mask)
        nothing = tuple_of_zeros(problem.dstate)
        return gradients(layer, x, state, problem.mask, loss(y)[1], nothing)

    direction, other = random_direction(problem, 10), random_direction(problem, 11)
    moved = whole_gradient(*shifted(problem, direction, 1j * STEP))
    got = hvp(problem.layer(), problem.x, loss, direction, problem.state, problem.mask)
    assert worst_relative_error(got, {k: v.imag / STEP for k, v in moved.items()})[0] <= 1e-12
    back = hvp(problem.layer(), problem.x, loss, other, problem.state, problem.mask)
    assert abs(inner(other, got) - inner(direction, back)) <= 1e-12 * (size(other, got) + size(direction, back))


def tuple_of_zeros(tree):
    if isinstance(tree, tuple):
        return tuple(map(tuple_of_zeros, tree))
    return None if tree is None else np.zeros_like(tree)


def test_dropout_masks_repeat():
    """The same seed, the same masks, in the second derivative too: against differences of the gradient."""
    model = lc.Stack([lc.LSTM(3, 4, dtype="float64", seed=0), lc.Dropout(0.5)])
    rng = np.random.default_rng(1)
    x, dy = rng.normal(size=(5, 2, 3)), rng.normal(size=(5, 2, 4))
    direction = {"0.W_hh": rng.normal(size=(4, 16))}
    got = hvp(model, x, dy, direction, dropout_seed=3)

    def gradient(step):
        twin = model.to(dtype="float64")
        twin.params["0.W_hh"] += step * direction["0.W_hh"]
        _, _, cache = twin.forward(x, rng=np.random.default_rng(3))
        return twin.backward(dy, cache)[2]

    # (g(s) - g(-s)) / 2s: truncation s^2 g''' / 6 and rounding eps / s are both about 1e-10 at s = 1e-5
    for name, value in gradient(0).items():
        slope = (gradient(1e-5)[name] - gradient(-1e-5)[name]) / 2e-5
        np.testing.assert_allclose(got[name], slope, atol=1e-8 * max(1, np.abs(value).max()))
    assert np.abs(got["0.W_hh"]).max() > 0.01


def test_equals_double_backward_of_torch(torch):
    """Two derivations of one Hessian: autograd's, through its unfused CPU path in float64, and ours."""
    problem = Problem(("lstm", 3, 4), 5, 2, "none", seed=12)
    v = random_direction(problem, 13)
    names = ("W_ih", "W_hh", "b")
    lstm = torch.nn.LSTM(3, 4).double()

    def run(W_ih, W_hh, b):
        weights = {"weight_ih_l0": W_ih.T, "weight_hh_l0": W_hh.T, "bias_ih_l0": b, "bias_hh_l0": torch.zeros_like(b)}
        state = tuple(torch.tensor(s)[None] for s in problem.state)
        y, _ = torch.func.functional_call(lstm, weights, (torch.tensor(problem.x), state))
        return (y * torch.tensor(problem.dy)).sum()

    _, want = torch.autograd.functional.hvp(
        run, tuple(torch.tensor(problem.params[k]) for k in names), tuple(torch.tensor(v[k]) for k in names)
    )
    got = hvp(problem.layer(), problem.x, problem.dy, {k: v[k] for k in names}, problem.state)
    for name, theirs in zip(names, want):
        assert relative_error(got[name], theirs.numpy()) <= 1e-12
