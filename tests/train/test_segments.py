"""`fit(segments=k)`: the gradient of all of a batch's time, with one segment in memory."""

import re

import numpy as np
import pytest

import lstmcore as lc
from lstmcore.train.segments import Segments


def model(dropout=0.0, sequences=True):
    options = {"dtype": "float64", "engine": "reference"}  # what is compiled has its tests in ops/recurrence
    layers = [lc.LSTM(3, 5, seed=0, **options), lc.Dropout(dropout)]
    layers += [lc.GRU(5, 4, seed=1, **options, return_sequences=sequences)]
    return lc.Stack([*layers, lc.Linear(4, 2, seed=2, dtype="float64")])


def batch(T=53, B=4, seed=0):
    rng = np.random.default_rng(seed)
    mask = np.arange(T)[:, None] < rng.integers(1, T + 1, B)  # whole segments of some rows are padding
    return rng.standard_normal((T, B, 3)), rng.standard_normal((T, B, 2)), mask


@pytest.mark.parametrize("k", [7, 99, True])
@pytest.mark.parametrize("sequences", [True, False])
def test_gradients_are_those_of_the_whole_batch(k, sequences):
    x, targets, mask = batch()
    net = model(sequences=sequences)
    state = tuple(None if s is None else tuple(a + 0.1 for a in s) for s in net.predict(x[:1])[1])
    y, last, cache = net.forward(x, state, mask)
    dy = lc.squared_error(y, targets if sequences else targets[0], mask if sequences else None)[1]
    _, dstate0, wanted = net.backward(dy, cache, last)
    pieces = Segments(net, k)
    y2, last2, cache2 = pieces.forward(x, state, mask)
    assert np.abs(y2 - y).max() <= 1e-12
    assert np.abs(pieces.predict(x, state, mask)[0] - y).max() <= 1e-12
    for _ in range(2):  # backward twice is the same
        _, dstate0_2, got = pieces.backward(dy, cache2, last2)
        for name, g in wanted.items():
            assert np.abs(got[name] - g).max() <= 1e-12 * np.abs(g).max(), name
        for a, b in zip(dstate0[0], dstate0_2[0]):
            assert np.abs(a - b).max() <= 1e-12 * np.abs(a).max()


def test_fit_trains_as_without(tmp_path):
    data = [batch(seed=s) for s in range(4)]
    found = {}
    for k in (False, 10):
        net = model()
        options = {"epochs": 2, "validation": data[:1], "clip": 1.0, "accumulate": 2, "progress": False, "segments": k}
        found[k] = lc.fit(net, lc.squared_error, data, lc.SGD(0.1), **options), net
    for a, b in zip(found[False][0]["epochs"], found[10][0]["epochs"]):
        assert abs(a["loss"] - b["loss"]) <= 1e-12
        assert abs(a["validation"] - b["validation"]) <= 1e-12
    for name, w in found[False][1].params.items():
        assert np.abs(w - found[10][1].params[name]).max() <= 1e-12


def test_dropout_is_replayed_on_the_way_back():
    """With a single Dropout the masks, drawn segment by segment, are those of the whole batch in the same order."""
    x, targets, mask = batch()
    net = model(dropout=0.5)
    y, _, cache = net.forward(x, None, mask, np.random.default_rng(3))
    dy = lc.squared_error(y, targets, mask)[1]
    wanted = net.backward(dy, cache)[2]
    rng, pieces = np.random.default_rng(3), Segments(net, 8)
    y2, _, cache2 = pieces.forward(x, None, mask, rng)
    assert np.abs(y2 - y).max() <= 1e-12
    after = rng.bit_generator.state
    got = pieces.backward(dy, cache2)[2]
    assert rng.bit_generator.state == after
    for name, g in wanted.items():
        assert np.abs(got[name] - g).max() <= 1e-12 * np.abs(g).max(), name


def test_models_that_do_not_read_step_by_step_are_refused():
    two = lc.Bidirectional(lc.LSTM(3, 2, seed=0), lc.LSTM(3, 2, seed=1))
    x, targets, _ = batch()
    for net, why in [
        (lc.Stack([two]), "reads it from its end (give its layers recompute=True instead)"),
        (lc.Reversed(lc.LSTM(3, 2)), "reads it from its end (give its layers recompute=True instead)"),
        (lc.Stack([lc.LSTM(3, 2), lc.Last()]), "looks for the last step (use return_sequences=False"),
        (lc.Stack([lc.Dropout(0.5, per_sequence=True), lc.LSTM(3, 2)]), "draws a mask for a whole sequence"),
        (lc.RecurrentDropout(lc.LSTM(3, 2), W_hh=0.5), "draws a mask for a whole sequence"),
        (lc.BatchFirst(lc.LSTM(3, 2)), "has the batch first (hand over its model and time-major arrays)"),
    ]:
        with pytest.raises(
            ValueError, match="`segments` need a model that reads time step by step; .*" + re.escape(why)
        ):
            lc.fit(net, lc.squared_error, [(x, targets)], lc.SGD(0.1), epochs=1, segments=5)
    with pytest.raises(ValueError, match=re.escape("`segments` should be a number of steps, True (near sqrt(T))")):
        lc.fit(model(), lc.squared_error, [(x, targets)], lc.SGD(0.1), epochs=1, segments=-1)
