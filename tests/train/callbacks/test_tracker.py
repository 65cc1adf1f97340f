"""The numbers of a run, handed on to what keeps them."""

import struct

import numpy as np
import pytest

import lstmcore as lc

RNG = np.random.default_rng(0)
BATCHES = [tuple(RNG.standard_normal((4, 2, width), dtype="float32") for width in (3, 5)) for _ in range(3)]


def trained(tracker, **options):
    model = lc.LSTM(3, 5, seed=0, engine="reference")
    return lc.fit(model, lc.squared_error, BATCHES, lc.SGD(0.1), epochs=2, callbacks=[tracker], rng=0, **options)


def test_of_several_ranks_the_first_hands_on():
    assert lc.train.Tracker(print).writes


def test_every_epoch_and_every_so_many_updates():
    seen = []
    tracker = lc.train.Tracker(lambda metrics, step: seen.append((step, metrics)), every=2)
    metrics = {"error": lc.train.mean_absolute_error}
    history = trained(tracker, validation=BATCHES, clip=1.0, metrics=metrics)
    assert [(step, set(row)) for step, row in seen] == [
        (2, {"batch/loss", "batch/lr", "batch/norm"}),
        (3, {"epoch", "loss", "validation", "error", "lr", "seconds"}),
        (4, {"batch/loss", "batch/lr", "batch/norm"}),
        (6, {"batch/loss", "batch/lr", "batch/norm"}),
        (6, {"epoch", "loss", "validation", "error", "lr", "seconds"}),
    ]
    rows = [row for _, row in seen if "epoch" in row]
    assert [{**row, "step": step} for row, step in zip(rows, (3, 6))] == history["epochs"]
    assert all(type(value) is float for _, row in seen for value in row.values())


def test_trouble_is_told_once_and_ends_nothing():
    said = []

    def log(metrics, step):
        raise ConnectionError("no route to host")

    history = trained(lc.train.Tracker(log, tell=said.append))
    assert said == ["the tracker: no route to host; the training goes on, it may not"]
    assert history["ended"] == "all 2 epochs done"


def test_what_is_no_tracker():
    with pytest.raises(TypeError, match=r"`log` should be a function \(metrics, step=...\), such as wandb's run.log"):
        lc.train.Tracker("wandb")
    with pytest.raises(ValueError, match=r"`every` should be a positive number of updates, or None; got 0"):
        lc.train.Tracker(print, every=0)


def test_tensorboard_reads_the_numbers_back(tmp_path):
    """Written by a real SummaryWriter; read from its file: length, checksum, record, checksum (TFRecord)."""
    tensorboardX = pytest.importorskip("tensorboardX")
    from tensorboardX.proto.event_pb2 import Event

    with tensorboardX.SummaryWriter(str(tmp_path)) as writer:
        history = trained(lc.train.Tracker(writer))
    (path,) = tmp_path.iterdir()
    data, found = path.read_bytes(), {}
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        event = Event.FromString(data[12 : 12 + length])
        found |= {(value.tag, event.step): value.simple_value for value in event.summary.value}
        data = data[16 + length :]
    for row in history["epochs"]:
        for name in ("loss", "lr"):
            assert found[name, row["step"]] == np.float32(row[name])
