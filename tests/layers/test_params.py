"""The live mapping of parameters: arrays never change identity, and containers hold the very arrays of their parts."""

import numpy as np
import pytest

import lstmcore as lc


def test_reading_gives_the_layers_own_array():
    layer = lc.LSTM(2, 3, dtype="float64", seed=0)
    x = np.ones((2, 1, 2))
    before, _ = layer.predict(x)
    layer.params["b"][...] += 1.0
    after, _ = layer.predict(x)
    assert (before != after).all()


def test_assigning_copies_into_the_array():
    layer = lc.LSTM(2, 3, dtype="float64", seed=0)
    own, given = layer.params["b"], np.arange(12.0)
    layer.params["b"] = given
    given[:] = 0.0
    assert layer.params["b"] is own
    assert own.tolist() == list(range(12))


def test_refused_values_leave_the_array_alone():
    layer = lc.LSTM(2, 3, dtype="float64", seed=0)
    before = layer.params["b"].copy()
    for wrong in (np.ones(11), np.ones(12, "float32"), [1.0] * 12, 1.0):
        with pytest.raises((TypeError, ValueError), match="`b` should be"):
            layer.params["b"] = wrong
    assert np.array_equal(layer.params["b"], before)


def test_containers_share_the_arrays_of_their_parts():
    fw, bw, head = lc.LSTM(2, 3, seed=0), lc.GRU(2, 3, seed=1), lc.Linear(6, 2, seed=2)
    model = lc.Stack([lc.Bidirectional(fw, bw), lc.Dropout(0.5), head])
    assert list(model.params) == [
        *(f"0.fw.{name}" for name in ("W_ih", "W_hh", "b")),
        *(f"0.bw.{name}" for name in ("W_ih", "W_hh", "b", "b_hn")),
        "2.W",
        "2.b",
    ]
    assert len(model.params) == 9
    assert model.params["0.fw.W_ih"] is fw.params["W_ih"]
    assert model.params["0.bw.b_hn"] is bw.params["b_hn"]
    model.params["2.b"] = np.array([5.0, 6.0], "float32")
    assert head.params["b"].tolist() == [5.0, 6.0]
    assert "2.b" in repr(model.params)


def test_a_twin_has_its_own():
    layer = lc.Stack([lc.LSTM(2, 3, dtype="float64", seed=0), lc.Linear(3, 1, dtype="float64", seed=1)])
    twin = layer.to()
    for name, value in layer.params.items():
        assert np.array_equal(twin.params[name], value)
        assert not np.shares_memory(twin.params[name], value)
    twin.params["1.b"][...] = 9.0
    assert not layer.params["1.b"].any()


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex128"])
def test_a_twin_in_another_dtype(dtype):
    layer = lc.Bidirectional(lc.LSTM(2, 3, seed=0), lc.RNN(2, 3, seed=1)).to(dtype=dtype)
    assert {value.dtype for value in layer.params.values()} == {np.dtype(dtype)}
    y, _ = layer.predict(np.ones((2, 1, 2), dtype))
    assert y.dtype == dtype
