"""The watch where torch computes more coarsely than in float32: judged by the format that ran, and it is said.

Allowed are 8 + sqrt(T) units of rounding of that format, and what shaking every weight by one of them does. Right
training stays within a third of that (tried up to T = 100, H = 32), and a gradient that is wrong by half
of its largest number does not.
"""

import contextlib

import pytest

from lstmcore.debug import watch
from lstmcore.debug.watch.agreement import FEW
from lstmcore.debug.watch.seen import PRECISIONS

KINDS = ["LSTM", "GRU", "RNN", "LSTMCell", "GRUCell"]
SHAPES = [(5, 2, 3, 4), (40, 2, 4, 16)]


def outputs(torch, module, x, state=None):
    if not hasattr(module, "weight_hh"):
        return module(x)[0]
    found = []
    for x_t in x:
        state = module(x_t, state)
        found.append(state[0] if isinstance(state, tuple) else state)
    return torch.stack(found)


def train(torch, kind, how, shape, seed=0, plant=lambda module: None, scale=1.0):
    """A step on squared errors; how: "autocast", or the dtype of the module."""
    torch.manual_seed(seed)
    T, B, I, H = shape
    dtype = torch.float32 if how == "autocast" else getattr(torch, how)
    module, x = getattr(torch.nn, kind)(I, H).to(dtype), torch.randn(T, B, I).to(dtype).requires_grad_()
    plant(module)
    with watch(module) as seen:
        with torch.autocast("cpu", torch.bfloat16) if how == "autocast" else contextlib.nullcontext():
            y = outputs(torch, module, x)
        ((y.float() - torch.randn(T, B, H)).pow(2).mean() * scale).backward()
    return seen


@pytest.mark.parametrize("how", ["autocast", "bfloat16", "float16"])
@pytest.mark.parametrize("kind", KINDS)
def test_right_training_is_called_right(torch, kind, how):
    precision = "bfloat16" if how == "autocast" else how
    for seed, shape in enumerate(SHAPES):
        seen = train(torch, kind, how, shape, seed)
        assert seen.ok, str(seen)
        assert max(row.error / row.allowed for row in seen.rows) < 1 / 3, str(seen)
        assert max(row.error for row in seen.rows) > 1e-5  # such a format was at work
        assert seen.precision == precision
        by = " where the weights are float32" if how == "autocast" else ""
        assert f"computed in {precision}{by}: compared as far as its rounding" in str(seen)
        assert "chaotic" not in str(seen)
    with pytest.raises(RuntimeError, match=f"{precision} is too coarse to tell mistakes apart"):
        seen.diagnose()


@pytest.mark.parametrize("how", ["autocast", "bfloat16", "float16"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_gradient_is_found(torch, kind, how):
    def plant(module):
        weight = module.weight_hh if "Cell" in kind else module.weight_hh_l0
        weight.register_hook(lambda g: 1.5 * g)

    for seed, shape in enumerate(SHAPES[: 1 if "Cell" in kind else 2]):
        seen = train(torch, kind, how, shape, seed, plant)
        assert [row.name for row in seen.rows if not row.ok] == ["dW_hh"], str(seen)


def test_gradients_that_vanish_in_float16_are_no_mistake(torch):
    """A mean over very many makes gradients below its smallest number; a GradScaler's factor saves them."""
    lost = train(torch, "LSTM", "float16", SHAPES[0], scale=2.0**-16)
    assert lost.ok, str(lost)
    saved = train(torch, "LSTM", "float16", SHAPES[0], scale=1.0)
    assert saved.ok, str(saved)
    db = {row.name: row for row in lost.rows}["db"], {row.name: row for row in saved.rows}["db"]
    assert db[0].error > 20 * db[1].error  # it was lost


def test_what_is_allowed(torch):
    """By the format of the module alone where nothing makes it coarser."""
    for how, units in (("bfloat16", FEW + 5**0.5), ("float32", 4096), ("float64", 4096)):
        seen = train(torch, "LSTM", how, SHAPES[0])
        least = units * PRECISIONS[how].eps
        assert all(least < row.allowed < 2 * least for row in seen.rows), str(seen)


def test_a_cell_that_is_coarse_inside_alone(torch):
    """Under autocast a cell's products run in bfloat16, and what it gives is float32."""
    cell, x = torch.nn.LSTMCell(3, 4), torch.randn(2, 3)
    with watch(cell) as seen:
        with torch.autocast("cpu", torch.bfloat16):
            h, c = cell(x)
        (h.sin().sum() + c.sum()).backward()
    assert h.dtype == torch.float32
    assert seen.precision == "bfloat16"
    assert seen.ok, str(seen)
