"""The directional derivative against a complex step of the forward pass, and against backpropagation.

Tolerances as in test_gradient.py: per array 1e-12 of its largest entry, sums of some 100 terms of size 1. Inner
products add some 300 terms, each of which carries such an error: 1e-12 of the sum of their absolute values.
"""

import numpy as np
import pytest
from cases import CELLS, LAYERS, MASKS, Problem, flatten, relative_error, worst_relative_error
from directions import STEP, gradients, inner, random_direction, shifted, size

import lstmcore as lc
from lstmcore.debug.derivatives.forward_mode import jvp
from lstmcore.debug.dual import Dual, tanh, where


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("name", LAYERS)
def test_equals_complex_step(name, mask):
    problem = Problem(LAYERS[name], 4, 2, mask, seed=1)
    direction = random_direction(problem, 2)
    layer, x, state = shifted(problem, direction, 1j * STEP)
    y, final = layer.predict(x, state, problem.mask)
    got = jvp(problem.layer(), problem.x, direction, problem.state, problem.mask)
    values, tangents = flatten({"y": y, "state": final}), flatten({"y": got.y_dot, "state": got.state_dot})
    worst, where_ = worst_relative_error(tangents, {k: v.imag / STEP for k, v in values.items()})
    assert worst <= 1e-12, f"{where_}: {worst:.3g}"
    assert any(np.abs(v).max() > 1e-2 for v in tangents.values())  # not 0 = 0: states move even without a step
    same = flatten({"y": got.y, "state": got.state})
    assert worst_relative_error(same, {k: v.real for k, v in values.items()})[0] <= 1e-12


@pytest.mark.parametrize("mask", ["none", "gaps"])
@pytest.mark.parametrize("cell", CELLS)
def test_equals_complex_step_with_saturated_gates(cell, mask):
    problem = Problem((cell, 2, 4), 4, 3, mask, seed=3, saturate="some")
    direction = random_direction(problem, 4)
    layer, x, state = shifted(problem, direction, 1j * STEP)
    y, _ = layer.predict(x, state, problem.mask)
    got = jvp(problem.layer(), problem.x, direction, problem.state, problem.mask)
    assert relative_error(got.y_dot, y.imag / STEP) <= 1e-12


@pytest.mark.pairwise("name", "mask")
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("name", LAYERS)
def test_is_the_transpose_of_backward(engine, name, mask):
    """<J v, u> = <v, J^T u>: J v by forward mode, J^T u by the backward pass of each engine."""
    problem = Problem(LAYERS[name], 4, 2, mask, seed=5)
    try:
        layer = engine.place(problem.layer())
    except ValueError as refusal:
        pytest.skip(str(refusal))
    direction = random_direction(problem, 6)
    arrays = map(engine.array, (problem.x, problem.state, problem.mask, problem.dy, problem.dstate))
    got = jvp(problem.layer(), problem.x, direction, problem.state, problem.mask)
    outputs, upstream = flatten([got.y_dot, got.state_dot]), flatten([problem.dy, problem.dstate])
    back = engine.host(gradients(layer, *arrays))
    allowed = 1e-12 * (size(outputs, upstream) + size(direction, back))
    assert abs(inner(outputs, upstream) - inner(direction, back)) <= allowed
    assert size(direction, back) > 1


def test_the_step_over_duals_equals_the_equations_written_out():
    rng = np.random.default_rng(0)
    a, a_dot = rng.normal(size=(2, 4, 3, 5))
    c_prev, c_prev_dot = rng.normal(size=(2, 3, 5))
    step_forward, _ = lc.LSTM(1, 1).cell.make_step(lc.ops.activation.array_maths(lc.debug.dual))
    i, f, g, o, h, c = step_forward(*map(Dual, a, a_dot), Dual(c_prev, c_prev_dot))
    i_dot = i.value * (1 - i.value) * a_dot[0]
    f_dot = f.value * (1 - f.value) * a_dot[1]
    g_dot = (1 - g.value**2) * a_dot[2]
    o_dot = o.value * (1 - o.value) * a_dot[3]
    c_dot = f_dot * c_prev + f.value * c_prev_dot + i_dot * g.value + i.value * g_dot
    h_dot = o_dot * np.tanh(c.value) + o.value * (1 - np.tanh(c.value) ** 2) * c_dot
    for dual, by_hand in zip((i, f, g, o, c, h), (i_dot, f_dot, g_dot, o_dot, c_dot, h_dot)):
        np.testing.assert_allclose(dual.tangent, by_hand, rtol=1e-14, atol=1e-15)  # a dozen roundings of numbers near 1


def test_dual_arithmetic_equals_complex_step():
    """Each operation alone; a few roundings of numbers near 1."""
    rng = np.random.default_rng(1)
    v, v_dot, w, w_dot = rng.uniform(0.5, 1.5, (4, 3, 3))
    condition = v > w
    for function in (
        lambda a, b: a + b,
        lambda a, b: 2 + a - b,
        lambda a, b: 1 - a * b * 3,
        lambda a, b: a / b + 1 / a + v / b,
        lambda a, b: a @ b @ v + v @ a,
        lambda a, b: -a.T,
        lambda a, b: a[1:, ::2] * b[:2, :2],
    ):
        got = function(Dual(v, v_dot), Dual(w, w_dot))
        want = function(v + 1j * STEP * v_dot, w + 1j * STEP * w_dot)
        np.testing.assert_allclose(got.value, want.real, rtol=1e-14)
        np.testing.assert_allclose(got.tangent, want.imag / STEP, rtol=1e-13, atol=1e-14)
    chosen = where(condition, tanh(Dual(v, v_dot)), 1)
    np.testing.assert_allclose(chosen.tangent, np.where(condition, (1 - np.tanh(v) ** 2) * v_dot, 0), rtol=1e-14)
    assert repr(Dual(1.0, 2.0)) == "Dual(1.0, 2.0)"


def test_dropout_masks_repeat():
    """The same seed, the same masks: the value is that of a forward with this generator."""
    model = lc.Stack(
        [lc.LSTM(3, 4, dtype="float64", seed=0), lc.Dropout(0.5), lc.Linear(4, 2, dtype="float64", seed=1)]
    )
    x = np.random.default_rng(2).normal(size=(5, 3, 3))
    got = jvp(model, x, {"x": np.ones_like(x)}, dropout_seed=7)
    y, _, _ = model.forward(x, rng=np.random.default_rng(7))
    np.testing.assert_allclose(got.y, y, rtol=1e-13, atol=1e-15)
    assert np.abs(got.y_dot - jvp(model, x, {"x": np.ones_like(x)}).y_dot).max() > 0.01


def test_a_single_precision_layer_is_differentiated_in_double():
    layer = lc.LSTM(3, 4, seed=0)
    x = np.random.default_rng(2).normal(size=(5, 3, 3)).astype("float32")
    got = jvp(layer, x, {"h0": np.ones((3, 4))})
    assert got.y_dot.dtype == np.float64
    assert layer.params["W_hh"].dtype == np.float32


def test_what_does_not_fit_is_refused():
    layer, x = lc.LSTM(3, 4, seed=0), np.zeros((5, 2, 3), "float32")
    with pytest.raises(KeyError, match="`direction` should name some of x, W_ih, W_hh, b, h0, c0; got 'W'"):
        jvp(layer, x, {"W": x})
    with pytest.raises(ValueError, match=r"`direction\['h0'\]` should be \(2, 4\); got \(5, 2, 3\)"):
        jvp(layer, x, {"h0": x})
    with pytest.raises(TypeError, match=r"`x` should be floating; got int64 .*embed it first"):
        jvp(layer, np.zeros((5, 2, 3), int), {})
