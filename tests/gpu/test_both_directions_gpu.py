"""Both directions in one launch on a GPU: the bits of one after the other, at the widths of every kernel."""

from typing import Any

import pytest
from cases import Problem, assert_identical, run
from engines import Engine
from gpu.test_both_directions import OneByOne

from lstmcore.ops.recurrence import ENGINES

IEEE, TF32 = (Engine(name, name, "cupy") for name in ("fused-gpu", "fused-gpu-tf32"))
SHAPES = [  # T, B, I, H; 1024 units fill a GPU, so that there is one launch for each direction
    (20, 1000, 1, 24), (7, 33, 13, 37), (6, 200, 5, 64), (31, 200, 21, 256), (6, 64, 32, 512), (4, 40, 16, 1024),
]  # fmt: skip


@pytest.mark.parametrize("engine", [IEEE, TF32], ids=["fused-gpu", "fused-gpu-tf32"], indirect=True)
@pytest.mark.parametrize("mask", ["none", "gaps"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_bits_of_one_by_one(engine, shape, mask):
    T, B, I, H = shape
    problem = Problem(("bidirectional", ("lstm", I, H), ("lstm", I, H)), T, B, mask, seed=T, dtype="float32")
    alone: Any = OneByOne(ENGINES[engine.engine])
    assert_identical(run(problem, engine), run(problem, Engine("one by one", alone, "cupy")))
