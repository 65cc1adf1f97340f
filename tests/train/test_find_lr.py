"""The range test: the rates rise by a factor, the end comes in time, and nothing is changed by it."""

import json
import math
import signal

import numpy as np
import pytest

import lstmcore as lc
from lstmcore.train import Adam, Batches, Callback, RangeTest, Stream, find_lr, fit


def parts(seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((5, 20, 2)).astype("float32")
    model = lc.Stack([lc.LSTM(2, 5, seed=0), lc.Dropout(0.2), lc.Linear(5, 2, seed=1)])
    return model, lc.squared_error, Batches(x, x.cumsum(axis=0), batch_size=4, seed=3), Adam(0.02)


def test_the_rates_and_the_losses():
    model, loss, batches, opt = parts()
    found = find_lr(model, loss, batches, opt, lowest=1e-4, highest=1e-2, steps=21, rng=0, progress=False)
    np.testing.assert_allclose(found.lrs, np.geomspace(1e-4, 1e-2, 21), rtol=1e-12)  # a power, two roundings
    assert found.ended == "all 21 rates tried"
    twin, seen = parts()[0], []

    class Watch(Callback):
        def on_batch(self, run):
            seen.append(run.loss)
            run.opt.lr = found.lrs[min(run.step, 20)]

    opt = Adam(found.lrs[0])
    fit(twin, loss, parts()[2], opt, epochs=5, callbacks=[Watch()], rng=0, progress=False)
    assert found.losses == seen[:21]  # it trains as `fit` does
    average = np.array([sum(0.9 ** (k - j) * seen[j] for j in range(k + 1)) for k in range(21)])
    weights = np.array([sum(0.9 ** (k - j) for j in range(k + 1)) for k in range(21)])
    # 21 terms, each a product and a sum, rounded
    np.testing.assert_allclose(found.smoothed, average / weights, rtol=4 * 21 * 2.0**-53)


@pytest.mark.parametrize("after", [0, 3])
def test_nothing_is_changed(after):
    """Fresh, and in the midst of a training: that goes on as if there had been no test."""
    model, loss, batches, opt = parts()
    twin, _, other_batches, other_opt = parts()
    rng, other = np.random.default_rng(1), np.random.default_rng(1)
    for part, data, optimizer, draws in ((model, batches, opt, rng), (twin, other_batches, other_opt, other)):
        if after:
            fit(part, loss, data, optimizer, epochs=after, rng=draws, progress=False)
        if part is model:
            lr = opt.lr
            find_lr(model, loss, batches, opt, steps=30, rng=rng, progress=False)
            assert opt.lr == lr
        fit(part, loss, data, optimizer, epochs=2, rng=draws, progress=False)
    for name, w in model.params.items():
        assert w.tobytes() == twin.params[name].tobytes()


def test_it_ends_when_the_loss_has_grown():
    model, loss, batches, opt = parts()
    with np.errstate(over="ignore"):
        found = find_lr(model, loss, batches, opt, lowest=1e-3, highest=1e6, steps=100, progress=False)
    assert "the loss has become 4 times the lowest" in found.ended
    assert len(found.lrs) < 100
    assert found.smoothed[-1] > 4 * min(found.smoothed)
    assert found.fastest <= found.lowest < found.lrs[-1]


def test_a_loss_that_is_not_finite_from_the_start():
    model, _, batches, opt = parts()
    with pytest.raises(ValueError, match="there is nothing to find: the loss is nan in step 1"):
        find_lr(model, lambda y, t, mask: (math.nan, y), batches, opt, progress=False)


def test_with_a_carried_state():
    classes = np.arange(121) % 4
    model = lc.Stack([lc.Embedding(4, 3, seed=0), lc.LSTM(3, 5, seed=1), lc.Linear(5, 4, seed=2)])
    before = {name: w.copy() for name, w in model.params.items()}
    stream = Stream(classes[:-1], classes[1:], batch_size=2, steps=5)
    found = find_lr(model, lc.softmax_cross_entropy, stream, Adam(), steps=40, carry_state=True, progress=False)
    assert found.smoothed[0] == pytest.approx(math.log(4), rel=0.3)
    assert min(found.smoothed) < found.smoothed[0] / 2
    assert stream.state == {"position": 0}
    for name, w in model.params.items():
        np.testing.assert_array_equal(w, before[name])


def test_where_it_falls_fastest():
    """A cliff in the middle: flat, down within 10 steps, flat, up."""
    losses = [2.0] * 50 + list(np.linspace(2, 1, 11)) + [1.0] * 20 + [0.99] + [3.0] * 18
    lrs = list(np.geomspace(1e-5, 1e0, 100))
    found = RangeTest(lrs, losses, losses, "all 100 rates tried")
    assert found.lowest == lrs[81]
    assert lrs[50] <= found.fastest <= lrs[60]
    table = found.table(5)
    assert [lr for lr, _ in table] == [lrs[k] for k in (0, 25, 50, 74, 99)]
    assert table[-1] == (lrs[-1], 3.0)
    short = RangeTest([0.1, 0.2], [1.0, 2.0], [1.0, 2.0], "")
    assert short.fastest == short.lowest == 0.1
    json.dumps([found.fastest, found.lowest])


@pytest.mark.parametrize(("lowest", "highest", "steps"), [(0, 1, 10), (1, 0.1, 10), (0.1, 1, 1), (0.1, math.inf, 10)])
def test_rates_that_do_not_rise(lowest, highest, steps):
    with pytest.raises(ValueError, match="the rates should rise in 2 steps or more"):
        find_lr(*parts(), lowest=lowest, highest=highest, steps=steps)


def test_ctrl_c_gives_what_there_is(ctrl_c):
    model, _, batches, opt = parts()
    calls = []

    def loss(y, targets, mask):
        calls.append(1)
        if len(calls) == 7:
            signal.raise_signal(signal.SIGINT)
        return lc.squared_error(y, targets, mask=mask)

    found = find_lr(model, loss, batches, opt, progress=False)
    assert found.ended == "interrupted"
    assert len(found.lrs) == 7
