"""The gradient checker: right where gradients are right, alarmed by one wrong coordinate, and it says which."""

from typing import Any

import numpy as np
import pytest
from cases import LAYERS, MASKS, Problem, recurrent_parts

import lstmcore as lc
from lstmcore.debug import gradcheck, gradcheck_function
from lstmcore.ops.recurrence import reference


def off_by(factor: float, name: str, place: tuple[int, ...]) -> Any:
    """The reference engine, with one entry of one parameter's gradient multiplied."""

    class Wrong:
        supports, forward, predict = map(staticmethod, (reference.supports, reference.forward, reference.predict))

        @staticmethod
        def backward(*arguments):
            dx, dstate0, grads = reference.backward(*arguments)
            grads[name][place] *= factor
            return dx, dstate0, grads

    return Wrong


@pytest.mark.pairwise("name", "mask")
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_under_every_mask(engine, name, mask):
    """Below 1e-12, and every parameter, x and every state stands in the table."""
    engine.skip_if_unsupported(*{part[0] for part in recurrent_parts(LAYERS[name])})
    problem = Problem(LAYERS[name], 3, 2, mask, seed=1)
    x, state, mask = (engine.array(value) for value in (problem.x, problem.state, problem.mask))
    check = gradcheck(engine.place(problem.layer()), x, state, mask, seed=2, directions=4)
    assert check.ok, str(check)
    assert check.worst < 1e-12
    names = {row.name for row in check.table}
    assert names >= {"x", *problem.params}
    states = sum(2 if part[0] == "lstm" else 1 for part in recurrent_parts(LAYERS[name]))
    assert len(names) == 1 + len(problem.params) + states
    assert all(row.checked == 4 for row in check.table)


@pytest.mark.parametrize("method", ["complex", "central"])
def test_one_wrong_coordinate_is_named(method):
    """Off by a thousandth, in one entry of one matrix: it is found, and it is the worst."""
    problem = Problem(("lstm", 3, 4), 3, 2, "gaps", seed=3)
    right, wrong = problem.layer(), problem.layer().to(engine=off_by(1.001, "W_hh", (2, 7)))
    assert gradcheck(right, problem.x, problem.state, problem.mask, seed=4, method=method).ok
    check = gradcheck(wrong, problem.x, problem.state, problem.mask, seed=4, method=method)
    assert not check.ok
    assert check.worst_at == "W_hh[2, 7]"
    assert 1e-9 < check.worst <= 1e-3
    assert [row.name for row in check.table if row.error > row.tolerance] == ["W_hh"]
    assert "WRONG: W_hh[2, 7]" in str(check)
    assert "every gradient is right" not in str(check)


@pytest.mark.parametrize("factor", [1 + 1e-9, 1 + 1e-6, 0.5, -1.0, np.nan, np.inf])
def test_large_and_small_errors(factor):
    """Complex step sees an error of 1e-9 in an entry of middling size; NaN and infinity are no answer either."""
    problem = Problem(("gru", 2, 3), 4, 2, seed=5)
    wrong = problem.layer().to(engine=off_by(factor, "b", (4,)))
    check = gradcheck(wrong, problem.x, problem.state, seed=6)
    assert not check.ok
    assert check.worst_at == "b[4]"


def test_random_directions_see_one_wrong_coordinate_too():
    """A random direction has a part along every coordinate."""
    problem = Problem(("lstm", 3, 4), 3, 2, seed=7)
    check = gradcheck(problem.layer().to(engine=off_by(1.01, "W_ih", (0, 3))), problem.x, seed=8, directions=2)
    assert not check.ok
    assert [row.name for row in check.table if row.error > row.tolerance] == ["W_ih"]


def test_zero_states_are_checked():
    """state None means zeros, whose gradient is checked nevertheless."""
    problem = Problem(("lstm", 2, 3), 3, 2, seed=9)
    assert {row.name for row in gradcheck(problem.layer(), problem.x, seed=0).table} == {
        "W_ih", "W_hh", "b", "h0", "c0", "x",
    }  # fmt: skip


def test_a_whole_model():
    """Embedding, bidirectional layer, dropout, head and masked loss at once."""
    rng = np.random.default_rng(10)
    model = lc.Stack(
        [
            lc.Embedding(5, 3, seed=1),
            lc.Bidirectional(lc.LSTM(3, 2, seed=2), lc.GRU(3, 2, seed=3)),
            lc.Dropout(0.4),
            lc.Linear(4, 5, seed=4),
        ]
    )
    index, targets, mask = rng.integers(0, 5, (4, 3)), rng.integers(0, 5, (4, 3)), rng.random((4, 3)) < 0.7
    check = gradcheck(
        model, index, mask=mask, seed=11, dropout_seed=12, loss=lambda y: lc.softmax_cross_entropy(y, targets, mask)
    )
    assert check.ok, str(check)
    assert {row.name for row in check.table} == {
        *model.params, "1.fw.h0", "1.fw.c0", "1.bw.h0",
    }  # fmt: skip


def test_a_wrong_loss_is_caught():
    """The head's own gradient is right, the loss hands down half of it."""
    layer = lc.LSTM(2, 3, dtype="float64", seed=0)
    x = np.random.default_rng(13).normal(size=(3, 2, 2))
    assert gradcheck(layer, x, seed=0, loss=lambda y: ((y * y).sum(), 2 * y)).ok
    assert not gradcheck(layer, x, seed=0, loss=lambda y: ((y * y).sum(), y)).ok


def test_the_layer_is_left_as_it_was():
    """A float32 layer is checked in float64, on a copy."""
    layer = lc.LSTM(2, 3, seed=0)
    before = {name: value.copy() for name, value in layer.params.items()}
    check = gradcheck(layer, np.random.default_rng(14).normal(size=(3, 2, 2)).astype("float32"), seed=0)
    assert check.ok
    assert check.worst < 1e-12
    for name, value in layer.params.items():
        assert value.dtype == np.float32
        assert np.array_equal(value, before[name])


def test_unknown_methods_are_refused():
    layer, x = lc.LSTM(2, 3, dtype="float64", seed=0), np.ones((1, 1, 2))
    with pytest.raises(ValueError, match='`method` should be "complex" or "central"; got \'forward\''):
        gradcheck(layer, x, method="forward")
    with pytest.raises(ValueError, match='`method` should be "complex" or "central"; got \'forward\''):
        gradcheck_function(lambda v: v["a"].sum(), {"a": np.ones(1)}, {"a": np.ones(1)}, method="forward")


@pytest.mark.parametrize("method", ["complex", "central"])
def test_peoples_own_functions(method):
    """f = sum sin(a) b^2: its gradients pass, and with one sign turned they do not."""
    rng = np.random.default_rng(15)
    values = {"a": rng.normal(size=(2, 3)), "b": rng.normal(size=3)}
    grads = {
        "a": np.cos(values["a"]) * values["b"] ** 2,
        "b": 2 * values["b"] * np.sin(values["a"]).sum(axis=0),
    }

    def f(v):
        return np.sum(np.sin(v["a"]) * v["b"] ** 2)

    assert gradcheck_function(f, values, grads, method=method).ok
    grads["b"][1] *= -1
    check = gradcheck_function(f, values, grads, method=method)
    assert not check.ok
    assert check.worst_at == "b[1]"
    assert gradcheck_function(f, values, {"a": grads["a"]}, method=method).ok  # what is not asked is not judged


def test_central_differences_serve_what_is_not_complex_safe():
    """|a| away from its kink."""
    values = {"a": np.array([1.0, -2.0])}
    assert gradcheck_function(lambda v: np.abs(v["a"]).sum(), values, {"a": np.array([1.0, -1.0])}).ok
    assert not gradcheck_function(lambda v: np.abs(v["a"]).sum(), values, {"a": np.array([1.0, 1.0])}).ok


def test_wrong_arguments_for_functions():
    values = {"a": np.ones(2)}
    with pytest.raises(KeyError, match=r"`grads` should have names of `values`, a; got 'b'"):
        gradcheck_function(lambda v: v["a"].sum(), values, {"b": np.ones(2)})
    with pytest.raises(ValueError, match=r"`grads\['a'\]` should have the shape of its value, \(2,\); got \(3,\)"):
        gradcheck_function(lambda v: v["a"].sum(), values, {"a": np.ones(3)})
    with pytest.raises(ValueError, match=r"`loss` should return one number; got shape \(2,\)"):
        gradcheck_function(lambda v: v["a"], values, {"a": np.ones(2)})
