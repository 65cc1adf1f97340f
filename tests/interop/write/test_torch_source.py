"""Models as modules of torch: the same outputs, and every matrix bit for bit there and back."""

import numpy as np
import pytest
from interop_models import LENGTHS, T, given, models

import lstmcore as lc
from lstmcore.interop import read, to_torch
from lstmcore.interop.write.torch_source import state_dict, torch_source


@pytest.mark.parametrize("name", models())
def test_torch_gives_what_lstmcore_gives(torch, name):
    model = models()[name]
    module, x = to_torch(model).eval(), given(model)
    with torch.no_grad():
        if isinstance(module, torch.nn.LSTM):
            got = [module(torch.from_numpy(x))[0]]
        else:
            got = [module(torch.from_numpy(x)), module(torch.from_numpy(x), torch.from_numpy(LENGTHS))]
    want = [model.predict(x)[0], model.predict(x, mask=lc.mask_from_lengths(LENGTHS, T))[0]]
    for a, b in zip(got, want):
        assert np.abs(a.numpy() - b).max() < 1e-5  # float32: numbers below 3, sums of fewer than 30 terms
    if name not in ("sum", "towers"):  # whose own forward says more than their parts
        back = read(module)
        assert all(np.array_equal(a, back.params[key]) for key, a in model.params.items())


def test_a_plain_stack_is_torchs_own_layer(torch):
    module = to_torch(models()["two"])
    assert isinstance(module, torch.nn.LSTM)
    assert module.num_layers == 2
    other = torch.nn.LSTM(3, 4, 2)
    other.load_state_dict(module.state_dict(), strict=True)


def test_the_text_of_the_class_stands_alone(torch, tmp_path):
    """As somebody without lstmcore would load it."""
    model = models()["towers"]
    room = {}
    exec(compile(torch_source(model), "model.py", "exec"), room)
    module = room["Model"]()
    module.load_state_dict({name: torch.from_numpy(value) for name, value in state_dict(model).items()}, strict=True)


def test_halves_are_written_where_that_is_said(torch):
    model = models()["two"]
    for dtype in ("float16", "bfloat16"):
        module = to_torch(model, dtype=dtype)
        assert module.weight_hh_l0.dtype == getattr(torch, dtype)
        back = read(module, dtype="float32")
        want = torch.from_numpy(model.params["0.W_hh"]).to(getattr(torch, dtype)).float().numpy()
        assert np.array_equal(back.params["0.W_hh"], want)
        assert {v.dtype.name for v in state_dict(model, dtype).values()} == {dtype}


def test_what_torch_has_not():
    class Own(lc.Tanh):
        pass

    with pytest.raises(ValueError, match=r"Own\(\) is a layer that torch lacks"):
        torch_source(lc.Stack([lc.RNN(2, 2, seed=0), Own()]))
    for model, words in [
        (
            lc.LSTM(2, 2, peepholes=True, seed=0),
            r"LSTM\(2, 2, peepholes=True\) has peepholes=True, which torch lacks",
        ),
        (lc.RNN(2, 2, activation="elu", seed=0), "an RNN with another activation than torch's: tanh and relu"),
        (lc.Stack([lc.BatchFirst(lc.RNN(2, 2, seed=0))]), "should stand around the whole model to be written"),
    ]:
        with pytest.raises(ValueError, match=words):
            torch_source(model)


@pytest.mark.parametrize("dtype", [",", "int8", "complex64", "half", ""])
def test_weights_are_written_as_numbers_with_fractions(torch, dtype):
    model = lc.LSTM(2, 3, seed=0)
    for write in (to_torch, state_dict):
        with pytest.raises(ValueError, match=f"`dtype` should be float16, bfloat16, float32 or float64; got {dtype!r}"):
            write(model, dtype)
