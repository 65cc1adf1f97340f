"""Dropout as a layer: one mask for each step, or one for the sequence."""

import numpy as np
import pytest

import lstmcore as lc

T, B, I = 6, 4, 5


def test_one_mask_for_the_sequence(tmp_path):
    x = np.ones((T, B, I))
    model = lc.Stack([lc.Dropout(0.5, per_sequence=True), lc.LSTM(I, 2, dtype="float64", seed=0, engine="reference")])
    y, _, cache = model.layers[0].forward(x, rng=np.random.default_rng(0))
    assert set(np.unique(y)) == {0, 2}
    assert (y == y[0]).all()  # the same at every step
    assert len({row.tobytes() for row in y[0]}) > 1  # and not in every row
    np.testing.assert_array_equal(model.layers[0].backward(np.full_like(y, 3), cache)[0], 3 * y)
    assert (lc.Dropout(0.5).forward(x, rng=np.random.default_rng(0))[0] != y).any()
    assert lc.debug.gradcheck(model, np.random.default_rng(1).standard_normal(x.shape), dropout_seed=0).worst < 1e-12
    infinite = np.where(y == 0, np.inf, x)  # a dropped x is selected out
    again = model.layers[0].forward(infinite, rng=np.random.default_rng(0))[0]
    np.testing.assert_array_equal(again, y)
    assert model.layers[0].forward(x)[0].tobytes() == x.tobytes()
    rows = lc.Dropout(0.5, per_sequence=True).forward(x[0], rng=np.random.default_rng(0))[0]
    np.testing.assert_array_equal(rows, y[0])  # without time there is one step
    lc.save(tmp_path / "model.safetensors", model)
    twin = lc.load(tmp_path / "model.safetensors")
    assert repr(twin) == repr(model)
    assert "Dropout(0.5, per_sequence=True)" in repr(twin)


def test_refusals():
    with pytest.raises(TypeError, match="`per_sequence` should be True or False; got 1"):
        lc.Dropout(0.5, 1)


def test_one_mask_for_all_steps_goes_to_no_other_system(torch):
    model = lc.Stack([lc.LSTM(I, 2), lc.Dropout(0.5, per_sequence=True), lc.Linear(2, 1)])
    with pytest.raises(ValueError, match=r"Dropout\(0.5, per_sequence=True\) draws one mask for all steps, which"):
        lc.to_torch(model)
