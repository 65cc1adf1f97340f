"""Every form of layer norm: its step undone rightly, and lstmcore's own among them."""

import numpy as np
import pytest

import lstmcore as lc
from lstmcore.debug.normed import EPS, FORMS, GAINS, Form, Norm

T, B, I, H = 4, 2, 3, 4


def filled(form, seed=0):
    """A layer of this form with random numbers."""
    rng = np.random.default_rng(seed)
    layer = Norm(form, {}).layer(I, H)
    for name, value in layer.params.items():
        layer.params[name] = rng.normal(0, 0.6, value.shape) + name.startswith("gamma")
    return layer, rng.normal(size=(T, B, I))


@pytest.mark.parametrize("form", FORMS[: len(FORMS) // len(EPS)], ids=str)
def test_each_form_is_undone(form):
    layer, x = filled(form)
    check = lc.debug.gradcheck(layer, x, directions=3, seed=1)
    assert check.ok, str(check)


def test_own_layer_norm_is_one_of_them():
    own = lc.LSTM(I, H, layer_norm=True, dtype="float64", seed=0, engine="reference")
    layer, x = filled(Form("apart", False, "shown", EPS[0]))
    for name in ("W_ih", "W_hh", "gamma_c", "beta_c"):
        own.params[name] = layer.params[name]
    own.params["b"] = layer.params["b"] + layer.params["beta"]
    own.params["gamma"] = np.concatenate([layer.params["gamma_x"], layer.params["gamma_h"]])
    y, theirs = own.forward(x)[0], layer.forward(x)[0]
    np.testing.assert_allclose(y, theirs, rtol=1e-13)


def test_gains_that_a_program_does_not_have_change_nothing():
    given = {"g": np.arange(16.0), "b1": np.ones(16), "b2": np.ones(16)}
    params = Norm(FORMS[0], {"g": "gamma_x", "b1": "beta", "b2": "beta"}).params(given, H)
    assert tuple(params) == GAINS
    np.testing.assert_array_equal(params["gamma_x"], given["g"])
    np.testing.assert_array_equal(params["beta"], 2)  # two shifts add up
    assert (params["gamma_h"] == 1).all()
    assert (params["beta_c"] == 0).all()
