"""Dual arrays: a number beside them changes nothing of their precision."""

import operator

import numpy as np
import pytest

from lstmcore.debug import dual
from lstmcore.debug.dual import Dual

ARITHMETIC = (operator.add, operator.sub, operator.mul, operator.truediv)


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64"])
def test_a_number_takes_the_precision_of_what_it_meets(dtype):
    values, tangents = np.array([[0.5, 2.0], [3.0, -1.0]], dtype), np.ones((2, 2), dtype)
    a = Dual(values, tangents)
    made = [f(*pair) for f in ARITHMETIC for pair in ((a, 0.1), (0.1, a), (a, 3), (3, a))]
    made += [dual.where(values == 2, a, 0.1), dual.where(values == 2, 0.1, a)]
    assert {(found.dtype, found.tangent.dtype) for found in made} == {(np.dtype(dtype), np.dtype(dtype))}
    np.testing.assert_array_equal((0.1 / a).value, 0.1 / values)
    assert (a * np.ones(2)).dtype == np.result_type(dtype, "float64")  # an array has a precision of its own
