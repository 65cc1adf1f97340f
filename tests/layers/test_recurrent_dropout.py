"""Noise between the steps: written out by hand, its gradients with the masks replayed, and evaluation."""

import numpy as np
import pytest

import lstmcore as lc
from lstmcore.debug.step import step_back

T, B, I, H = 5, 4, 3, 2
MASK = np.array([[1, 1, 0, 0], [1, 0, 1, 0], [0, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0]], bool)  # gaps; a row of none
NOISES = [
    {"h": 0.4}, {"W_hh": 0.5}, {"zoneout_h": 0.3}, {"zoneout_c": 0.3}, {"g": 0.4},
    {"h": 0.3, "W_hh": 0.4, "zoneout_h": 0.2, "zoneout_c": 0.5, "g": 0.3},
]  # fmt: skip


def given():
    return np.random.default_rng(0).standard_normal((T, B, I))


def made(noise, kind=lc.LSTM, engine="reference", **options):
    return lc.RecurrentDropout(kind(I, H, dtype="float64", seed=1, engine=engine, **options), **noise)


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


@pytest.mark.parametrize("noise", NOISES, ids=str)
@pytest.mark.parametrize("mask", [None, MASK], ids=["all", "mask"])
def test_forward_by_hand(noise, mask):
    """The formulas of Gal, Merity and Krueger in plain NumPy, with the masks that the cache holds."""
    model, x = made(noise), given()
    state = (tuple(np.random.default_rng(k).standard_normal((B, H)) for k in (2, 3)),)
    y, ((h_last, c_last),), cache = model.forward(x, state, mask, np.random.default_rng(5))
    p, drawn = model.layer.params, cache.drawn
    d_h = 1 if drawn.h is None else drawn.h
    W_hh = p["W_hh"] if drawn.W_hh is None else p["W_hh"] * drawn.W_hh
    h, c = state[0]
    for t in range(T):
        i, f, g, o = np.split(x[t] @ p["W_ih"] + (h * d_h) @ W_hh + p["b"], 4, axis=-1)
        d_g = 1 if drawn.g is None else drawn.g[t]
        new_c = sigmoid(f) * c + sigmoid(i) * d_g * np.tanh(g)
        new_h = sigmoid(o) * np.tanh(new_c)
        stay_h, stay_c = (False if z is None else z[t] == 1 for z in drawn.stays)
        real = np.ones((B, 1), bool) if mask is None else mask[t, :, None]
        h, c = np.where(real & ~np.asarray(stay_h), new_h, h), np.where(real & ~np.asarray(stay_c), new_c, c)
        np.testing.assert_allclose(y[t], np.where(real, h, 0), rtol=0, atol=1e-14)
    np.testing.assert_allclose(h_last, h, rtol=0, atol=1e-14)
    np.testing.assert_allclose(c_last, c, rtol=0, atol=1e-14)


@pytest.mark.parametrize("noise", NOISES, ids=str)
@pytest.mark.parametrize("kind", [lc.LSTM, lc.GRU])
def test_gradients_go_through_the_same_masks(noise, kind, tmp_path):
    noise = {name: p for name, p in noise.items() if kind is lc.LSTM or name not in ("zoneout_c", "g")} or {"h": 0.5}
    model, x = made(noise, kind), given()
    for dropout_seed in (0, None):
        check = lc.debug.gradcheck(model, x, mask=MASK, seed=0, dropout_seed=dropout_seed, directions=3)
        assert check.worst < 1e-12, check
        assert {row.name for row in check.table} >= {"x", "layer.W_hh", "layer.h0"}
    poison, dy = np.where(MASK[..., None], 0, np.nan), np.random.default_rng(3).standard_normal((T, B, H))
    answers = []
    for more in (0, poison):
        y, last, cache = model.forward(x + more, mask=MASK, rng=np.random.default_rng(4))
        for _ in range(2):  # twice the same
            dx, dstate0, grads = model.backward(dy + more, cache)
            answers.append([a.tobytes() for a in (y, *last[0], dx, *dstate0[0], *grads.values())])
    assert answers[1:] == answers[:1] * 3
    assert lc.debug.padding(model, x, mask=MASK).ok
    lc.save(tmp_path / "model.safetensors", model)
    twin = lc.load(tmp_path / "model.safetensors", engine="reference")
    assert repr(twin) == repr(model)
    again = twin.forward(x, mask=MASK, rng=np.random.default_rng(4))[0]
    assert again.tobytes() == model.forward(x, mask=MASK, rng=np.random.default_rng(4))[0].tobytes() == answers[0][0]


def test_evaluation():
    """Dropout and DropConnect do nothing; zoneout takes the mean of old and new."""
    x = given()
    for noise in NOISES[:2]:
        model = made(noise)
        y, _, _ = model.forward(x, mask=MASK)
        assert y.tobytes() == model.layer.forward(x, mask=MASK)[0].tobytes() == model.predict(x, mask=MASK)[0].tobytes()
    model = made({"zoneout_h": 0.25, "zoneout_c": 0.5})
    y, (state,) = model.predict(x)
    h, c = np.zeros((2, B, H))
    for t in range(T):
        _, (new_h, new_c) = model.layer.predict(x[t : t + 1], (h, c))
        h, c = 0.25 * h + 0.75 * new_h, 0.5 * c + 0.5 * new_c
        np.testing.assert_allclose(y[t], h, rtol=0, atol=1e-15)
    streamed = None
    for t in range(T):
        y_t, streamed = model.step(x[t], streamed)
    np.testing.assert_allclose(y_t, y[-1], rtol=0, atol=1e-15)
    np.testing.assert_allclose(streamed[0][1], state[1], rtol=0, atol=1e-15)


def test_shares_are_as_asked():
    """Each share within five deviations of p."""
    model = lc.RecurrentDropout(lc.LSTM(1, 30, seed=0, engine="reference"), 0.2, 0.4, 0.3, 0.6, 0.1)
    _, _, cache = model.forward(np.zeros((20, 50, 1), "float32"), rng=np.random.default_rng(0))
    drawn = cache.drawn
    shares = [
        (drawn.h == 0, 0.2),
        (drawn.W_hh == 0, 0.4),
        (drawn.stays[0] == 1, 0.3),
        (drawn.stays[1] == 1, 0.6),
        (drawn.g == 0, 0.1),
    ]
    for found, p in shares:
        assert abs(found.mean() - p) < 5 * np.sqrt(p * (1 - p) / found.size)
    assert np.unique(drawn.h).tolist() == [0, np.float32(1.25)]
    assert {a.dtype.name for a in (drawn.h, drawn.W_hh, drawn.g, *drawn.stays, cache.y)} == {"float32"}


@pytest.mark.parametrize("noise", [NOISES[1], NOISES[4], NOISES[5]], ids=str)
def test_tools_see_what_ran(noise, monkeypatch):
    """The leaf inside runs with the weights that were left, step by step; the tools take it as it ran."""
    monkeypatch.setattr(step_back, "has_compiler", lambda: False)  # compiled it would take half a minute
    x, model = given(), lc.Stack([made(noise), lc.Linear(H, 1, dtype="float64", seed=2)])
    book = lc.debug.ledger(model, x, mask=MASK, dropout_seed=1)
    assert book.ok, book
    assert lc.debug.flow(model, x, mask=MASK, dropout_seed=1).layers[0].name == "0.layer"
    assert lc.debug.tripwire(model, x, mask=MASK, dropout_seed=1).ok


def test_the_compiled_engine_runs_it():
    x, answers = given(), []
    for engine in ("reference", "fused-cpu"):
        model = made(NOISES[5] | {"g": 0.0}, engine=engine)  # compiling one more step would take 10 seconds
        y, _, cache = model.forward(x, mask=MASK, rng=np.random.default_rng(0))
        assert lc.layers.tree.engine(cache) == engine
        answers.append([y, *model.backward(np.ones_like(y), cache)[2].values()])
    for ours, theirs in zip(*answers, strict=True):  # 64 roundings of numbers below 4
        assert np.abs(ours - theirs).max() <= 64 * np.finfo(float).eps * max(4, np.abs(ours).max())


def test_refusals():
    with pytest.raises(TypeError, match=r"should be an LSTM, GRU or RNN with all outputs, .*; got Linear"):
        lc.RecurrentDropout(lc.Linear(I, H))
    with pytest.raises(TypeError, match="with all outputs, whose steps it runs one by one; got LSTM"):
        lc.RecurrentDropout(lc.LSTM(I, H, return_sequences=False))
    with pytest.raises(TypeError, match=r"`zoneout_c` should be 0 where there is no c; GRU\(3, 2\) has h"):
        made({"zoneout_c": 0.1}, lc.GRU)
    for other in (lc.GRU(I, H), lc.LSTM(I, H, peepholes=True), lc.LSTM(I, H, layer_norm=True)):
        with pytest.raises(TypeError, match=r"`g` should be 0 for .*: the plain LSTM has a step that drops"):
            lc.RecurrentDropout(other, g=0.1)
    with pytest.raises(TypeError, match=r"`W_hh` should be 0 for GRU\(.*: its W_hn, recurrent too, would keep all"):
        lc.RecurrentDropout(lc.GRU(I, H, reset="before"), W_hh=0.1)
    for name in NOISES[5]:
        with pytest.raises(ValueError, match=rf"`{name}` should be a probability in \[0, 1\); got 1"):
            made({name: 1})
    model = made({"h": 0.5})
    y, _, cache = model.forward(given(), rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match="`dy` should be"):
        model.backward(y[..., :1], cache)
    model.layer.params["W_hh"][...] = 0
    with pytest.raises(ValueError, match="parameter 'W_hh' has changed since `forward`"):
        model.backward(np.ones_like(y), cache)
