"""How long a model remembers, told in words: planted memories, and their tables."""

import numpy as np
import pytest
from cases import LAYERS, Problem

import lstmcore as lc
from lstmcore.debug import lyapunov_exponents, memory, memory_horizon, singular_values


def rotating(shrink, H=5):
    """A plain RNN at rest whose recurrent matrix is `shrink` times a rotation: |J| = shrink in every direction."""
    layer = lc.RNN(3, H, dtype="float64", seed=0)
    layer.params["W_hh"] *= shrink
    return layer


X = np.zeros((12, 2, 3))


def test_forgetting_remembering_and_growing_are_told():
    assert memory(rotating(0.5), X).findings == ("the layer: forgets: less than 1% of the state is left after 7 steps",)
    assert memory(rotating(1.0), X).findings == (
        "the layer: remembers: after 12 steps more than 1% is left in every row",
    )
    grows = memory(rotating(1.3), X).findings[0]
    assert (
        grows == "the layer: grows: a small change of the state is up to 23.3 times as large 12 steps later"
    )  # 1.3^12


def test_rows_that_differ():
    mask = lc.mask_from_lengths([12, 3], 12)
    found = memory(rotating(0.5), X, mask=mask).findings
    assert found == ("the layer: forgets: less than 1% of the state is left in 1 of 2 rows after 7 steps",)


def test_start_and_fraction():
    found = memory(rotating(0.5), X, start=8, fraction=0.2).findings
    assert found == ("the layer: forgets: less than 20% of the state is left after 3 steps",)
    with pytest.raises(ValueError, match="0 <= start <= T = 12; got 13"):
        memory(rotating(0.5), X, start=13)


@pytest.mark.parametrize("name", LAYERS)
def test_every_recurrent_layer_of_a_model_is_looked_at(name):
    """With the numbers that jacobian.py gives for the first one by itself."""
    problem = Problem(LAYERS[name], 4, 2, "right", seed=1)
    layer = problem.layer()
    seen = memory(layer, problem.x, state=problem.state, mask=problem.mask)
    names = {key.rpartition(".")[0] for key in layer.params if key.rpartition(".")[2] == "W_hh"}
    assert {part.name for part in seen.layers} == names
    assert all(part.singular.shape[:2] == (5, 2) for part in seen.layers)
    for part in seen.layers:
        assert part.direction == ("backward in time" if "bw" in part.name else "forward in time")
        assert f"{part.name or 'the layer'}, {part.direction}; Lyapunov exponents" in str(seen)


def test_the_numbers_are_those_of_the_jacobians():
    problem = Problem(("lstm", 3, 4), 6, 3, "gaps", seed=2)
    layer = problem.layer()
    (part,) = memory(layer, problem.x, state=problem.state, mask=problem.mask).layers
    _, _, cache = layer.forward(problem.x, problem.state, problem.mask)
    np.testing.assert_array_equal(part.singular, singular_values(layer, cache))
    np.testing.assert_array_equal(part.horizon, memory_horizon(layer, cache))
    np.testing.assert_array_equal(part.exponents, lyapunov_exponents(layer, cache))


def test_no_step_at_all():
    seen = memory(lc.LSTM(3, 4, dtype="float64", seed=0), X, mask=np.zeros((12, 2), bool))
    assert "remembers" in seen.findings[0]  # the state is carried through
    assert "Lyapunov exponents none: no real step" in str(seen)


def test_picture():
    pytest.importorskip("matplotlib")
    problem = Problem(LAYERS["towers"], 4, 2, "none", seed=3)
    figure = memory(problem.layer(), problem.x).picture()
    assert figure.axes[0].get_title() == "fw.0, forward in time"
    assert len(figure.axes) == 4
    assert all(len(axis.lines) > 2 for axis in figure.axes)
