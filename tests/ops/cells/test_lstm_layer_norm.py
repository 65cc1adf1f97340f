"""Layer normalisation inside the step, against torch's own normalisation and autograd."""

import numpy as np
import pytest

import lstmcore as lc

T, B, I, H = 5, 4, 3, 3
OPTIONS = {"peepholes": True, "coupled": "f", "clip_c": 1.0, "clip_a": 1.0, "activation": "relu", "proj_size": 2}


def made(dtype="float64"):
    layer = lc.LSTM(I, H, layer_norm=True, dtype=dtype, seed=1)
    for k, name in enumerate(layer.params):
        layer.params[name] += 0.3 * np.random.default_rng(k).standard_normal(layer.params[name].shape)
    return layer


def test_torch_gives_the_same(torch):
    """The formula of Ba et al. and of haste, written with torch.nn.functional.layer_norm, values and all gradients."""
    layer, rng = made(), np.random.default_rng(0)
    x, h0, c0 = rng.standard_normal((T, B, I)), rng.standard_normal((B, H)), rng.standard_normal((B, H))
    p = {name: torch.tensor(value, requires_grad=True) for name, value in layer.params.items()}
    their_x, h, c = start = [torch.tensor(v, requires_grad=True) for v in (x, h0, c0)]
    norm, gamma, ys = torch.nn.functional.layer_norm, p["gamma"].reshape(2, 4 * H), []
    for t in range(T):
        a = norm(their_x[t] @ p["W_ih"], (4 * H,), gamma[0]) + norm(h @ p["W_hh"], (4 * H,), gamma[1]) + p["b"]
        i, f, g, o = a.chunk(4, dim=-1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * norm(c, (H,), p["gamma_c"], p["beta_c"]).tanh()
        ys.append(h)
    want = torch.stack(ys)
    dy, dh, dc = rng.standard_normal((T, B, H)), rng.standard_normal((B, H)), rng.standard_normal((B, H))
    (want * torch.tensor(dy)).sum().add((h * torch.tensor(dh)).sum()).add((c * torch.tensor(dc)).sum()).backward()

    y, state, cache = layer.forward(x, (h0, c0))
    dx, dstate0, grads = layer.backward(dy, cache, (dh, dc))
    pairs = [(y, want), (state[0], h), (state[1], c)]
    pairs += [(got, leaf.grad) for got, leaf in zip((dx, *dstate0), start, strict=True)]
    pairs += [(grads[name], p[name].grad) for name in layer.params]
    for got, theirs in pairs:
        np.testing.assert_allclose(got, theirs.detach().numpy(), rtol=0, atol=1e-12 * max(1, np.abs(got).max()))


def test_it_starts_as_haste_does():
    layer = lc.LSTM(I, H, layer_norm=True, seed=0)
    assert {name: w.shape for name, w in layer.params.items()} == {
        "W_ih": (I, 4 * H), "W_hh": (H, 4 * H), "b": (4 * H,), "gamma": (8 * H,), "gamma_c": (H,), "beta_c": (H,)
    }  # fmt: skip
    assert (layer.params["gamma"] == 1).all()
    assert (layer.params["gamma_c"] == 1).all()
    np.testing.assert_array_equal(layer.params["b"], np.repeat([0, 1, 0, 0], H))
    assert not layer.params["beta_c"].any()


def test_scaled_weights_and_shifted_inputs_of_a_block_change_nothing():
    """What normalisation is for: W_ih times 1000 gives the same outputs, up to the 1e-5 beside the variance."""
    layer, x = made(), np.random.default_rng(0).standard_normal((T, B, I))
    y = layer.predict(x)[0]
    layer.params["W_ih"] *= 1000
    layer.params["W_hh"] *= 1000
    again = layer.predict(x)[0]
    layer.params["W_ih"] *= 1000
    layer.params["W_hh"] *= 1000
    assert np.abs(again - y).max() < 1e-2
    assert np.abs(layer.predict(x)[0] - again)[1:].max() < 1e-6


def test_float32_keeps_its_dtype():
    layer = made("float32")
    y, state, cache = layer.forward(np.random.default_rng(0).standard_normal((T, B, I)).astype("float32"))
    dx, dstate0, grads = layer.backward(np.ones_like(y), cache)
    assert {a.dtype.name for a in (y, *state, dx, *dstate0, *grads.values())} == {"float32"}


@pytest.mark.parametrize("name", OPTIONS)
def test_it_goes_alone(name):
    with pytest.raises(ValueError, match="`layer_norm` goes with no other option: its step normalises what those"):
        lc.LSTM(I, H, layer_norm=True, **{name: OPTIONS[name]})


def test_refusals():
    with pytest.raises(ValueError, match=r"`layer_norm` adds the bias behind the normalisation, .*: bias=True"):
        lc.LSTM(I, H, layer_norm=True, bias=False)
    with pytest.raises(
        ValueError, match=r"'fused-cpu' cannot run the cell 'lstm' with layer_norm=True in float32.*; 'reference' can"
    ):
        lc.LSTM(I, H, layer_norm=True, engine="fused-cpu")
    with pytest.raises(ValueError, match="`layer_norm` should be True or False; got 1"):
        lc.LSTM(I, H, layer_norm=1)
    with pytest.raises(TypeError, match="does more than arithmetic inside its step"):
        lc.debug.rtrl(made(), np.zeros((T, B, I)), np.zeros((T, B, H)))
    with pytest.raises((TypeError, ValueError, KeyError), match=r"layer_norm|gamma"):
        lc.interop.from_lstmcore(made().params, "torch")


def test_torch_has_no_such_lstm(torch):
    with pytest.raises((TypeError, ValueError, KeyError), match=r"layer_norm|gamma"):
        lc.to_torch(made())
