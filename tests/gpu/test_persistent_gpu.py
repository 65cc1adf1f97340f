"""The persistent kernels on a GPU, at the widths that they are for: the numbers, and the same bits at every repeat."""

import numpy as np
import pytest
from cases import assert_identical, run
from engines import Engine
from gpu.steps import check, problem_of

IEEE, TF32 = (Engine(name, name, "cupy") for name in ("fused-gpu", "fused-gpu-tf32"))
both = pytest.mark.parametrize("engine", [IEEE, TF32], ids=["fused-gpu", "fused-gpu-tf32"], indirect=True)

# One width of each kind of block at the least, ragged ones too: (T, B, I, H)
SHAPES = [
    (7, 5, 3, 49), (20, 64, 9, 64), (9, 33, 5, 100), (31, 200, 21, 256), (5, 600, 4, 200),
    (6, 17, 8, 257), (12, 64, 32, 512), (4, 300, 16, 400), (5, 9, 8, 520), (8, 16, 24, 768), (4, 70, 16, 1024),
]  # fmt: skip


def precision(engine: Engine) -> str:
    return "tf32" if engine.engine.endswith("tf32") else "ieee"


@both
@pytest.mark.parametrize("mask", ["none", "gaps"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_truth(engine, shape, mask):
    check(problem_of(*shape, mask), engine, precision(engine))


@both
@pytest.mark.parametrize("shape", SHAPES[::2], ids=str)
def test_repeats_are_the_same_bits(engine, shape, nightly):
    """Nothing is summed in the order in which it happens to arrive."""
    problem = problem_of(*shape, "gaps")
    first = run(problem, engine)
    for _ in range(1000 if nightly else 50):
        assert_identical(run(problem, engine), first)


@both
def test_the_persistent_kernels_ran(engine):
    problem = problem_of(*SHAPES[0], "none")
    _, _, cache = engine.place(problem.layer()).forward(engine.array(problem.x))
    assert cache.private == f"persistent-{precision(engine)}"


@both
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_ends_in_its_row(engine, value):
    """The run ends, and the other rows keep their bits."""
    problem = problem_of(*SHAPES[5], "none")
    layer, x, state = engine.place(problem.layer()), problem.x.copy(), tuple(s.copy() for s in problem.state)
    whole, _, _ = layer.forward(engine.array(x), engine.array(state))
    x[1, 3, 0] = state[0][4, 2] = value
    y, _, _ = layer.forward(engine.array(x), engine.array(state))
    others = [b for b in range(x.shape[1]) if b not in (3, 4)]
    assert np.array_equal(engine.host(y)[:, others], engine.host(whole)[:, others])
    assert np.isnan(engine.host(y)[:, [3, 4]]).any() == np.isnan(value)
