"""A way around a layer."""

import numpy as np
import pytest

import lstmcore as lc
from lstmcore.debug.step import step_back

T, B, I = 5, 4, 3
MASK = np.array([[1, 1, 0, 0], [1, 0, 1, 0], [0, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0]], bool)


def given():
    return np.random.default_rng(0).standard_normal((T, B, I))


def made():
    """Residuals in a row, with dropout between them, and one of a Stack."""
    lstm, gru, last = (
        kind(I, I, dtype="float64", seed=k, engine="reference") for k, kind in enumerate((lc.LSTM, lc.GRU, lc.RNN))
    )
    return lc.Stack([lc.Residual(lstm), lc.Dropout(0.4), lc.Residual(lc.Stack([gru, lc.Dropout(0.3)])), last])


def test_it_adds_what_it_reads(tmp_path):
    x, model = given(), lc.Residual(lc.LSTM(I, I, dtype="float64", seed=1))
    inner = model.layer
    y, (state,), cache = model.forward(x, mask=MASK)
    want, want_state, inner_cache = inner.forward(x, mask=MASK)
    np.testing.assert_array_equal(y, np.where(MASK[..., None], x, 0) + want)
    np.testing.assert_array_equal(state[1], want_state[1])
    assert model.predict(x, mask=MASK)[0].tobytes() == y.tobytes()
    dy = np.random.default_rng(1).standard_normal(y.shape)
    dx, _, grads = model.backward(dy, cache)
    want_dx, _, want_grads = inner.backward(dy, inner_cache)
    np.testing.assert_array_equal(dx, want_dx + np.where(MASK[..., None], dy, 0))
    assert {f"layer.{name}" for name in want_grads} == set(grads) == set(model.params)
    assert model.backward(None, cache, (want_state,))[0].any()
    step = model.step(x[0])[0]
    np.testing.assert_allclose(step, model.predict(x)[0][0], rtol=0, atol=1e-15)
    lc.save(tmp_path / "model.safetensors", model)
    assert lc.load(tmp_path / "model.safetensors").predict(x, mask=MASK)[0].tobytes() == y.tobytes()


def test_through_every_tool_with_dropout_between_layers(monkeypatch):
    monkeypatch.setattr(step_back, "has_compiler", lambda: False)  # compiled it would take half a minute
    x, model = given(), made()
    check = lc.debug.gradcheck(model, x, mask=MASK, seed=0, dropout_seed=1)
    assert check.worst < 1e-12, check
    assert lc.debug.ledger(model, x, mask=MASK, dropout_seed=1).ok
    assert len(lc.debug.flow(model, x, mask=MASK, dropout_seed=1).layers) == 3
    assert lc.debug.tripwire(model, x, mask=MASK).ok
    assert lc.debug.padding(model, x, mask=MASK).ok
    poison = np.where(MASK[..., None], 0, np.nan)
    runs = [model.forward(x + more, mask=MASK, rng=np.random.default_rng(2)) for more in (0, poison)]
    assert runs[0][0].tobytes() == runs[1][0].tobytes()
    dy = np.random.default_rng(3).standard_normal((T, B, I))
    answers = [model.backward(dy + more, run[2]) for run, more in zip(runs, (0, poison))]
    assert answers[0][0].tobytes() == answers[1][0].tobytes()
    for name, g in answers[0][2].items():
        assert g.tobytes() == answers[1][2][name].tobytes(), name


def test_another_width_is_refused():
    for layer in (lc.LSTM(I, 2, dtype="float64"), lc.LSTM(I, I, dtype="float64", return_sequences=False)):
        with pytest.raises(
            ValueError, match=r"`layer` of a Residual should give as much as it reads, \(5, 4, 3\); LSTM"
        ):
            lc.Residual(layer).forward(given())
