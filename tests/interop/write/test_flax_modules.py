"""What is written for Flax and Equinox, run by these: the numbers are lstmcore's, to the rounding of float32, for rows
of unequal lengths too, and what comes back is the same bit for bit.

JAX compiles every loop of every shape anew; without jit it takes the steps one by one, which is faster here.
"""

import numpy as np
import pytest

import lstmcore as lc
from lstmcore.interop import read, to_equinox

I, H, T, B = 3, 4, 7, 3
LENGTHS = np.array([5, T, 1])
SINGLE = 1e-5  # float32: numbers below 3, sums of fewer than 30 terms in each of 7 steps


def to_flax(model):
    return lc.interop.to_flax(model)  # loads Flax, which is not there where no peer is


def to_linen(model):
    return lc.interop.to_linen(model)


def both(kind=lc.LSTM, merge="concat", **options):
    return lc.Bidirectional(kind(I, H, seed=0, **options), kind(I, H, seed=1, **options), merge)


MODELS = {
    "lstm": lambda: lc.LSTM(I, H, seed=0),
    "functions": lambda: lc.LSTM(I, H, gate_activation=("hard_sigmoid", 1 / 6), activation="softsign",
                                 cell_activation="softsign", seed=0),
    "backwards": lambda: lc.Reversed(lc.RNN(I, H, activation="relu", seed=0)),
    "both": both,
    "added": lambda: both(lc.RNN, "sum"),
    "apart": lambda: both(merge="none"),
    "stack": lambda: lc.Stack([
        lc.LSTM(I, H, seed=0), lc.Dropout(0.2), lc.RNN(H, H, seed=1, return_sequences=False), lc.Linear(H, 2, seed=2),
        lc.Softmax(),
    ]),
    "final states": lambda: both(merge="mean", return_sequences=False),
    "the final state of flipped time": lambda: lc.Reversed(lc.LSTM(I, H, seed=0, return_sequences=False)),
    "last": lambda: lc.Stack([lc.LSTM(I, H, seed=0), lc.Last(), lc.Linear(H, 2, bias=False, seed=1)]),
    "classes": lambda: lc.Stack([lc.Embedding(9, I, seed=0), both(), lc.Linear(2 * H, 9, seed=3)]),
    "gru": lambda: lc.GRU(I, H, seed=0),
    "grus": lambda: both(lc.GRU),
}  # fmt: skip
BY_DAY = (("linen", "final states"), ("nnx", "grus"))


def filled(model, dtype="float32"):
    rng = np.random.default_rng(0)
    for name in model.params:
        model.params[name] = rng.uniform(-1, 1, model.params[name].shape).astype(dtype)
    return model.to(engine="reference")


def x_of(name):
    rng = np.random.default_rng(1)
    return rng.integers(0, 9, (T, B)) if name == "classes" else rng.standard_normal((T, B, I)).astype("float32")


@pytest.mark.parametrize("room", ["nnx", "linen"])
@pytest.mark.parametrize("name", MODELS)
def test_flax_gives_what_lstmcore_gives(jax, flax, nightly, name, room):
    if (room, name) not in BY_DAY and not nightly:
        pytest.skip("with --nightly: JAX compiles it for a second")
    model, x = filled(MODELS[name]()), x_of(name)
    if room == "nnx" and name.startswith("gru"):
        for key in model.params:
            if key.endswith("b_hn"):
                model.params[key] = np.zeros_like(model.params[key])
    first = np.ascontiguousarray(x.swapaxes(0, 1))
    with jax.disable_jit():
        if room == "nnx":
            module = to_flax(model)
            y, padded = module(first), module(first, seq_lengths=LENGTHS)
            said = []
            back = read(module, tell=said.append)
        else:
            module, variables = to_linen(model)
            y, padded = module.apply(variables, first), module.apply(variables, first, seq_lengths=LENGTHS)
            said = []
            back = read(module, params=variables, tell=said.append)
    mask = lc.mask_from_lengths(LENGTHS, T)
    for theirs, want, real in ((y, model.predict(x)[0], None), (padded, model.predict(x, mask=mask)[0], mask)):
        theirs = np.asarray(theirs)
        theirs = theirs.swapaxes(0, 1) if want.ndim > 2 else theirs
        if real is not None and want.ndim > 2 and type(module).__name__ in ("RNN", "Bidirectional"):
            theirs = np.where(real[(...,) + (None,) * (want.ndim - 2)], theirs, want)
        assert theirs.dtype == "float32"
        assert np.abs(theirs - want).max() < SINGLE
    assert "; proved: run beside Flax" in said[0], said
    assert all(any(np.array_equal(a, b) for b in back.params.values()) for a in model.params.values() if a.any())
    assert np.abs(back.to(engine="reference").predict(x)[0] - model.predict(x)[0]).max() < SINGLE


def test_a_cell_of_equinox_gives_what_lstmcore_gives(jax, equinox):
    for model in (lc.LSTM(I, H, seed=0), lc.GRU(I, H, seed=0), lc.GRU(I, H, bias=False, seed=0)):
        filled(model)
        cell, x = to_equinox(model), x_of("")
        want = model.to(engine="reference").predict(x)[0]
        for b in range(B):
            h = np.zeros(H, "float32")
            state = (h, h) if isinstance(model, lc.LSTM) else h
            for t in range(T):
                state = cell(x[t, b], state)
                assert np.abs(np.asarray(state[0] if isinstance(state, tuple) else state) - want[t, b]).max() < SINGLE
        back = read(cell, tell=lambda _: None)
        assert all(np.array_equal(a, back.params[key]) for key, a in model.params.items())


def test_float64(jax, flax, equinox):
    """With jax_enable_x64 it stays; without, it would be rounded in silence."""
    model = filled(lc.RNN(I, H, dtype="float64", seed=0), "float64")
    jax.config.update("jax_enable_x64", False)
    try:
        for write in (to_flax, to_linen):
            with pytest.raises(ValueError, match=r"JAX would round float64 to float32: jax\.config"):
                write(model)
        with pytest.raises(ValueError, match=r"JAX would round float64 to float32: jax\.config"):
            to_equinox(lc.LSTM(I, H, dtype="float64", seed=0))
    finally:
        jax.config.update("jax_enable_x64", True)
    x = x_of("").astype("float64")
    with jax.disable_jit():
        y = to_flax(model)(x.swapaxes(0, 1))
    assert y.dtype == "float64"
    assert np.abs(np.asarray(y).swapaxes(0, 1) - model.predict(x)[0]).max() < 1e-13


def test_what_they_have_not_is_called_by_its_name(flax, equinox):
    plain = lc.LSTM(I, H, seed=0)
    for write, model, words in [
        (to_flax, filled(lc.GRU(I, H)), r"a bias b_hn that is not zero, which the GRUCell of Flax.s nnx .*to_linen"),
        (to_flax, lc.LSTM(I, H, peepholes=True), "has peepholes=True, which Flax lacks"),
        (to_linen, lc.LSTM(I, H, bias=False), "has bias=False, which Flax lacks"),
        (to_linen, lc.LSTM(I, H, activation="relu"), "has two activations, of the candidate and of c; Flax has one"),
        (to_linen, lc.RNN(I, H, activation=("elu", 2.0)), r"activation=\('elu', 2.0\), which Flax lacks: it has tanh"),
        (to_flax, lc.Stack([plain, lc.Residual(lc.LSTM(H, H))]), r"Residual\(.* is a layer that Flax lacks"),
        (to_equinox, lc.RNN(I, H), "Equinox has LSTMCell and GRUCell; hand over such layers one by one"),
        (to_equinox, lc.Stack([plain, lc.Linear(H, 2)]), "Equinox has LSTMCell and GRUCell"),
        (to_equinox, lc.LSTM(I, H, clip_c=1.0), "has clip_c=1.0, which Equinox lacks"),
    ]:
        with pytest.raises(ValueError, match=words):
            write(model)
