"""sigmoid and tanh: full relative accuracy in both tails, no overflow, complex-safe; gradients by complex step."""

import math

import numpy as np
import pytest

from lstmcore.ops.activation import sigmoid, tanh_backward, tanh_forward

POINTS = [0.0, 1e-300, -1e-300, 0.3, -0.3, 1.0, -1.0, 8.0, -8.0, 10.0, -10.0, 30.0, -30.0, 80.0, -80.0]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sigmoid_in_both_tails(dtype):
    """Within 3 eps of 1 / (1 + exp(-x)), relative: an exponential of 1 ulp, a sum and a quotient."""
    x = np.array(POINTS, dtype)
    want = np.array([1.0 / (1.0 + math.exp(-v)) for v in x.astype(float)])
    got = sigmoid(x)
    assert got.dtype == dtype
    assert np.all(np.abs(got - want) <= 3 * np.finfo(dtype).eps * want)
    assert np.all(got > 0)  # a closed gate keeps its gradient


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sigmoid_far_out(dtype):
    """No overflow, no warning: exactly 0 and 1 at infinity."""
    x = np.array([-np.inf, -1e4, 1e4, np.inf], dtype)
    assert sigmoid(x).tolist() == [0.0, 0.0, 1.0, 1.0]


def test_sigmoid_by_complex_step():
    """sigmoid' = e / (1 + e)^2 with e = exp(-|x|), to 8 eps, relative, far out too."""
    x = np.array(POINTS)
    got = sigmoid(x + 1e-30j).imag / 1e-30
    e = np.exp(-np.abs(x))
    want = e / (1 + e) ** 2
    assert np.all(np.abs(got - want) <= 8 * np.finfo(float).eps * want)


def test_tanh_and_its_gradient():
    """1 - y^2 from the output: an absolute error of a few eps, since y is near 1 far out."""
    x, dy = np.array(POINTS), np.linspace(-2, 2, len(POINTS))
    y = tanh_forward(x)
    assert np.array_equal(y, np.tanh(x))
    want = dy * np.tanh(x + 1e-30j).imag / 1e-30
    assert np.max(np.abs(tanh_backward(dy, y) - want)) <= 4 * np.finfo(float).eps
