"""LSTM, GRU and RNN as layers: what return_sequences=False means under any mask, states, configuration."""

import copy
import pickle

import numpy as np
import pytest
from cases import CELLS, FUNCTIONS, MASKS, Problem, assert_identical, build, run
from hypothesis import assume, given
from hypothesis import strategies as st

import lstmcore as lc
from lstmcore.layers import from_config


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
