"""Gradient noise: its size over time, and that it can be repeated."""

import numpy as np
import pytest

import lstmcore as lc
from lstmcore.train import SGD, Batch, Callback, GradientNoise, add_noise, fit


@pytest.mark.parametrize(("t", "eta", "gamma"), [(0, 0.01, 0.55), (0, 1.0, 0.55), (99, 0.3, 0.55), (999, 1.0, 1.0)])
def test_variance(t, eta, gamma):
    """Of n = 200,000 normal draws the variance is right to a relative 5 sqrt(2 / n), and the mean to 5 sigma / sqrt(n),
    but for one run in a million; the seed is fixed."""
    n = 200_000
    grads = {"a": np.full((n // 2, 1), 3.0), "b": np.full(n // 2, 3.0)}
    add_noise(grads, t, np.random.default_rng(0), eta, gamma)
    noise = np.concatenate([grads["a"].ravel(), grads["b"]]) - 3.0
    variance = eta / (1 + t) ** gamma
    assert noise.var() == pytest.approx(variance, rel=5 * (2 / n) ** 0.5, abs=0)
    assert abs(noise.mean()) < 5 * (variance / n) ** 0.5


def test_same_seed_same_noise_in_every_dtype():
    single, double = {"a": np.zeros(100, "float32")}, {"a": np.zeros(100)}
    add_noise(single, 3, np.random.default_rng(1))
    add_noise(double, 3, np.random.default_rng(1))
    assert single["a"].dtype == np.float32
    np.testing.assert_array_equal(single["a"], double["a"].astype("float32"))


def test_only_standard_array_functions(array_api_strict):
    strict, plain = {"a": array_api_strict.zeros(10)}, {"a": np.zeros(10)}
    add_noise(strict, 0, np.random.default_rng(1))
    add_noise(plain, 0, np.random.default_rng(1))
    np.testing.assert_array_equal(np.asarray(strict["a"]), plain["a"])


def test_in_fit():
    """The callback adds exactly add_noise's numbers, step by step, after the gradient is clipped."""

    class Keep(Callback):
        def __init__(self):
            self.grads = []

        def on_gradients(self, run):
            self.grads.append({name: g.copy() for name, g in run.grads.items()})

    model = lc.Linear(2, 1, dtype="float64", seed=0)
    before, after = Keep(), Keep()
    batch = Batch(np.ones((3, 4, 2)), np.full((3, 4, 1), 100.0))
    callbacks = [before, GradientNoise(eta=0.5, gamma=0.7, seed=9), after]
    fit(model, lc.squared_error, [batch, batch], SGD(0.01), epochs=2, clip=1.0, callbacks=callbacks, progress=False)
    rng = np.random.default_rng(9)
    assert len(after.grads) == 4
    for t, (plain, noisy) in enumerate(zip(before.grads, after.grads, strict=True)):
        # the clipped norm is 1 up to the roundings of three squares, a root and a product
        assert sum(float((g**2).sum()) for g in plain.values()) == pytest.approx(1.0, rel=20 * 2.0**-53, abs=0)
        add_noise(plain, t, rng, eta=0.5, gamma=0.7)
        for name in plain:
            np.testing.assert_array_equal(plain[name], noisy[name])


def test_numbers_out_of_range_are_refused():
    with pytest.raises(ValueError, match=r"`eta` should be a number in \[0, inf\); got -1"):
        GradientNoise(eta=-1)
    with pytest.raises(TypeError, match="`seed` should be None, an int or a"):
        GradientNoise(seed=1.5)
