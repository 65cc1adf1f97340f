"""Wrong numbers are found, and rounding is not taken for one."""

import numpy as np
import pytest

from benchmarks import problem, shapes
from benchmarks.peers import solve
from benchmarks.peers.lstmcore import Peer
from benchmarks.truth import Wrong, truth

SHAPE = shapes.Shape(6, 5, 3, 8, (2, 6))


@pytest.fixture(scope="module", params=["float32", "float64"])
def task(request) -> problem.Problem:
    return problem.make(SHAPE, request.param)


@pytest.mark.parametrize("mode", problem.MODES)
def test_the_reference_is_right(task, mode):
    """In float32 it is its own yardstick: within a quarter. In float64 it is the truth itself."""
    worst = truth(task, mode, 1).check(solve(Peer(1, "reference"), task, mode))
    assert worst <= 0.25 if task.dy.dtype == np.float32 else worst == 0


@pytest.mark.parametrize("mode", problem.MODES)
def test_one_wrong_entry_is_found_in_every_array(task, mode):
    """An entry moved by 1e-4 of the array's largest: 100 times float32's rounding here, and 1e11 times float64's."""
    right = truth(task, mode, 1)
    results = solve(Peer(1, "reference"), task, mode)
    assert len(results) >= 3
    for name in results:
        bad = {k: v.copy() for k, v in results.items()}
        bad[name].flat[-1] += 1e-4 * np.max(np.abs(bad[name]))
        with pytest.raises(Wrong, match=rf"^{name} is off by \S+, \S+ times what rounding explains"):
            right.check(bad)


def test_nan_and_other_shapes_are_found(task):
    right = truth(task, "full", 1)
    results = solve(Peer(1, "reference"), task, "full")
    with pytest.raises(Wrong, match="y is off by nan"):
        right.check(results | {"y": np.full_like(results["y"], np.nan)})
    with pytest.raises(Wrong, match=r"dW_hh has the shape \(32, 8\), not \(8, 32\)"):
        right.check(results | {"dW_hh": results["dW_hh"].T})
    with pytest.raises(Wrong, match="gave"):
        right.check({name: value for name, value in results.items() if name != "dx"})


@pytest.mark.parametrize(
    "change", [{"clip": None}, {"clip": 0.0505}, {"eps": 1.01e-3}, {"beta1": 0.89}, {"lr": 1.01e-2}], ids=str
)
@pytest.mark.parametrize("name", ["count8", "stream"])
def test_another_update_is_found(name, change):
    """Three training steps with a recipe that is off by a hundredth."""
    task = problem.make(shapes.SHAPES[name])
    trainer = Peer(1, "reference").trainer(task, problem.CHECKED._replace(**change))
    for _ in range(problem.UPDATES):
        trainer.update(trainer.place(task.batch))
    with pytest.raises(Wrong):
        truth(task, "train", 1).check(trainer.weights())


def test_what_is_zero_for_everybody():
    """One step from a zero state: dW_hh is exactly zero, and nothing else will do."""
    task = problem.make(shapes.Shape(1, 5, 3, 8))
    right, results = truth(task, "full", 1), solve(Peer(1, "reference"), task, "full")
    assert not results["dW_hh"].any()
    assert right.check(results) <= 0.25
    results["dW_hh"][0, 0] = 1e-30
    with pytest.raises(Wrong, match="dW_hh is off by 1e-30, inf times"):
        right.check(results)
