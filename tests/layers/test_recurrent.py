"""LSTM, GRU and RNN as layers: what return_sequences=False means under any mask, states, configuration."""

import copy
import pickle

import numpy as np
import pytest
from cases import CELLS, FUNCTIONS, MASKS, Problem, assert_identical, build, run
from hypothesis import assume, given
from hypothesis import strategies as st

import lstmcore as lc
from lstmcore.layers import from_config, tree


@given(T=st.integers(1, 5), B=st.integers(1, 4), cell=st.sampled_from(CELLS), data=st.data())
def test_the_final_state_is_each_rows_last_real_step(engine, T, B, cell, data):
    """Bit for bit the output at that step; a row without one gives its initial state."""
    assume(engine.supports(cell))
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=T * B, max_size=T * B))).reshape(T, B)
    whole, last = Problem((cell, 2, 3), T, B, mask, seed=1), Problem((cell, 2, 3, "last"), T, B, mask, seed=1)
    y, final = run(whole, engine)["y"], run(last, engine)["y"]
    assert final.shape == (B, 3)
    for b in range(B):
        steps = np.flatnonzero(mask[:, b])
        assert np.array_equal(final[b], y[steps[-1], b] if len(steps) else whole.state[0][b])


@given(T=st.integers(1, 5), B=st.integers(1, 4), cell=st.sampled_from(CELLS), data=st.data())
def test_the_backward_directions_final_state_is_at_the_first_real_step(engine, T, B, cell, data):
    """What people mean by the last output of a bidirectional layer: both directions have read the whole row."""
    assume(engine.supports(cell))
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=T * B, max_size=T * B))).reshape(T, B)
    one, last = (cell, 2, 3), (cell, 2, 3, "last")
    whole, final = (Problem(("bidirectional", fw, bw), T, B, mask, seed=2) for fw, bw in ((one, one), (last, last)))
    y, ends = run(whole, engine)["y"], run(final, engine)["y"]
    assert ends.shape == (B, 6)
    for b in range(B):
        steps = np.flatnonzero(mask[:, b])
        if len(steps):
            assert np.array_equal(ends[b, :3], y[steps[-1], b, :3])
            assert np.array_equal(ends[b, 3:], y[steps[0], b, 3:])
        else:
            assert np.array_equal(ends[b], np.append(whole.state[0][0][b], whole.state[1][0][b]))


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("cell", CELLS)
def test_dy_of_the_final_state_is_a_gradient_of_the_state(engine, cell, mask):
    """y is the final h, so that dy adds to dstate's h."""
    engine.skip_if_unsupported(cell)
    problem = Problem((cell, 2, 3, "last"), 4, 3, mask, seed=3)
    want = run(problem, engine)
    problem.dstate = (problem.dstate[0] + problem.dy, *problem.dstate[1:])
    problem.dy = np.zeros_like(problem.dy)
    assert_identical(run(problem, engine), want)


@pytest.mark.parametrize("cell", CELLS)
def test_the_returned_state_is_the_callers_own(cell):
    """Writing into it, or into the state given, changes nothing else."""
    problem = Problem((cell, 2, 3), 3, 2)
    layer = problem.layer()
    y, last, cache = layer.forward(problem.x, problem.state)
    kept = y.copy()
    for s in last:
        s[...] = 99.0
    assert np.array_equal(y, kept)
    dx, _, _ = layer.backward(problem.dy, cache)
    problem.state[0][...] = 99.0
    again, _, _ = layer.backward(problem.dy, cache)
    assert np.array_equal(dx, again)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_configuration(cell, last):
    layer = FUNCTIONS[cell](2, 3, dtype="float64", seed=0, return_sequences=not last)
    twin = from_config(layer.config())
    assert twin.config() == layer.config()
    assert repr(twin) == repr(layer)
    assert cell.upper() in repr(layer)
    for name, value in layer.params.items():
        twin.params[name] = value
    x = np.ones((3, 2, 2))
    assert np.array_equal(twin.predict(x)[0], layer.predict(x)[0])


@pytest.mark.parametrize("cell", CELLS)
def test_rng_is_not_used(cell):
    """A recurrent layer draws nothing: training and evaluation are the same."""
    problem, rng = Problem((cell, 2, 3), 3, 2), np.random.default_rng(0)
    y, _, _ = problem.layer().forward(problem.x, rng=rng)
    assert np.array_equal(y, problem.layer().forward(problem.x)[0])
    assert rng.random() == np.random.default_rng(0).random()


def test_defaults():
    """float32, all outputs, the best engine, a zero state, a fresh seed."""
    layer = lc.LSTM(2, 3)
    y, (h, c), cache = layer.forward(np.ones((4, 2, 2), "float32"))
    assert y.shape == (4, 2, 3)
    assert h.shape == c.shape == (2, 3)
    assert y.dtype == h.dtype == c.dtype == np.float32
    assert not cache.states[0][0].any()
    assert np.array_equal(h, y[-1])


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
@pytest.mark.parametrize("function", FUNCTIONS.values())
def test_a_copy_computes_the_same_on_the_same_engine(function, copied):
    layer, x = function(2, 3, seed=0), np.ones((4, 2, 2), "float32")
    y, _, cache = layer.forward(x)
    again, _, other = copied(layer).forward(x)
    assert np.array_equal(again, y)
    assert other.engine == cache.engine != "reference"


def test_a_dtype_in_the_other_byte_order_is_that_of_this_machine():
    layer = lc.LSTM(2, 3, dtype=np.dtype("float32").newbyteorder())
    assert layer.params["W_ih"].dtype.isnative
    x = np.ones((4, 2, 2), "float32")
    assert layer.predict(x)[0].dtype == np.float32
    with pytest.raises(TypeError, match="byte order of this machine; got the other"):
        layer.predict(x.astype(x.dtype.newbyteorder()))


def test_specs_of_the_suite_build():
    """cases.build makes what it says."""
    model = build(("stack", ("bidirectional", ("lstm", 3, 2), ("gru", 3, 2)), ("rnn", 4, 3, "last"), ("tanh",)))
    assert repr(model) == "Stack([Bidirectional(LSTM(3, 2), GRU(3, 2)), RNN(4, 3, return_sequences=False), Tanh()])"


ENCODERS = {
    "LSTM": lambda: lc.LSTM(3, 4, dtype="float64", seed=1),
    "GRU": lambda: lc.GRU(3, 4, dtype="float64", seed=1),
    "last": lambda: lc.LSTM(3, 4, dtype="float64", seed=1, return_sequences=False),
    "two layers": lambda: lc.Stack([lc.LSTM(3, 4, dtype="float64", seed=1), lc.LSTM(4, 4, dtype="float64", seed=2)]),
    "both directions": lambda: lc.Bidirectional(
        lc.LSTM(3, 4, dtype="float64", seed=1), lc.LSTM(3, 4, dtype="float64", seed=2)
    ),
    "with a head": lambda: lc.Stack(
        [lc.LSTM(3, 4, dtype="float64", seed=1), lc.Dropout(0.5), lc.Tanh(), lc.Linear(4, 2, dtype="float64", seed=3)]
    ),
}


@pytest.mark.parametrize("engine", ["reference", "fused-cpu"])
@pytest.mark.parametrize("name", ENCODERS)
def test_no_gradient_from_the_outputs_is_a_gradient_of_zero(name, engine):
    """An encoder is used through its final state alone: dy None, to the bit what dy full of zeros gives."""
    layer = ENCODERS[name]().to(engine=engine)
    x = np.random.default_rng(3).standard_normal((5, 2, 3))
    y, state, cache = layer.forward(x, mask=lc.mask_from_lengths([5, 2], 5))

    def ones(part):
        return None if part is None else tuple(map(ones, part)) if isinstance(part, tuple) else np.ones_like(part)

    got_dx, got_dstate, got = layer.backward(None, cache, ones(state))
    dx, dstate, grads = layer.backward(np.zeros_like(y), cache, ones(state))
    np.testing.assert_array_equal(got_dx, dx)
    assert got.keys() == grads.keys()
    for key in grads:
        np.testing.assert_array_equal(got[key], grads[key], err_msg=key)
    assert any(np.any(g) for g in got.values())
    for part, want in zip(tree.by_leaf(layer, got_dstate), tree.by_leaf(layer, dstate), strict=True):
        np.testing.assert_array_equal(part or 0, want or 0)
