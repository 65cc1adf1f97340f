"""The tripwire: planted NaN, infinities and overflows are found where they were planted, and nowhere else."""

import numpy as np
import pytest
from cases import LAYERS, MASKS, Problem, recurrent_parts

import lstmcore as lc
from lstmcore.ops.recurrence import reference


def placed(layer, engine):
    cells = {"LSTM": "lstm", "GRU": "gru", "RNN": "rnn"}
    engine.skip_if_unsupported(*{cell for name, cell in cells.items() if name in repr(layer)}, dtype="float32")
    return engine.place(layer)


def data(T=8, B=3, width=3, seed=0):
    return np.random.default_rng(seed).standard_normal((T, B, width), dtype="float32")


@pytest.mark.pairwise("name", "mask")
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("name", LAYERS)
def test_silence_where_all_is_finite(engine, name, mask):
    """Padding full of NaN included: nobody reads it."""
    engine.skip_if_unsupported(*{part[0] for part in recurrent_parts(LAYERS[name])})
    problem = Problem(LAYERS[name], 5, 3, mask, seed=1)
    problem.x[problem.padding()] = np.nan
    if problem.dy.ndim == 3:
        problem.dy[problem.padding()] = np.inf
    x, state, dy, dstate, where = map(
        engine.array, (problem.x, problem.state, problem.dy, problem.dstate, problem.mask)
    )
    found = lc.debug.tripwire(engine.place(problem.layer()), x, dy, state=state, mask=where, dstate=dstate)
    assert found.ok
    assert found.trip is None
    assert str(found) == "every number is finite, forward and backward"


@pytest.mark.parametrize(("gate", "unit"), [("i", 0), ("f", 2), ("g", 3), ("o", 1)])
@pytest.mark.parametrize("name", ["W_ih", "W_hh", "b"])
def test_a_weight(engine, name, gate, unit):
    layer = lc.LSTM(3, 4, seed=1)
    layer.params[name][..., 4 * "ifgo".index(gate) + unit].flat[0] = np.nan
    trip = lc.debug.tripwire(placed(layer, engine), engine.array(data())).trip
    assert (trip.phase, trip.what, trip.gate, trip.unit, trip.step) == ("forward", name, gate, unit, 0)
    assert np.isnan(trip.value)
    assert trip.why == "the weight itself is not finite"


def test_a_weight_of_the_gru_that_only_the_recurrent_product_feeds(engine):
    layer = lc.GRU(3, 4, seed=1)
    layer.params["W_hh"][1, 9] = np.inf
    layer.params["b_hn"][3] = 1.0
    trip = lc.debug.tripwire(placed(layer, engine), engine.array(data())).trip
    assert (trip.what, trip.gate, trip.unit) == ("W_hh", "m", 1)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_input_in_the_middle(engine, value):
    """The second layer never sees it first; the backward direction names the step of the input, not its own."""
    model = lc.Stack([lc.Bidirectional(lc.LSTM(3, 4, seed=1), lc.LSTM(3, 4, seed=2)), lc.Linear(8, 2, seed=3)])
    x = data()
    x[5, 2, 1] = value
    trip = lc.debug.tripwire(placed(model, engine), engine.array(x)).trip
    assert (trip.phase, trip.layer, trip.what, trip.step, trip.row, trip.unit) == ("forward", "0.fw", "x", 5, 2, 1)
    assert trip.why == "the input is not finite"


def overflowing(T=8):
    """A finite input and a finite weight whose product float32 does not hold, into gate f, unit 1, at step 5, row 2."""
    layer = lc.LSTM(3, 4, seed=1)
    layer.params["W_ih"][:, 4 + 1] = [0, 1e20, 0]
    x = data(T)
    x[..., 1] = 0
    x[5, 2, 1] = -1e20
    return layer, x


def test_an_overflow_behind_a_finite_gate(engine):
    """sigmoid(-infinity) = 0: no NaN anywhere, and yet a number was lost."""
    layer, x = overflowing()
    trip = lc.debug.tripwire(placed(layer, engine), engine.array(x)).trip
    assert (trip.phase, trip.what, trip.step, trip.row, trip.gate, trip.unit) == ("forward", "a", 5, 2, "f", 1)
    assert trip.value == -np.inf
    assert trip.operands["x_t W_ih, f"] == -np.inf
    assert trip.operands["max |x_t|"] == pytest.approx(1e20)
    assert "the products overflow float32" in trip.why


def test_the_backward_direction_names_the_step_of_the_input(engine):
    layer, x = overflowing()
    fine = lc.LSTM(3, 4, seed=4)
    trip = lc.debug.tripwire(placed(lc.Bidirectional(fine, layer), engine), engine.array(x)).trip
    assert (trip.layer, trip.direction, trip.step, trip.row) == ("bw", "backward in time", 5, 2)


def test_large_but_finite_is_no_alarm(engine):
    layer, x = overflowing()
    assert lc.debug.tripwire(placed(layer, engine), engine.array(x * np.float32(1e-3))).ok


def test_an_initial_state(engine):
    state = tuple(np.zeros((3, 4), "float32") for _ in range(2))
    state[1][2, 3] = np.nan
    trip = lc.debug.tripwire(
        placed(lc.LSTM(3, 4, seed=1), engine), engine.array(data()), state=engine.array(state)
    ).trip
    assert (trip.what, trip.row, trip.unit) == ("c0", 2, 3)


@pytest.mark.parametrize("name", ["lstm", "bidirectional"])
def test_an_upstream_gradient(engine, name):
    problem = Problem(LAYERS[name], 5, 3, "none", seed=1)
    problem.dy[3, 1, 0] = np.inf
    x, dy = map(engine.array, (problem.x, problem.dy))
    engine.skip_if_unsupported("lstm")
    trip = lc.debug.tripwire(engine.place(problem.layer()), x, dy).trip
    assert (trip.phase, trip.what, trip.step, trip.row, trip.unit) == ("backward", "dy", 3, 1, 0)


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_gradients_that_explode_on_the_way_back(engine, cell):
    """W_hh so large that dh grows by 1e10 per step: over 3e38 before the first step, while the forward pass is fine."""
    layer = {"lstm": lc.LSTM, "gru": lc.GRU, "rnn": lc.RNN}[cell](3, 4, seed=1)
    layer.params["W_hh"][...] *= 1e10
    layer.params["W_ih"][...] *= 0
    if cell == "lstm":
        layer.params["b"][...] = 0
    x, dy = data(), data(width=4, seed=1)
    trip = lc.debug.tripwire(placed(layer, engine), engine.array(x), engine.array(dy)).trip
    assert (trip.phase, trip.layer) == ("backward", "")
    assert trip.step is not None
    assert 1 <= trip.step <= 6
    assert not np.isfinite(trip.value)
    assert {"arriving through h", "h_prev"} <= trip.operands.keys()


def test_a_loss():
    layer = lc.LSTM(3, 4, seed=1)
    trip = lc.debug.tripwire(layer, data(), lambda y: (np.float32(np.nan), np.ones_like(y))).trip
    assert (trip.phase, trip.what) == ("loss", "loss")
    assert np.isnan(trip.value)


class Broken:
    """An engine that loses one number of the cell state, which the reference would not."""

    NAME = "broken"
    supports, predict, backward = map(staticmethod, (reference.supports, reference.predict, reference.backward))

    def forward(self, *args):
        cache = reference.forward(*args)
        cache.states[1][1 + 4, 2, 3] = np.nan
        return cache._replace(engine=self.NAME)


def test_an_engine_that_is_wrong_where_the_reference_is_not():
    trip = lc.debug.tripwire(lc.LSTM(3, 4, seed=1, engine=Broken()), data()).trip
    assert (trip.what, trip.step, trip.row, trip.unit) == ("c", 4, 2, 3)
    assert "the engine 'broken' is wrong here" in trip.why
    assert np.isfinite([trip.operands[name] for name in ("i", "f", "g", "c_prev")]).all()


def test_rounding_up_to_infinity_is_no_fault_of_an_engine():
    """From 2^128 - 2^119 on bfloat16 has no number; opposite infinities meet in a sum that is 0 in float32."""
    layer = lc.LSTM(2, 3, seed=1, engine="fused-cpu-bf16")
    layer.params["W_ih"] = np.full((2, 12), 2.0**-20, "float32") * np.float32([[1], [-1]])
    for largest, ok in ((2.0**128 - 2.0**119 - 2.0**104, True), (2.0**128 - 2.0**119, False)):
        found = lc.debug.tripwire(layer, np.full((1, 1, 2), largest, "float32"))
        assert found.ok == ok
    assert "'fused-cpu-bf16' rounds what it multiplies, up to infinity here" in found.trip.why
    assert lc.debug.tripwire(layer.to(engine="fused-cpu"), np.full((1, 1, 2), largest, "float32")).ok


def test_a_head_that_overflows(engine):
    model = lc.Stack([lc.LSTM(3, 4, seed=1), lc.Linear(4, 2, seed=2)])
    model.params["1.W"][...] = 3e38
    trip = lc.debug.tripwire(placed(model, engine), engine.array(data(B=64))).trip
    assert (trip.layer, trip.direction) == ("1", None)


def test_text_and_picture():
    pytest.importorskip("matplotlib")
    layer = lc.LSTM(3, 4, seed=1)
    layer.params["W_hh"][0, 5] = np.nan
    found = lc.debug.tripwire(layer, data())
    assert str(found).startswith(
        "W_hh is NaN first in the forward pass, forward in time, step 0, row 0, gate f, unit 1"
    )
    assert len(found.picture().axes) == 1
    assert found.finite[""].shape == (8, 3)
    assert not found.finite[""].any()
