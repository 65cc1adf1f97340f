"""Real-time recurrent learning equals backpropagation through time, and tells a wrong one.

1e-12 of the largest entry of each array: sums of some 100 terms of size 1 on both sides.
"""

import numpy as np
import pytest
from cases import CELLS, MASKS, SHAPES, Problem, flatten, relative_error, run, worst_relative_error

import lstmcore as lc
from lstmcore.debug.derivatives.rtrl import rtrl
from lstmcore.debug.mistakes import ENGINE, MISTAKES, mutant


def learned(problem):
    dstate0, grads = rtrl(problem.layer(), problem.x, problem.dy, problem.state, problem.mask, problem.dstate)
    return flatten({"dstate0": dstate0, "grads": grads})


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("cell", CELLS)
def test_equals_backpropagation_through_time(engine, cell, mask):
    engine.skip_if_unsupported(cell)
    problem = Problem((cell, 3, 4), 6, 3, mask, seed=1)
    got = learned(problem)
    want = {name: value for name, value in run(problem, engine).items() if name in got}
    worst, where = worst_relative_error(got, want)
    assert worst <= 1e-12, f"{where}: {worst:.3g}"
    assert np.abs(got["dstate0.0"]).max() > 1e-2


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("cell", CELLS)
def test_at_every_shape(reference, cell, shape):
    T, B, I, H = shape
    problem = Problem((cell, I, H), T, B, "none", seed=2)
    got = learned(problem)
    want = {name: value for name, value in run(problem, reference).items() if name in got}
    assert worst_relative_error(got, want)[0] <= 1e-12


def test_the_engine_of_the_layer_does_not_matter():
    """Even one that has no float64."""
    problem = Problem(("lstm", 3, 4), 5, 2, dtype="float32")
    layers = [problem.layer().to(engine=engine) for engine in ("reference", "fused-cpu-bf16")]
    plain, coarse = (flatten(rtrl(layer, problem.x, problem.dy)) for layer in layers)
    assert all(map(np.array_equal, plain.values(), coarse.values()))


def test_padding_full_of_nan_changes_nothing():
    problem = Problem(("lstm", 3, 4), 6, 3, "gaps", seed=3)
    want = learned(problem)
    problem.x[~problem.mask] = np.nan
    problem.dy[~problem.mask] = np.nan
    got = learned(problem)
    for name in want:
        np.testing.assert_array_equal(got[name], want[name])


def test_every_mistake_in_a_backward_shows():
    """Against each mutant of the engine: they part as far as the mutant is from the right gradient."""
    problems = {cell: Problem((cell, 4, 4), 8, 3, "gaps", seed=4) for cell in CELLS}
    witnesses = {cell: weights_of(learned(problem)) for cell, problem in problems.items()}
    right = {cell: backward(problem.layer(), problem) for cell, problem in problems.items()}
    shown = 0
    for mistake in [m for m in MISTAKES if m.module in ENGINE]:
        for cell in [mistake.cell] if mistake.cell else CELLS:
            wrong = backward(problems[cell].layer().to(engine=mutant(mistake)), problems[cell])
            moved = max(relative_error(wrong[name], right[cell][name]) for name in wrong)
            told = max(relative_error(wrong[name], witnesses[cell][name]) for name in wrong)
            assert told == pytest.approx(moved, rel=1e-3, abs=1e-11)  # right and RTRL differ by 1e-12
            shown += told > 1e-9
    assert shown > 20


def weights_of(results):
    return {name.removeprefix("grads."): value for name, value in results.items() if name.startswith("grads.")}


def backward(layer, problem):
    _, _, cache = layer.forward(problem.x, problem.state, problem.mask)
    return layer.backward(problem.dy, cache, problem.dstate)[2]


def test_what_does_not_fit_is_refused():
    x, dy = np.zeros((5, 2, 3), "float32"), np.zeros((5, 2, 4), "float32")
    with pytest.raises(TypeError, match=r"should be an LSTM, GRU or RNN that returns sequences; got Stack"):
        rtrl(lc.Stack([lc.LSTM(3, 4)]), x, dy)
    with pytest.raises(TypeError, match="return_sequences=False"):
        rtrl(lc.LSTM(3, 4, return_sequences=False), x, dy)
    with pytest.raises(ValueError, match=r"`x` should be .* = \(2, 5\)|I = 5"):
        rtrl(lc.LSTM(5, 4), x, dy)
    with pytest.raises(ValueError, match=r"`dy` should be \(T, B, H\) = \(5, 2, 4\); got \(5, 2, 3\)"):
        rtrl(lc.LSTM(3, 4), x, x)
