"""Two implementations side by side: equal ones pass, and the first difference is found where it was made."""

import numpy as np
import pytest
from cases import LAYERS, Problem, recurrent_parts

import lstmcore as lc
from lstmcore.debug.mistakes import MISTAKES, mutant


def case(cell="lstm", mask="none", seed=1):
    problem = Problem((cell, 3, 4), 6, 3, mask, seed=seed)
    return problem, {"state": problem.state, "mask": problem.mask, "dstate": problem.dstate}


@pytest.mark.pairwise("name", "mask")
@pytest.mark.parametrize("mask", ["none", "right", "gaps"])
@pytest.mark.parametrize("name", LAYERS)
def test_engines_agree(other_engine, name, mask):
    """To 48 units in the last place: sums of at most 20 terms, five steps."""
    other_engine.skip_if_unsupported(*{part[0] for part in recurrent_parts(LAYERS[name])})
    problem = Problem(LAYERS[name], 5, 3, mask, seed=1)
    x, state, dy, dstate, where = map(
        other_engine.array, (problem.x, problem.state, problem.dy, problem.dstate, problem.mask)
    )
    layer = problem.layer().to(engine="reference", array=other_engine.library)
    found = lc.debug.compare(layer, other_engine.engine, x, dy, state=state, mask=where, dstate=dstate)
    assert found.ok, str(found)


@pytest.mark.pairwise("name", "mask")
@pytest.mark.parametrize("mask", ["none", "gaps"])
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_agrees_with_itself(engine, name, mask):
    engine.skip_if_unsupported(*{part[0] for part in recurrent_parts(LAYERS[name])})
    problem = Problem(LAYERS[name], 5, 3, mask, seed=1)
    x, state, dy, dstate, where = map(
        engine.array, (problem.x, problem.state, problem.dy, problem.dstate, problem.mask)
    )
    layer = engine.place(problem.layer())
    options = {"state": state, "mask": where, "dstate": dstate}
    found = lc.debug.compare(layer, layer, x, dy, ulps=0, **options)
    assert found.ok, str(found)
    assert all(row.ulps == 0 for row in found.table)
    seen = lc.debug.trace(layer, x, dy, **options)
    assert {row.name for row in found.table} == set(seen)
    grads = engine.host(layer.backward(dy, layer.forward(x, state, where)[2], dstate)[2])
    for weight, gradient in grads.items():
        prefix, _, last = weight.rpartition(".")
        np.testing.assert_array_equal(seen[f"{prefix}.d{last}" if prefix else f"d{last}"], gradient)


def test_the_gradients_of_the_pre_activations_are_the_engines_own(engine):
    """Read through inputs of weight one; against the bias gradient of the same engine, row by row and step by step.

    db is the sum of da over T B = 18 steps and rows of size 1: 1e-13 is 450 roundings.
    """
    engine.skip_if_unsupported("lstm")
    problem, _ = case(mask="gaps")
    x, state, dy, where = map(engine.array, (problem.x, problem.state, problem.dy, problem.mask))
    layer = engine.place(problem.layer())
    seen = lc.debug.trace(layer, x, dy, state=state, mask=where)
    assert seen["da"].shape == (6, 3, 4, 4)
    np.testing.assert_allclose(seen["da"].sum((0, 1)).ravel(), seen["db"], rtol=0, atol=1e-13)
    np.testing.assert_allclose(seen["dx"], seen["da"].reshape(6, 3, 16) @ problem.params["W_ih"].T, rtol=0, atol=1e-13)
    assert not seen["da"][~problem.mask].any()


def test_gradients_of_every_step_that_a_final_output_gives_have_a_step():
    """Last gives y (B, H), and dx (T, B, H)."""
    model = lc.Stack([lc.LSTM(2, 3, seed=0), lc.layers.Last()])
    x = np.ones((5, 4, 2), "float32")
    theirs = lc.debug.trace(model, x)
    theirs["1.dx"] = theirs["1.dx"].copy()
    theirs["1.dx"][3, 1, 2] += 1
    found = lc.debug.compare(model, theirs, x)
    assert found.first[:6] == ("backward", "1.dx", 3, 1, None, 2)
    assert len(found.curves["1.dx"]) == 5


@pytest.mark.parametrize(
    ("mistake", "name", "gate", "step"),
    [
        ("sigma' of the forget gate is missing", "da", "f", 5),
        ("sigma' where tanh' belongs (candidate)", "da", "g", 5),
        ("what came along c is dropped", "da", None, 5),
        ("the carry of dc forgets the forget gate", "da", None, 4),
        ("W_hh not transposed on the way back", "da", None, 4),
        ("h_t for h_{t-1} in dW_hh", "dW_hh", None, None),
    ],
)
def test_the_first_difference_on_the_way_back(mistake, name, gate, step):
    """A wrong slope shows at the last step, a wrong carry one step before, a wrong product in the weight alone.

    What came along c reaches the last step too: from the gradient of the final c.
    """
    problem, options = case()
    engine = mutant(next(m for m in MISTAKES if m.name == mistake))
    found = lc.debug.compare(problem.layer(), engine, problem.x, problem.dy, **options)
    assert not found.ok
    first = found.first
    assert (first.phase, first.name, first.step) == ("backward", name, step), str(found)
    assert gate in (None, first.gate)
    assert first.ulps > found.ulps
    assert first.ours != first.theirs


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_the_first_difference_on_the_way_there(cell):
    """One weight moved by a millionth: the step before which its input is zero is not to blame."""
    problem, options = case(cell)
    layer, other = problem.layer(), problem.layer()
    other.params["W_ih"][1, 2] += 1e-6  # gate 0, unit 2
    problem.x[:2, :, 1] = 0
    found = lc.debug.compare(layer, other, problem.x, problem.dy, **options)
    first = found.first
    assert (first.phase, first.name, first.step, first.unit) == ("forward", "gates", 2, 2)
    assert first.gate == layer.cell.gates[0]
    assert found.curves["gates"][:2].max() == 0
    assert "the first difference is in the forward pass: gates at step 2" in str(found)
    assert "DIFFERS" in str(found)


def test_the_backward_direction_starts_at_the_end():
    both = lc.Bidirectional(lc.LSTM(3, 4, dtype="float64", seed=1), lc.GRU(3, 4, dtype="float64", seed=2))
    other = both.to()
    other.params["bw.W_ih"][0, 5] += 1e-6  # gate z, unit 1
    x = np.random.default_rng(3).standard_normal((6, 2, 3))
    x[4:, :, 0] = 0
    first = lc.debug.compare(both, other, x).first
    assert (first.name, first.step) == ("bw.gates", 3)


def test_arrays_from_elsewhere():
    problem, options = case()
    layer = problem.layer()
    theirs = lc.debug.trace(layer, problem.x, problem.dy, **options)
    assert lc.debug.compare(layer, theirs, problem.x, problem.dy, **options).ok
    part = {"h": theirs["h"].copy(), "dW_hh": theirs["dW_hh"]}
    assert lc.debug.compare(layer, part, problem.x, problem.dy, **options).ok
    part["h"][3, 1, 2] += 1e-9
    first = lc.debug.compare(layer, part, problem.x, problem.dy, **options).first
    assert (first.name, first.step, first.row, first.unit) == ("h", 3, 1, 2)
    part["h"][3, 1, 2] = np.nan
    assert lc.debug.compare(layer, part, problem.x, problem.dy, **options).first.ulps == np.inf


def test_half_the_precision_shows():
    problem, options = case()
    layer = problem.layer()
    found = lc.debug.compare(layer, layer.to(dtype="float32").to(dtype="float64"), problem.x, problem.dy, **options)
    assert not found.ok
    assert found.first.ulps < 2.0**30  # float32's rounding, in units of float64's: 2^29


def test_what_does_not_fit_is_refused():
    problem, options = case()
    layer = problem.layer()
    with pytest.raises(ValueError, match=r"should have arrays of the layer, gates, h, c, da, .*; got 'z'"):
        lc.debug.compare(layer, {"z": np.ones(3)}, problem.x, problem.dy, **options)
    with pytest.raises(ValueError, match=r"`other\['h'\]` should have the shape \(6, 3, 4\); got \(3,\)"):
        lc.debug.compare(layer, {"h": np.ones(3)}, problem.x, problem.dy, **options)
    with pytest.raises(ValueError, match="at least one array"):
        lc.debug.compare(layer, {}, problem.x, problem.dy, **options)
    with pytest.raises(ValueError, match="`engine` should be one of"):
        lc.debug.compare(layer, "no such engine", problem.x, problem.dy, **options)


def test_picture():
    pytest.importorskip("matplotlib")
    problem, options = case()
    assert len(lc.debug.compare(problem.layer(), mutant(), problem.x, problem.dy, **options).picture().axes) == 1


def test_the_same_nan_on_both_sides_is_no_difference():
    problem, options = case()
    problem.x[2, 1, 0] = np.nan
    layer = problem.layer()
    assert lc.debug.compare(layer, layer, problem.x, problem.dy, **options).ok
