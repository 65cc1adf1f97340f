"""Masks from lengths, and selecting by them."""

import numpy as np
import pytest

import lstmcore as lc
from lstmcore.ops.masking import masking_backward, masking_forward


def test_mask_from_lengths():
    mask = lc.mask_from_lengths([0, 1, 3], 3)
    assert mask.dtype == bool
    assert mask.T.tolist() == [[False, False, False], [True, False, False], [True, True, True]]


@pytest.mark.parametrize("lengths", [(2, 1), np.array([2, 1], "uint8"), [np.int64(2), 1]])
def test_any_row_of_integers(lengths):
    assert lc.mask_from_lengths(lengths, 2).tolist() == [[True, True], [True, False]]


@pytest.mark.parametrize("select", [masking_forward, masking_backward])
@pytest.mark.parametrize("shape", [(2, 2), (2, 2, 3)])
def test_what_is_masked_is_zero_whatever_it_holds(select, shape):
    x, mask = np.full(shape, np.nan), np.array([[True, False], [False, True]])
    x[mask] = 1.5
    y = select(x, mask)
    assert np.all(y[mask] == 1.5)
    assert np.all(y[~mask] == 0.0)
    assert np.isnan(x).any()  # the input is left as it was


def test_without_a_mask_nothing_happens():
    x = np.ones((2, 2))
    assert masking_forward(x, None) is x
