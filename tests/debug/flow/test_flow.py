"""The flow: gains known by construction, gates shut on purpose, and silence where nothing is wrong."""

import numpy as np
import pytest
from cases import LAYERS, MASKS, Problem, recurrent_parts

import lstmcore as lc


def linear_rnn(rate: float, H: int = 8):
    """A plain RNN that stays in tanh's linear part: its gradient grows by `rate` per step, W_hh being orthogonal."""
    layer = lc.RNN(2, H, dtype="float64", seed=0)
    layer.params["W_hh"] *= rate
    return layer


def small_input(T: int, B: int = 3):
    return 1e-9 * np.random.default_rng(1).standard_normal((T, B, 2))


@pytest.mark.parametrize("rate", [0.5, 1.0, 1.3])
def test_the_gain_is_the_rate(rate):
    """1 - tanh'(1e-7) is 1e-14, so gains are right to 1e-12."""
    seen = lc.debug.flow(linear_rnn(rate), small_input(12)).layers[0]
    np.testing.assert_allclose(seen.gain, rate, rtol=1e-9)
    np.testing.assert_allclose(seen.rate, rate, rtol=1e-9)
    np.testing.assert_allclose(seen.reach, rate ** np.arange(11, -1, -1.0), rtol=1e-9)


def test_explosion_is_told_with_its_rate():
    found = lc.debug.flow(linear_rnn(1.3), small_input(31))
    assert not found.ok
    assert found.findings[0] == "exploding by 1.3 per step: 3e+03 times as large at step 0"


def test_vanishing_is_told_with_its_step():
    """0.25^5 < 1/1000 < 0.25^4, so five steps before the last."""
    found = lc.debug.flow(linear_rnn(0.25), small_input(23))
    assert not found.ok
    assert "less than a thousandth is left at step 17, 5 steps away (0.25 per step)" in found.findings[0]


@pytest.mark.parametrize("T", [5, 9, 23, 200])
def test_length_alone_is_no_fault(T):
    """0.5^10 < 1/1000: after ten steps little is left, and that is told, not complained of."""
    found = lc.debug.flow(linear_rnn(0.5), small_input(T))
    assert found.ok
    calm = "nothing vanishes or explodes: gradients change by 0.50 per step"
    assert found.findings == (calm if T < 11 else f"{calm}, and a thousandth is left after 10 steps",)


@pytest.mark.parametrize("cell", [lc.LSTM, lc.GRU, lc.RNN])
@pytest.mark.parametrize("H", [8, 32, 64])
def test_fresh_layers_are_well_and_shut_ones_are_not(cell, H):
    for T in (7, 20, 60):
        x = np.random.default_rng(T).standard_normal((T, 8, 4)).astype("float32")
        fresh = cell(4, H, seed=T)
        assert not [line for line in lc.debug.flow(fresh, x).findings if "vanishing" in line]
        fresh.params["W_hh"] *= 0.1
        if cell is lc.LSTM:
            fresh.params["b"] -= 5  # shut, the forget gate too
        elif cell is lc.GRU:
            fresh.params["b"] -= 5  # z near 0: the old state goes
        assert any("vanishing" in line for line in lc.debug.flow(fresh, x).findings), T


def test_vanishing_in_the_backward_direction_runs_the_other_way():
    both = lc.Bidirectional(linear_rnn(1.0), linear_rnn(0.25))
    found = lc.debug.flow(both, small_input(23))
    assert [line for line in found.findings if line.startswith("fw")] == [
        "fw: nothing vanishes or explodes: gradients change by 1.00 per step"
    ]
    assert any(line.startswith("bw: vanishing: of a gradient at step 0 less") and "left at step 5," in line
               for line in found.findings)  # fmt: skip


def test_nothing_wrong_nothing_said():
    found = lc.debug.flow(linear_rnn(1.0), small_input(31))
    assert found.ok
    assert found.findings == ("nothing vanishes or explodes: gradients change by 1.00 per step",)


def test_padding_counts_for_nothing():
    """A padded batch shows the gains of its real steps, and no gate that stands open or shut there."""
    x = small_input(12)
    mask = lc.mask_from_lengths([7, 5, 7], 12)
    x[~mask] = np.nan
    seen = lc.debug.flow(linear_rnn(0.5), x, mask=mask).layers[0]
    np.testing.assert_allclose(seen.gain[:7], 0.5, rtol=1e-9)
    assert np.isnan(seen.gain[7:]).all()
    assert list(seen.rows) == [3, 3, 3, 3, 3, 2, 2, 0, 0, 0, 0, 0]
    assert seen.fraction("n", "low") == seen.fraction("n", "high") == 0


def lstm(**biases: float):
    layer = lc.LSTM(2, 4, dtype="float64", seed=0)
    for gate, value in biases.items():
        k = "ifgo".index(gate)
        layer.params["b"][4 * k : 4 * k + 4] = value
    return layer


@pytest.mark.parametrize(
    ("gate", "value", "said"),
    [
        ("f", -9, "forget gate closed: 100.0 % of its values are below 0.05"),
        ("i", -9, "input gate closed: 100.0 % of its values are below 0.05"),
        ("o", -9, "output gate closed: 100.0 % of its values are below 0.05"),
        ("f", 9, "forget gate open: 100.0 % of its values are above 0.95"),
        ("g", 9, "candidate saturated: 100.0 % of its values are beyond +-0.95"),
    ],
)
def test_gates_that_are_shut_or_open(gate, value, said):
    x = np.random.default_rng(2).standard_normal((9, 3, 2))
    mask = lc.mask_from_lengths([9, 4, 6], 9)
    assert said in lc.debug.flow(lstm(**{gate: value}), x, mask=mask).findings
    assert said not in lc.debug.flow(lstm(), x, mask=mask).findings


def test_one_stuck_unit():
    layer = lstm()
    layer.params["b"][4 * 3 + 2] = 30  # unit 2 of the output gate
    found = lc.debug.flow(layer, np.random.default_rng(3).standard_normal((9, 3, 2)))
    assert "output gate stuck at one end in 1 unit (2)" in found.findings
    assert list(found.layers[0].stuck["o"]) == [2]


def test_a_few_stuck_units_are_how_a_layer_remembers():
    """One of eight is shown in the table, and not complained of; two of eight are."""
    layer = lc.LSTM(2, 8, dtype="float64", seed=0)
    for units, said in ((1, False), (2, True)):
        layer.params["b"][24 : 24 + units] = -9.0  # the output gate
        found = lc.debug.flow(layer, small_input(12))
        assert len(found.layers[0].stuck["o"]) == units
        assert any("stuck" in line for line in found.worries) == said


def test_a_bias_that_is_small_beside_its_update_is_no_worry():
    """Biases start at zero, and the optimizer's step has its own size: the ratio says something of matrices alone."""
    model = lc.Stack([lc.LSTM(2, 4, seed=0), lc.Linear(4, 1, seed=0)])
    model.params["1.b"] = np.full(1, 1e-5, "float32")
    x = np.random.default_rng(0).standard_normal((12, 3, 2)).astype("float32")
    found = lc.debug.flow(model, x, optimizer=lc.Adam(1e-3))
    assert found.ok
    assert {u.name: u.ratio > 50 for u in found.updates}["1.b"]
    assert not lc.debug.flow(model, x, optimizer=lc.Adam(1.0)).ok  # that is too much for the matrices too


def test_dead_unit():
    """No output and no other unit reads unit 1: no gradient reaches its weights."""
    layer = lstm()
    layer.params["W_hh"][1, :] = 0
    rng = np.random.default_rng(4)
    x, dy = rng.standard_normal((9, 3, 2)), rng.standard_normal((9, 3, 4))
    assert list(lc.debug.flow(layer, x, dy).layers[0].dead) == []
    dy[..., 1] = 0
    found = lc.debug.flow(layer, x, dy)
    assert list(found.layers[0].dead) == [1]
    assert "dead: no gradient reaches the weights of 1 unit (1)" in found.findings


def test_updates():
    layer = lstm()
    before = {name: a.copy() for name, a in layer.params.items()}
    x, optimizer = np.random.default_rng(5).standard_normal((9, 3, 2)), lc.SGD(lr=1e-3)
    found = lc.debug.flow(layer, x, optimizer=optimizer)
    for name, value in before.items():
        assert np.array_equal(layer.params[name], value)  # the step was made on a copy
    for update in found.updates:
        assert update.update == pytest.approx(1e-3 * update.gradient, rel=1e-9)  # x - lr g rounds to 1e-16
        assert update.ratio == pytest.approx(update.update / update.weight)
    assert not any("rate" in line or "hardly" in line for line in found.findings)
    assert any("the rate is too high" in line for line in lc.debug.flow(layer, x, optimizer=lc.SGD(lr=10.0)).findings)
    assert any("hardly moves" in line for line in lc.debug.flow(layer, x, optimizer=lc.SGD(lr=1e-9)).findings)


def test_a_weight_without_gradient():
    found = lc.debug.flow(lstm(), np.zeros((5, 2, 2)))
    assert "W_ih has no gradient at all" in found.findings


def test_gradients_that_are_not_finite():
    layer = lstm()
    layer.params["W_hh"][0, 0] = np.nan
    assert (
        "gradients are not finite: ask the tripwire where it begins"
        in lc.debug.flow(layer, np.ones((5, 2, 2))).findings
    )


@pytest.mark.pairwise("name", "mask")
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_on_every_engine(engine, name, mask):
    """Shapes, and the same numbers as on the reference engine, to the 1e-12 that engines agree to."""
    engine.skip_if_unsupported(*{part[0] for part in recurrent_parts(LAYERS[name])})
    problem = Problem(LAYERS[name], 5, 3, mask, seed=6)
    x, state, dy, dstate, where = map(
        engine.array, (problem.x, problem.state, problem.dy, problem.dstate, problem.mask)
    )
    found = lc.debug.flow(engine.place(problem.layer()), x, dy, state=state, mask=where, dstate=dstate)
    same = lc.debug.flow(problem.layer().to(engine="reference"), problem.x, problem.dy, state=problem.state,
                         mask=problem.mask, dstate=problem.dstate)  # fmt: skip
    assert len(found.layers) == len(recurrent_parts(LAYERS[name]))
    for ours, theirs in zip(found.layers, same.layers, strict=True):
        assert sorted(ours.order) == list(range(5))
        np.testing.assert_allclose(ours.gain, theirs.gain, rtol=1e-11)
        for key, values in ours.dstates.items():
            np.testing.assert_allclose(values, theirs.dstates[key], rtol=1e-11, atol=1e-13)
    assert "gain" in str(found)


def test_picture():
    pytest.importorskip("matplotlib")
    figure = lc.debug.flow(lstm(), np.ones((5, 2, 2))).picture()
    assert len(figure.axes) == 2


def test_one_step_hands_nothing_on():
    found = lc.debug.flow(lstm(), np.ones((1, 2, 2)), state=tuple(np.ones((2, 4)) for _ in range(2)))
    (said,) = found.findings
    assert said.startswith("nothing is handed on: there is but one step, and nothing is learnt about time")
    assert found.ok


def test_a_batch_of_single_steps_is_asked_about():
    """(B, T, I) without a mask is taken as it is; that there is no time in it can be said."""
    x = np.random.default_rng(0).standard_normal((1, 40, 2)).astype("float32")
    said = lc.debug.flow(lc.LSTM(2, 4, seed=0), x).findings
    assert any(
        "there is but one step, and nothing is learnt about time; are batch and time swapped?" in s for s in said
    )
    assert any("W_hh has no gradient at all (one step from a state of zeros?" in line for line in said)
    alone = lc.debug.flow(lc.LSTM(2, 4, seed=0), x[:, :1]).findings
    assert not any("swapped" in line for line in alone)


def test_a_batch_of_single_steps_is_asked_about_where_more_is_wrong():
    """As in the question of the alphabet: codes near 100, forty rows of one step."""
    x = np.full((1, 40, 1), 100.0)
    said = lc.debug.flow(lc.LSTM(1, 20, dtype="float64", seed=0), x).findings
    assert any(line.startswith("candidate saturated") for line in said)
    assert any("there is but one step" in line and "are batch and time swapped?" in line for line in said)


def test_a_zero_gradient_of_many_steps_has_another_cause():
    x = np.random.default_rng(0).standard_normal((5, 4, 2)).astype("float32")
    nothing = lambda y: (0.0, np.zeros_like(y))  # noqa: E731
    said = lc.debug.flow(lc.LSTM(2, 4, seed=0), x, nothing).findings
    assert "W_hh has no gradient at all" in said
