"""A backward pass that spares dx gives every other gradient to the bit."""

import numpy as np
import pytest

import lstmcore as lc
from lstmcore.layers.without_dx import without_dx

T, B, I, H = 7, 5, 40, 24  # 40 + 24 columns do not fit the empty lanes of dh's last vector: dx has a product of its own
MODELS = {
    "LSTM": lambda e: lc.LSTM(I, H, seed=0, engine=e),
    "GRU": lambda e: lc.GRU(I, H, seed=0, engine=e),
    "RNN": lambda e: lc.RNN(I, H, seed=0, engine=e),
    "one input": lambda e: lc.LSTM(1, H, seed=0, engine=e),  # dx costs nothing: it is computed beside dh
    "recomputed": lambda e: lc.LSTM(I, H, seed=0, engine=e, recompute=2),
    "stack": lambda e: lc.Stack([lc.LSTM(I, H, seed=0, engine=e), lc.LSTM(H, H, seed=1, engine=e)]),
    "both directions": lambda e: lc.Bidirectional(lc.LSTM(I, H, seed=0, engine=e), lc.LSTM(I, 9, seed=1, engine=e)),
}


def _back(model, mask, spared):
    rng = np.random.default_rng(3)
    x = rng.standard_normal((T, B, 1 if getattr(model, "input_size", I) == 1 else I)).astype("float32")
    y, _, cache = model.forward(x, None, mask)
    dy = rng.standard_normal(y.shape).astype("float32")
    return model.backward(dy, without_dx(model, cache) if spared else cache)


@pytest.mark.parametrize("engine", ["reference", "fused-cpu"])
@pytest.mark.parametrize("name", MODELS)
def test_all_else_has_the_same_bits(name, engine):
    mask = np.arange(T)[:, None] < np.array([7, 0, 3, 6, 1])
    for given in (None, mask):
        model = MODELS[name](engine)
        dx, dstate0, grads = _back(model, given, False)
        spared, dstate0_spared, grads_spared = _back(model, given, True)
        assert dx.shape[0] == T
        assert spared.shape == (T if name == "recomputed" else 0, *dx.shape[1:])
        assert grads.keys() == grads_spared.keys()
        for key, g in grads.items():
            np.testing.assert_array_equal(grads_spared[key], g, strict=True)
        for d, s in zip(_flat(dstate0), _flat(dstate0_spared), strict=True):
            np.testing.assert_array_equal(s, d, strict=True)


def test_a_method_of_ones_own_gets_its_dx():
    class Louder(lc.LSTM):
        def backward(self, dy, cache, dstate=None):
            dx, dstate0, grads = super().backward(dy, cache, dstate)
            return 2 * dx, dstate0, {name: 2 * g for name, g in grads.items()}

    for model in (Louder(I, H, seed=0), lc.Stack([Louder(I, H, seed=0)]), lc.Stack([lc.Dropout(0.1), lc.LSTM(I, H)])):
        assert _back(model, None, True)[0].shape == (T, B, I)


def test_fit_spares_dx(monkeypatch):
    shapes = []
    backward = lc.LSTM.backward

    def watched(self, dy, cache, dstate=None):
        out = backward(self, dy, cache, dstate)
        shapes.append(out[0].shape)
        return out

    monkeypatch.setattr(lc.Recurrent, "backward", watched)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((T, B, I)).astype("float32")
    targets = rng.standard_normal((T, B, 2)).astype("float32")
    model = lc.Stack([lc.LSTM(I, H, seed=0), lc.LSTM(H, 2, seed=1)])
    for more in ({}, {"segments": 4}):
        shapes.clear()
        lc.fit(model, lc.squared_error, [(x, targets)], lc.Adam(), epochs=1, progress=False, **more)
        assert shapes[0][2] == H  # the second layer's goes on
        assert shapes[1] == (0, B, I)


def _flat(state):
    return [a for part in state for a in _flat(part)] if isinstance(state, tuple) else [state]
