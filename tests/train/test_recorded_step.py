"""Recorded training steps on a GPU: the bits of the steps by hand. Without one: tests/gpu/test_recorded.py."""

import importlib

import pytest
from engines import Engine
from gpu.test_recorded import assert_twenty_steps, counting, reading

import lstmcore as lc

FUSED = Engine("fused-gpu", "fused-gpu", "cupy")
on_a_gpu = pytest.mark.parametrize("engine", [FUSED], ids=["fused-gpu"], indirect=True)


@on_a_gpu
@pytest.mark.parametrize("clip", [None, 0.5])
def test_counting(engine, clip):
    cupy = importlib.import_module(engine.library)
    assert_twenty_steps(cupy, counting, lc.softmax_cross_entropy, lambda: lc.AdamW(weight_decay=0.1), clip)


@on_a_gpu
@pytest.mark.parametrize("mask", [False, True])
def test_reading(engine, mask):
    cupy = importlib.import_module(engine.library)
    kind = {"letters": True, "per_step": True, "mask": mask}
    assert_twenty_steps(cupy, reading, lc.softmax_cross_entropy, lc.Adam, 1.0, **kind)


@on_a_gpu
def test_a_loss_that_looks_cannot_be_recorded(engine):
    """What CuPy says on a real recording; and the model trains on by hand."""
    cupy = importlib.import_module(engine.library)

    def loss(y, targets, mask):
        value, dy = lc.softmax_cross_entropy(y, targets, mask)
        assert float(value) > 0
        return value, dy

    model = lc.to_gpu(counting())
    x, targets = cupy.zeros((6, 5, 1), "float32"), cupy.zeros(5, "int64")
    before = {name: w.get() for name, w in model.params.items()}
    with pytest.raises(RuntimeError, match="this step cannot be recorded, and nothing was changed"):
        lc.RecordedStep(model, loss, lc.Adam(0.1), rng=0)(x, targets)
    assert all((model.params[name].get() == w).all() for name, w in before.items())
    assert float(lc.RecordedStep(model, lc.softmax_cross_entropy, lc.Adam(0.1), rng=0)(x, targets)) > 0
