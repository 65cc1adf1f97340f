"""What an epoch is judged by: means over the valid items of all batches, never means of means."""

import csv
import functools
import json
import math

import numpy as np
import pytest

import lstmcore as lc
from lstmcore import train


def model(outputs: int) -> lc.Stack:
    return lc.Stack([lc.LSTM(2, 5, dtype="float64", seed=0), lc.Linear(5, outputs, dtype="float64", seed=1)])


def batches(n: int, targets) -> list[train.Batch]:
    """Of unequal sizes and lengths; targets: (rng, shape) -> array (T, B, ...)."""
    rng = np.random.default_rng(5)
    made = []
    for k in range(n):
        B = 1 + 3 * k
        mask = lc.mask_from_lengths(rng.integers(1, 7, B), 6)
        made.append(train.Batch(rng.standard_normal((6, B, 2)), targets(rng, (6, B)), mask))
    return made


def predicted(net, data):
    """All valid outputs and targets in one row."""
    pairs = [(net.predict(b.x, mask=b.mask)[0][b.mask], b.targets[b.mask]) for b in data]
    return [np.concatenate(parts) for parts in zip(*pairs)]


def test_they_stand_in_history_files_and_progress(tmp_path, capsys):
    data, net = batches(3, lambda rng, shape: rng.integers(0, 4, shape)), model(4)

    def largest(y, targets, mask):
        return float(np.abs(y[mask]).mean())

    history = lc.fit(
        net,
        lc.softmax_cross_entropy,
        data,
        lc.Adam(0.01),
        epochs=2,
        validation=data,
        metrics={"accuracy": train.accuracy, "perplexity": train.perplexity, "size": largest},
        callbacks=[train.Records(tmp_path)],
        progress=True,
    )
    row = history["epochs"][-1]
    logits, targets = predicted(net, data)
    assert row["accuracy"] == (logits.argmax(-1) == targets).mean()
    assert math.isclose(row["perplexity"], math.exp(row["validation"]), rel_tol=1e-15)
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    nats = -np.log(p[np.arange(len(targets)), targets]).mean()
    assert math.isclose(row["perplexity"], math.exp(nats), rel_tol=1e-13)  # some hundred items of a few roundings
    assert math.isclose(row["size"], np.abs(logits).mean(), rel_tol=1e-13)
    assert list(row) == ["epoch", "step", "loss", "validation", "accuracy", "perplexity", "size", "lr", "seconds"]
    assert json.loads((tmp_path / "epochs.jsonl").read_text().splitlines()[-1])["accuracy"] == row["accuracy"]
    assert (
        float(list(csv.DictReader((tmp_path / "epochs.csv").read_text().splitlines()))[-1]["perplexity"])
        == row["perplexity"]
    )
    assert f"accuracy {row['accuracy']:.4g}, perplexity {row['perplexity']:.4g}, size" in capsys.readouterr().err


def test_accuracy():
    """Classes, and labels that are true or false by themselves."""
    y = np.array([[2.0, 1.0], [0.0, 3.0], [5.0, -5.0]])
    targets = np.array([0, 0, -1])
    mask = np.array([True, True, False])
    assert train.accuracy(y, targets, mask) == 0.5
    labels = np.array([[1.0, 1.0], [0.0, 1.0], [0.0, 0.0]])
    assert train.accuracy(y, labels) == 5 / 6
    assert train.accuracy(y, labels, mask) == 1
    assert train.accuracy(y, labels, np.array([[True, False], [False, False], [True, False]])) == 1 / 2
    assert train.mean_absolute_error(y, labels, mask) == (1 + 0 + 0 + 2) / 4
    with pytest.raises(ValueError, match="at least one valid item"):
        train.accuracy(y, targets, np.zeros(3, bool))
    with pytest.raises(ValueError, match=r"lie in 0 \.\. 1"):
        train.accuracy(y, targets)


LABELS = {
    lc.softmax_cross_entropy: lambda rng, shape: rng.integers(0, 4, shape),
    lc.binary_cross_entropy: lambda rng, shape: (rng.random((*shape, 4)) < 0.3).astype("float64"),
    lc.squared_error: lambda rng, shape: rng.standard_normal((*shape, 4)),
    lc.absolute_error: lambda rng, shape: rng.standard_normal((*shape, 4)),
    lc.huber: lambda rng, shape: 3 * rng.standard_normal((*shape, 4)),
}


@pytest.mark.parametrize("loss", LABELS)
@pytest.mark.parametrize("options", [{}, {"accumulate": 2}, {"segments": 2}, {"clip": 1.0}])
def test_every_number_is_that_of_one_batch(loss, options):
    """The same rows in batches of very unequal sizes and lengths, and in one, by a model that stands still: what the
    history, early stopping, a schedule and the metrics are told. The mean of the batches' means is another number."""
    data, net = batches(5, LABELS[loss]), model(4)
    (x, _, mask), targets = whole(data), np.concatenate([b.targets for b in data], axis=1)
    classes = loss is lc.softmax_cross_entropy
    metrics = {"perplexity": train.perplexity} if classes else {"error": train.mean_absolute_error}
    metrics |= {"accuracy": train.accuracy} if classes or loss is lc.binary_cross_entropy else {}
    told = []
    for parts in (data, [train.Batch(x, targets, mask)]):
        stopping, heard = lc.EarlyStopping(3), []
        schedule = train.Plateau(1e-300)
        schedule.observe = heard.append
        given = {"validation": parts, "metrics": metrics, "callbacks": [stopping], "schedule": schedule, **options}
        (row,) = lc.fit(net, loss, parts, lc.SGD(1e-300), epochs=1, **given)["epochs"]
        told.append([row["loss"], row["validation"], *(row[name] for name in metrics), stopping.best, *heard])
    np.testing.assert_allclose(told[0], told[1], rtol=1e-13)  # 100 numbers at most, added in another order
    means = [float(loss(net.predict(b.x, mask=b.mask)[0], b.targets, b.mask)[0]) for b in data]
    assert abs(np.mean(means) / told[0][0] - 1) > 1e-3
    assert told[0][0] == pytest.approx(told[0][1], rel=1e-13)


def test_a_loss_that_counts_otherwise():
    """With class weights batches are averaged, and accumulated, by the weights of their targets."""
    data, weights = batches(4, lambda rng, shape: rng.integers(0, 4, shape)), np.array([1.0, 10.0, 0.1, 3.0])
    weighed = functools.partial(lc.softmax_cross_entropy, weights=weights)
    loss = train.Counted(weighed, lambda y, targets, mask: weights[targets[mask]].sum())
    net = model(4)
    logits, targets = predicted(net, data)
    want = float(weighed(logits, targets)[0])
    assert math.isclose(train.evaluate(net, loss, data), want, rel_tol=1e-13)
    assert not math.isclose(train.evaluate(net, weighed, data), want, rel_tol=1e-5)
    seen = []
    hook = train.Callback()
    hook.on_gradients = lambda run: seen.append((run.loss, {name: g.copy() for name, g in run.grads.items()}))
    lc.fit(net, loss, data, lc.SGD(1e-30), epochs=1, accumulate=4, callbacks=[hook])
    y, _, cache = net.forward(*whole(data))
    mask = whole(data)[2]
    value, dy = weighed(y, np.concatenate([b.targets for b in data], axis=1), mask)
    _, _, grads = net.backward(dy, cache)
    ((got, got_grads),) = seen
    assert math.isclose(got, float(value), rel_tol=1e-13)
    for name, g in grads.items():
        assert np.max(np.abs(got_grads[name] - g)) <= 1e-12  # the same terms, added in another order


def whole(data):
    return (
        np.concatenate([b.x for b in data], axis=1),
        None,
        np.concatenate([b.mask for b in data], axis=1),
    )


def test_bad_metrics():
    data, net = batches(1, lambda rng, shape: rng.integers(0, 4, shape)), model(4)

    def start(metrics, **options):
        lc.fit(net, lc.softmax_cross_entropy, data, lc.SGD(0.1), epochs=1, metrics=metrics, **options)

    with pytest.raises(ValueError, match=r"taken on validation data: pass validation="):
        start({"accuracy": train.accuracy})
    with pytest.raises(ValueError, match=r"other names than epoch, step, .*; got loss"):
        start({"loss": train.accuracy}, validation=data)
    for metrics in (train.accuracy, [train.accuracy], {"accuracy": 0.5}):
        with pytest.raises(TypeError, match=r"`metrics` should be \{name: function"):
            start(metrics, validation=data)
