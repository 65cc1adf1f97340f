"""Modules of Flax and cells of Equinox, read with their options and held to what those systems compute, in float32.

JAX compiles every step of every shape anew, some seconds for each model: by day few of them are tried.
"""

import numpy as np
import pytest

import lstmcore as lc
from lstmcore.interop import read
from lstmcore.interop.proof import Differs

I, H, T, B = 3, 4, 7, 3
SINGLE = 1e-5  # float32: numbers below 3, sums of fewer than 30 terms in each of 7 steps


def given(seed=0):
    return np.random.default_rng(seed).standard_normal((T, B, I)).astype("float32")


def filled(tree, seed=0):
    """The same arrays of random numbers."""
    rng = np.random.default_rng(seed)
    from jax import tree_util

    return tree_util.tree_map(lambda a: rng.uniform(-1, 1, a.shape).astype("float32"), tree)


def nnx_models():
    from flax import nnx

    def rnn(kind=nnx.LSTMCell, inputs=I, **options):
        said = {k: options.pop(k) for k in ("reverse", "keep_order", "time_major") if k in options}
        return nnx.RNN(kind(inputs, H, rngs=nnx.Rngs(0), **options), **said)

    class Own(nnx.Module):
        def __init__(self):
            self.embed = nnx.Embed(9, I, rngs=nnx.Rngs(1))
            self.rnn = rnn()
            self.drop = nnx.Dropout(0.1, rngs=nnx.Rngs(2))
            self.head = nnx.Linear(H, 2, rngs=nnx.Rngs(3))

        def __call__(self, x):
            return nnx.softmax(self.head(self.drop(self.rnn(self.embed(x))[:, -1])))

    return {
        "lstm": rnn,
        "lstm of two matrices": lambda: rnn(nnx.OptimizedLSTMCell, time_major=True),
        "gru": lambda: rnn(nnx.GRUCell),
        "simple": lambda: rnn(nnx.SimpleCell, activation_fn=nnx.relu),
        "other functions": lambda: rnn(gate_fn=nnx.hard_sigmoid, activation_fn=nnx.soft_sign),
        "backwards": lambda: rnn(reverse=True, keep_order=True),
        "both": lambda: nnx.Bidirectional(rnn(nnx.GRUCell), rnn(nnx.GRUCell)),
        "added": lambda: nnx.Bidirectional(rnn(), rnn(), merge_fn=lambda a, b: a + b),
        "one after the other": lambda: nnx.Sequential(
            rnn(), rnn(inputs=H), nnx.Linear(H, 2, rngs=nnx.Rngs(4)), nnx.tanh
        ),
        "own": Own,
    }


def test_nnx(jax, flax, nightly):
    from flax import nnx

    for name, make in nnx_models().items():
        if not (nightly or name in ("simple", "added", "own")):
            continue
        module = make()
        nnx.update(module, filled(nnx.state(module, nnx.Param)))
        said = []
        model = read(module, tell=said.append)
        assert "; proved: run beside Flax on random input" in said[0], (name, said)
        assert ("unequal lengths" in said[0]) == isinstance(module, nnx.RNN | nnx.Bidirectional)
        x = np.random.default_rng(2).integers(0, 9, (T, B)) if name == "own" else given()
        module.eval()
        major = getattr(module, "time_major", False)
        want = np.asarray(module(x if major else np.ascontiguousarray(x.swapaxes(0, 1))))
        got = model.to(engine="reference").predict(x)[0]
        assert np.abs((got if major or got.ndim == 2 else got.swapaxes(0, 1)) - want).max() < SINGLE, name
    assert "Softmax()" in repr(model)
    assert "Last()" in repr(model) or "return_sequences=False" in repr(model)


def test_linen(jax, flax, nightly):
    from flax import linen as nn

    models = {
        "lstm": nn.RNN(nn.LSTMCell(H)),
        "lstm of two matrices": nn.RNN(nn.OptimizedLSTMCell(H), time_major=True),
        "simple": nn.RNN(nn.SimpleCell(H), reverse=True, keep_order=True),
        "both": nn.Bidirectional(nn.RNN(nn.LSTMCell(H)), nn.RNN(nn.LSTMCell(H))),
        "one after the other": nn.Sequential(
            [nn.RNN(nn.GRUCell(H, activation_fn=nn.elu)), nn.RNN(nn.LSTMCell(H)), nn.Dense(2), nn.softmax]
        ),
    }
    for name, module in models.items():
        if not (nightly or name in ("both", "simple")):
            continue
        x = given()
        batch_first = x if getattr(module, "time_major", False) else np.ascontiguousarray(x.swapaxes(0, 1))
        params = filled(jax.eval_shape(module.init, jax.random.PRNGKey(0), batch_first))
        said = []
        model = read(module, params=params, tell=said.append)
        assert "; proved: run beside Flax on random input" in said[0], (name, said)
        want = np.asarray(module.apply(params, batch_first))
        got = model.to(engine="reference").predict(x)[0]
        assert np.abs((got if batch_first is x else got.swapaxes(0, 1)) - want).max() < SINGLE, name
        bound = read(module.bind(params), tell=lambda _: None)
        assert all(np.array_equal(a, bound.params[key]) for key, a in model.params.items())


def test_cells(jax, flax, nightly):
    from flax import linen, nnx

    for kind in (nnx.LSTMCell, nnx.OptimizedLSTMCell, nnx.GRUCell, nnx.SimpleCell)[: None if nightly else 2]:
        said = []
        read(kind(I, H, rngs=nnx.Rngs(0)), tell=said.append)
        assert "; proved: one step beside Flax" in said[0], said
    cell = linen.GRUCell(H)
    params = cell.init(jax.random.PRNGKey(0), np.zeros((B, H), "float32"), given()[0])
    model = read(cell, params=params, tell=said.append)
    assert "; proved: one step beside Flax" in said[-1]
    assert isinstance(model, lc.GRU)


def test_equinox(jax, equinox):
    nn = equinox.nn
    for kind in (nn.LSTMCell, nn.GRUCell):
        for bias in (True, False):
            cell, said = kind(I, H, use_bias=bias, key=jax.random.PRNGKey(0)), []
            model = read(cell, tell=said.append)
            assert "; proved: one step beside Equinox" in said[0]
            assert ("bias=False" in repr(model)) == (not bias)
    with pytest.raises(ValueError, match="a Linear is no cell of Equinox: hand over the cell that is in it"):
        read(nn.Linear(I, H, key=jax.random.PRNGKey(0)))


def test_what_lstmcore_has_not_is_called_by_its_name(flax):
    from flax import linen, nnx

    rngs = nnx.Rngs(0)

    class Own(nnx.Module):
        def __init__(self):
            self.rnn = nnx.RNN(nnx.LSTMCell(I, H, rngs=rngs))

        def __call__(self, x):
            return self.rnn(x)[:, ::-1]

    for module, text in [
        (nnx.RNN(nnx.SimpleCell(I, H, residual=True, rngs=rngs)), "a SimpleCell with residual=True"),
        (nnx.RNN(nnx.GRUCell(I, H, rngs=rngs), reverse=True), r"gives its outputs in that order \(keep_order=False\)"),
        (nnx.Sequential(nnx.LayerNorm(I, rngs=rngs)), "is a LayerNorm, which lstmcore lacks"),
        (nnx.RNN(nnx.LSTMCell(I, H, gate_fn=nnx.swish, rngs=rngs)), "the activations .*si"),
        (linen.RNN(linen.LSTMCell(H)), "a RNN of linen does not hold its arrays: pass params="),
    ]:
        with pytest.raises(ValueError, match=text):
            read(module)
    with pytest.raises(Differs, match="Own gives something else than its parts in order, LSTM"):
        read(Own())
    with pytest.raises(TypeError, match="a module of Flax says its own options; got reset_after"):
        read(Own(), reset_after=True)


def test_arrays_of_nnx_alone(flax):
    """What nnx.state gives, without the module."""
    from flax import nnx

    cell = nnx.LSTMCell(I, H, rngs=nnx.Rngs(0))
    model = read(cell, tell=lambda _: None)
    alone = read(nnx.state(cell, nnx.Param), tell=lambda _: None)
    assert all(np.array_equal(a, alone.params[key]) for key, a in model.params.items())
