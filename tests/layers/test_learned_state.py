"""An initial state among the parameters: its gradient, what a given state does, files and tools."""

import numpy as np
import pytest

import lstmcore as lc
from lstmcore.debug.step import step_back

T, B, I, H = 5, 4, 3, 2
MASK = np.array([[1, 1, 0, 0], [1, 0, 1, 0], [0, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0]], bool)  # gaps; a row of none
KINDS = [(lc.LSTM, {}), (lc.GRU, {}), (lc.RNN, {}), (lc.LSTM, {"proj_size": 3}), (lc.LSTM, {"peepholes": True})]


def given(width=I):
    return np.random.default_rng(0).standard_normal((T, B, width))


def made(kind=lc.LSTM, engine="reference", **options):
    model = lc.LearnedState(kind(I, H, dtype="float64", seed=1, engine=engine, **options))
    for k, name in enumerate(("h0", "c0")[: len(model.layer.states)]):
        model.params[name][...] = np.random.default_rng(k).standard_normal(model.params[name].shape)
    return model


@pytest.mark.parametrize(("kind", "options"), KINDS, ids=str)
def test_it_is_the_layer_with_that_state_in_every_row(kind, options, tmp_path):
    x, model = given(), made(kind, **options)
    names = [name for name in model.params if "." not in name]
    state0 = tuple(np.tile(model.params[name], (B, 1)) for name in names)
    want, last, inner = model.layer.forward(x, state0, mask=MASK)
    y, (final,), cache = model.forward(x, mask=MASK)
    assert y.tobytes() == want.tobytes() == model.predict(x, mask=MASK)[0].tobytes()
    assert all(a.tobytes() == b.tobytes() for a, b in zip(final, last, strict=True))

    dy = np.random.default_rng(1).standard_normal(y.shape)
    dx, dstate0, grads = model.backward(dy, cache)
    want_dx, want_dstate0, want_grads = model.layer.backward(dy, inner)
    assert dstate0 == (None,)
    np.testing.assert_array_equal(dx, want_dx)
    for name, d in zip(names, want_dstate0, strict=True):
        np.testing.assert_array_equal(grads[name], d.sum(axis=0))
    for name, g in want_grads.items():
        np.testing.assert_array_equal(grads[f"layer.{name}"], g)

    check = lc.debug.gradcheck(model, x, mask=MASK, seed=0)
    assert check.worst < 1e-12, check
    assert {row.name for row in check.table} == {"x", *model.params}
    poison = np.where(MASK[..., None], 0, np.nan)
    y_poisoned, _, poisoned = model.forward(x + poison, mask=MASK)
    assert y_poisoned.tobytes() == y.tobytes()
    for name, g in model.backward(dy + poison, poisoned)[2].items():
        assert g.tobytes() == grads[name].tobytes(), name
    assert lc.debug.padding(model, x, mask=MASK).ok

    lc.save(tmp_path / "model.safetensors", model)
    twin = lc.load(tmp_path / "model.safetensors", engine="reference")
    assert (repr(twin), list(twin.params)) == (repr(model), list(model.params))
    assert twin.predict(x, mask=MASK)[0].tobytes() == y.tobytes()


def test_a_given_state_wins():
    x, model = given(), made()
    state = (tuple(np.random.default_rng(k).standard_normal((B, H)) for k in (5, 6)),)
    y, _, cache = model.forward(x, state)
    assert y.tobytes() == model.layer.forward(x, state[0])[0].tobytes()
    _, dstate0, grads = model.backward(np.ones_like(y), cache)
    assert not grads["h0"].any()
    assert not grads["c0"].any()
    assert dstate0[0][1].any()
    check = lc.debug.gradcheck(model, x, state, seed=0)
    assert check.worst < 1e-12
    assert {row.name for row in check.table} >= {"h0", "layer.h0", "layer.c0"}


def test_a_stream_begins_there_too():
    x, model = given(), made()
    state = None
    for t in range(T):
        y_t, state = model.step(x[t], state)
    np.testing.assert_allclose(y_t, model.predict(x)[0][-1], rtol=0, atol=1e-15)


def test_inside_other_containers_and_tools(monkeypatch):
    monkeypatch.setattr(step_back, "has_compiler", lambda: False)  # compiled it would take half a minute
    x = given()
    model = lc.Stack([lc.Bidirectional(made(), made()), made_wide(), lc.Linear(H, 1, dtype="float64", seed=2)])
    assert lc.debug.gradcheck(model, x, mask=MASK, seed=0).worst < 1e-12
    book = lc.debug.ledger(model, x, mask=MASK)
    assert book.ok, book
    assert set(book.not_split) >= {"0.fw.h0", "0.bw.c0", "1.h0"}
    assert len(lc.debug.flow(model, x, mask=MASK).layers) == 3
    assert lc.debug.tripwire(model, x, mask=MASK).ok
    model.params["1.h0"][0] = np.nan
    assert lc.debug.tripwire(model, x, mask=MASK).trip.what == "1.h0"


def made_wide():
    return lc.LearnedState(lc.LSTM(2 * H, H, dtype="float64", seed=1, engine="reference"))


def test_it_learns():
    """Wanted from the first step on: only a state that is not zero can give it, for x is zero."""
    model = lc.LearnedState(
        lc.RNN(1, 1, dtype="float64", bias=False, activation="identity", seed=0, engine="reference")
    )
    x, targets = np.zeros((1, 2, 1)), np.full((1, 2, 1), 0.5)
    model.params["layer.W_hh"][...] = 1
    for _ in range(30):  # each step of 1/4 halves the error: the slope is 2 (h0 - 0.5)
        y, _, cache = model.forward(x)
        model.params["h0"] = model.params["h0"] - model.backward(lc.squared_error(y, targets)[1], cache)[2]["h0"] / 4
    assert lc.squared_error(model.predict(x)[0], targets)[0] < 1e-15


def test_refusals():
    with pytest.raises(
        TypeError, match=r"should be an LSTM, GRU or RNN, with .* around it at most; got Stack.* \(put a LearnedState"
    ):
        lc.LearnedState(lc.Stack([lc.LSTM(I, H)]))
    with pytest.raises(TypeError, match="`state` of a LearnedState should be a tuple of 1 parts"):
        made().forward(given(), (np.zeros((B, H)), np.zeros((B, H))))
    with pytest.raises(ValueError, match=r"`x` should be \(T, B, I\)"):
        made().forward(given(I + 1))
    with pytest.raises(ValueError, match=r"`x` should be"):
        made().forward(given()[0])
