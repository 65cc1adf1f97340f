"""The Jacobians of the recurrence against complex step, against backward, and where theory knows the answer."""

import numpy as np
import pytest
from cases import CELLS, MASKS, Problem, relative_error

import lstmcore as lc
from lstmcore.debug import jacobian, lyapunov_exponents, memory_horizon, singular_values, step_jacobians

STEP = 2.0**-100


def cache_of(layer, problem):
    return layer.forward(problem.x, problem.state, problem.mask)[2]


def complex_step_jacobian(problem, start, stop):
    """(B, n, n): each number of the state at `start` moved by a complex step, and the state at `stop` read."""
    layer = problem.layer().to(dtype="complex128", engine="reference")
    x, mask = problem.x.astype(complex), problem.mask
    at_start = tuple(s[start].astype(complex) for s in cache_of(problem.layer(), problem).states)
    columns = []
    for k, s in enumerate(at_start):
        for u in range(s.shape[-1]):
            moved = [part.copy() for part in at_start]
            moved[k][:, u] += 1j * STEP
            if start == stop:
                final = tuple(moved)
            else:
                _, final = layer.predict(x[start:stop], tuple(moved), None if mask is None else mask[start:stop])
            columns.append(np.concatenate(final, axis=1).imag / STEP)
    return np.stack(columns, axis=-1)


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("cell", CELLS)
def test_equals_complex_step(cell, mask):
    """Products of up to 6 matrices of 8 x 8 numbers below 1: 1e-12 of the largest entry, as everywhere."""
    problem = Problem((cell, 3, 4), 6, 3, mask, seed=1)
    layer = problem.layer()
    cache = cache_of(layer, problem)
    for start, stop in ((0, 6), (0, 1), (2, 5), (3, 3)):
        want = complex_step_jacobian(problem, start, stop)
        assert relative_error(jacobian(layer, cache, start, stop), want) <= 1e-12
        assert np.abs(want).max() > 1e-3


@pytest.mark.parametrize("mask", ["none", "gaps"])
@pytest.mark.parametrize("cell", CELLS)
def test_its_transpose_carries_the_gradient_of_the_state(engine, cell, mask):
    """dstate0 = J^T dstate, where nothing else arrives: the backward pass of every engine, from its own cache."""
    engine.skip_if_unsupported(cell)
    problem = Problem((cell, 3, 4), 6, 3, mask, seed=2)
    layer = engine.place(problem.layer())
    x, state, m, dy, dstate = map(
        engine.array, (problem.x, problem.state, problem.mask, 0 * problem.dy, problem.dstate)
    )
    _, _, cache = layer.forward(x, state, m)
    _, dstate0, _ = layer.backward(dy, cache, dstate)
    J = jacobian(layer, cache)
    got = np.einsum("bij,bi->bj", J, np.concatenate(problem.dstate, axis=1))
    assert relative_error(got, np.concatenate(engine.host(dstate0), axis=1)) <= 1e-12


def test_saturated_gates():
    problem = Problem(("lstm", 3, 4), 5, 2, "none", seed=3, saturate="some")
    layer = problem.layer()
    got = jacobian(layer, cache_of(layer, problem))
    assert relative_error(got, complex_step_jacobian(problem, 0, 5)) <= 1e-12


def rotating_rnn(shrink, T=12, H=5, B=2):
    """A plain RNN at rest (x = 0, h = 0, where tanh' = 1) whose recurrent matrix is `shrink` times a rotation."""
    layer = lc.RNN(3, H, dtype="float64", seed=0)
    layer.params["W_hh"] *= shrink  # orthogonal at first
    return layer, layer.forward(np.zeros((T, B, 3)))[2]


@pytest.mark.parametrize("shrink", [0.5, 1.0, 1.3])
def test_a_rotation_times_a_number(shrink):
    """J_t is `shrink` times a rotation: every singular value shrink^k, every exponent log(shrink); rounding only."""
    layer, cache = rotating_rnn(shrink)
    powers = shrink ** np.arange(13.0)
    np.testing.assert_allclose(singular_values(layer, cache), np.tile(powers[:, None, None], (1, 2, 5)), rtol=1e-13)
    np.testing.assert_allclose(lyapunov_exponents(layer, cache), np.full((2, 5), np.log(shrink)), atol=1e-14)


def test_memory_horizon():
    """0.5^7 < 0.01 < 0.5^6; from step 8 on only 4 steps are left; nothing is lost by a rotation."""
    layer, cache = rotating_rnn(0.5)
    np.testing.assert_array_equal(memory_horizon(layer, cache), [7, 7])
    np.testing.assert_array_equal(memory_horizon(layer, cache, start=8), [np.inf, np.inf])
    np.testing.assert_array_equal(memory_horizon(layer, cache, start=8, fraction=0.2), [3, 3])
    layer, cache = rotating_rnn(1.0)
    np.testing.assert_array_equal(memory_horizon(layer, cache), [np.inf, np.inf])


def test_memory_horizon_counts_real_steps():
    layer = lc.RNN(3, 5, dtype="float64", seed=0)
    layer.params["W_hh"] *= 0.5
    mask = np.ones((12, 2), bool)
    mask[2:5, 0] = False
    _, _, cache = layer.forward(np.zeros((12, 2, 3)), mask=mask)
    np.testing.assert_array_equal(memory_horizon(layer, cache), [7, 7])
    mask[1:, 1] = False
    _, _, cache = layer.forward(np.zeros((12, 2, 3)), mask=mask)
    np.testing.assert_array_equal(memory_horizon(layer, cache), [7, np.inf])
    np.testing.assert_allclose(lyapunov_exponents(layer, cache), np.full((2, 5), np.log(0.5)), atol=1e-14)


def test_an_lstm_without_recurrent_weights_remembers_by_its_forget_gate_alone():
    """c decays by sigmoid(b_f) per step; h_{t-1} is not read at all, so half the spectrum is minus infinity."""
    layer = lc.LSTM(3, 4, dtype="float64", seed=1)
    layer.params["W_hh"] *= 0
    _, _, cache = layer.forward(np.zeros((9, 2, 3)))
    exponents = np.sort(lyapunov_exponents(layer, cache), axis=1)
    assert np.all(exponents[:, :4] == -np.inf)
    np.testing.assert_allclose(exponents[:, 4:], np.full((2, 4), -np.log1p(np.exp(-1.0))), rtol=1e-13)


@pytest.mark.parametrize("cell", CELLS)
def test_exponents_add_up_to_the_determinant(cell):
    problem = Problem((cell, 3, 4), 6, 3, "gaps", seed=4)
    layer = problem.layer()
    cache = cache_of(layer, problem)
    _, logarithm = np.linalg.slogdet(step_jacobians(layer, cache))
    want = logarithm.sum(axis=0) / problem.mask.sum(axis=0)
    np.testing.assert_allclose(lyapunov_exponents(layer, cache).sum(axis=1), want, rtol=1e-11)


def test_a_row_without_a_step_has_no_exponents():
    problem = Problem(("lstm", 3, 4), 6, 3, "row without a step", seed=5)
    layer = problem.layer()
    exponents = lyapunov_exponents(layer, cache_of(layer, problem))
    assert np.isnan(exponents[-1]).all()
    assert np.isfinite(exponents[0]).all()


def test_what_does_not_fit_is_refused():
    layer = lc.LSTM(3, 4)
    _, _, cache = layer.forward(np.zeros((5, 2, 3), "float32"))
    stack = lc.Stack([layer])
    with pytest.raises(TypeError, match=r"should be an LSTM, GRU or RNN; got Stack\(.*pass a part and its cache"):
        jacobian(stack, cache)
    with pytest.raises(ValueError, match="it comes from another layer"):
        jacobian(lc.LSTM(3, 4), cache)
    with pytest.raises(ValueError, match=r"0 <= start <= stop <= T = 5; got 3 and 2"):
        jacobian(layer, cache, 3, 2)
    with pytest.raises(ValueError, match=r"0 <= start <= T = 5; got 6"):
        singular_values(layer, cache, 6)
