"""The watch on a living torch.nn.LSTM: what is recorded, what is compared, and what is said where it cannot be.

In float64 the framework's gradients and lstmcore's differ by rounding only: a tolerance of 4096 units, as in gradcheck.
"""

import re

import numpy as np
import pytest

import lstmcore as lc
from lstmcore.debug import watch

T, B, I, H = 6, 3, 4, 5


def train(torch, module, x, state=None, lengths=None, use=("y", "final"), seed=0):
    """One forward and backward pass through a random linear loss of what `use` names."""
    generator = torch.Generator().manual_seed(seed)
    given = x
    if lengths is not None:
        given = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, module.batch_first, enforce_sorted=False)
    y, final = module(given) if state is None else module(given, state)
    y = y.data if lengths is not None else y
    outputs = [y] if "y" in use else []
    if "final" in use:
        outputs += list(final) if isinstance(final, tuple) else [final]
    sum((out * torch.randn(out.shape, generator=generator, dtype=out.dtype)).sum() for out in outputs).backward()


def random_state(torch, module, dtype, grad=True):
    layers = module.num_layers * (2 if module.bidirectional else 1)
    parts = [torch.randn(layers, B, H, dtype=dtype, requires_grad=grad) for _ in range(1 + (module.mode == "LSTM"))]
    return tuple(parts) if len(parts) == 2 else parts[0]


@pytest.mark.pairwise
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("lengths", [None, (4, 6, 1)])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_torch_agrees(torch, kind, num_layers, bidirectional, bias, batch_first, lengths, dtype):
    torch.manual_seed(1)
    dtype = getattr(torch, dtype)
    module = getattr(torch.nn, kind)(
        I, H, num_layers, bias=bias, bidirectional=bidirectional, batch_first=batch_first, dtype=dtype
    )
    x = torch.randn((B, T, I) if batch_first else (T, B, I), dtype=dtype, requires_grad=True)
    with watch(module) as seen:
        train(torch, module, x, random_state(torch, module, dtype), lengths)
    assert seen.ok, str(seen)
    compared = {row.name for row in seen.rows}
    params = {name for name in seen.layer.params if bias or "W" in name}
    assert {"y", "dx"} | {re.sub(r"(\w+)$", r"d\1", name) for name in params} <= compared
    assert sum("dh0" in name for name in compared) == num_layers * (1 + bidirectional)
    assert all(abs(row.ours) > 1e-6 for row in seen.rows)  # something was compared
    if lengths:
        np.testing.assert_array_equal(seen.calls[0].mask, lc.mask_from_lengths(lengths, T))
    assert not module._forward_hooks and not module._forward_pre_hooks  # noqa: PT018  nothing is left behind


@pytest.mark.parametrize("use", ["y", "final"])
def test_outputs_that_the_loss_does_not_use(torch, use):
    torch.manual_seed(2)
    module = torch.nn.LSTM(I, H, 2)
    with watch(module) as seen:
        train(torch, module, torch.randn(T, B, I), use=(use,))
    assert seen.ok, str(seen)
    assert np.any(seen.calls[0].dy) == (use == "y")
    assert "dx" not in {row.name for row in seen.rows}  # x wanted no gradient


def test_gradients_left_from_another_step_do_not_count(torch):
    torch.manual_seed(3)
    module, x = torch.nn.LSTM(I, H), torch.randn(T, B, I)
    train(torch, module, x)  # stays in .grad
    with watch(module) as seen:
        train(torch, module, x)
    assert seen.ok, str(seen)


@pytest.mark.parametrize("seed", range(8))
def test_no_false_alarm_where_rounding_grows(torch, seed):
    """Weights 15 times the usual: the recurrence is chaotic, and nobody's float32 gradient is right."""
    torch.manual_seed(seed)
    module = torch.nn.LSTM(I, 32)
    with torch.no_grad():
        for weight in module.parameters():
            weight *= 15
    with watch(module) as seen:
        train(torch, module, torch.randn(60, B, I))
    assert seen.ok, str(seen)
    assert max(row.error for row in seen.rows) > 1e-3  # 4096 roundings alone would be 5e-4


def test_chaos_is_said(torch):
    torch.manual_seed(0)
    module = torch.nn.LSTM(I, 32)
    with torch.no_grad():
        for weight in module.parameters():
            weight *= 60
    with watch(module) as seen:
        train(torch, module, torch.randn(60, B, I))
    assert "note: this recurrence is chaotic" in str(seen)
    tame = torch.nn.LSTM(I, H)
    with watch(tame) as seen:
        train(torch, tame, torch.randn(T, B, I))
    assert "chaotic" not in str(seen)


def test_two_calls_in_one_step_add_up(torch):
    """Truncated nowhere: the state is handed on, and gradients come back through both calls."""
    torch.manual_seed(4)
    module, x = torch.nn.LSTM(I, H), torch.randn(2 * T, B, I, requires_grad=True)
    with watch(module) as seen:
        y1, state = module(x[:T])
        y2, _ = module(x[T:], state)
        (y1.sin().sum() + y2.cos().sum()).backward()
    assert seen.ok, str(seen)
    assert len(seen.calls) == 2
    with pytest.raises(RuntimeError, match="cannot be diagnosed: the layer was called 2 times"):
        seen.diagnose()
    assert {"y (call 0)", "dx (call 0)", "dx (call 1)", "dh0 (call 1)"} <= {row.name for row in seen.rows}


def test_an_input_used_elsewhere_too(torch):
    """A residual connection: the gradient compared is that through the LSTM alone."""
    torch.manual_seed(5)
    module, x = torch.nn.LSTM(I, I), torch.randn(T, B, I, requires_grad=True)
    with watch(module) as seen:
        ((module(x)[0] + 3 * x) ** 2).sum().backward()
    assert seen.ok, str(seen)


def test_unbatched_input_and_subclasses(torch):
    class Mine(torch.nn.LSTM):
        pass

    module = Mine(I, H)
    with watch(module) as seen:
        module(torch.randn(T, I))[0].sum().backward()
    assert seen.ok, str(seen)
    assert seen.calls[0].x.shape == (T, 1, I)


@pytest.mark.parametrize("name", ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"])
def test_a_wrong_gradient_is_found(torch, name):
    """A hook of somebody's own spoils one number of one gradient by one per cent of the largest."""
    torch.manual_seed(6)
    module = torch.nn.LSTM(I, H)

    def spoil(gradient):
        wrong = gradient.clone()
        wrong.view(-1)[3] += 0.01 * gradient.abs().max()
        return wrong

    getattr(module, name).register_hook(spoil)
    with watch(module) as seen:
        train(torch, module, torch.randn(T, B, I))
    assert seen.ok is False
    wrong = [row for row in seen.rows if row.error > row.allowed]
    assert len(wrong) == 1
    assert wrong[0].error == pytest.approx(0.01, rel=0.01)
    assert "WRONG" in str(seen)
    assert f"differ in {wrong[0].name}" in str(seen)


def test_hooks_of_somebody_else_come_first(torch):
    """A clip on the output: the layer gets the clipped gradient back, and of that torch makes the right thing."""
    torch.manual_seed(7)
    lower, upper = torch.nn.LSTM(I, H), torch.nn.LSTM(H, H)
    with watch(lower) as seen:
        y, _ = lower(torch.randn(T, B, I))
        y.register_hook(lambda g: g.clamp(-0.001, 0.001))
        upper(y)[0].pow(2).sum().backward()
    assert seen.ok, str(seen)
    assert np.abs(seen.calls[0].dy).max() == pytest.approx(0.001)


@pytest.mark.parametrize("p", [0.4, 1.0])
@pytest.mark.parametrize("lengths", [None, (4, 6, 1)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dropout_between_layers_is_seen(torch, dtype, lengths, p):
    """What torch drew is replayed: in training, and nothing in evaluation."""
    torch.manual_seed(10)
    dtype = getattr(torch, dtype)
    module = torch.nn.GRU(I, H, 3, dropout=p, bidirectional=True, batch_first=True, dtype=dtype)
    x = torch.randn(B, T, I, dtype=dtype, requires_grad=True)
    with watch(module) as seen:
        train(torch, module, x, lengths=lengths)
    assert seen.ok, str(seen)
    drawn = seen.calls[0].drawn["2"]  # before the third layer
    assert set(np.unique(drawn)) == ({0.0, float(torch.tensor(1 / (1 - p), dtype=dtype))} if p < 1 else {0.0})
    assert {"0.fw.dW_ih", "1.1.bw.dW_hh", "2.1.fw.db"} <= {row.name for row in seen.rows}  # "k.0" is the dropout
    assert seen.show(lc.debug.ledger).ok
    assert seen.diagnose().ok
    with watch(module.eval()) as seen:
        train(torch, module, x, lengths=lengths)
    assert seen.ok, str(seen)
    assert "0.fw.dW_ih" in {row.name for row in seen.rows}
    assert not seen.calls[0].drawn


def test_frozen_weights_are_left_out_and_named(torch):
    module = torch.nn.LSTM(I, H)
    module.weight_hh_l0.requires_grad_(False)
    with watch(module) as seen:
        train(torch, module, torch.randn(T, B, I))
    assert seen.ok
    assert {row.name for row in seen.rows} == {"y", "dW_ih", "db", "db (bias_hh_l0)"}
    assert "frozen, so without a gradient to compare: weight_hh_l0" in str(seen)


def test_other_tools_see_the_step(torch):
    """Packed input: ledger, flow and padding proof of a step that cuDNN would keep to itself."""
    torch.manual_seed(8)
    module, x = torch.nn.LSTM(I, H, 2, bidirectional=True), torch.randn(T, B, I)
    with watch(module) as seen:
        train(torch, module, x, lengths=(4, 6, 1))
    ledger = seen.show(lc.debug.ledger)
    assert ledger.ok
    assert "7 of 18 steps are padding; they give exactly nothing" in ledger.findings
    assert ledger["0.fw.W_hh"].ok
    assert seen.show(lc.debug.padding).ok
    assert seen.show(lc.debug.tripwire).ok
    assert "0.fw, forward in time" in str(seen.show(lc.debug.flow))


def test_a_mistake_is_named(torch):
    """Hooks that put the blocks of every gradient into another gate's place, as a wrong conversion does."""
    torch.manual_seed(9)
    module = torch.nn.LSTM(I, H)
    for weight in module.parameters():
        weight.register_hook(lambda g: g.reshape(4, H, -1)[[0, 2, 1, 3]].reshape(g.shape))
    with watch(module) as seen:
        train(torch, module, torch.randn(T, B, I))
    diagnosis = seen.diagnose()
    assert not diagnosis.ok
    assert "i g f o" in diagnosis.names[0]
    right = torch.nn.LSTM(I, H)
    with watch(right) as seen:
        train(torch, right, torch.randn(T, B, I))
    assert seen.diagnose().ok


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", ["projection", "relu"])
def test_options_that_lstmcore_has(torch, kind, bidirectional):
    torch.manual_seed(12)
    if kind == "relu":
        module = torch.nn.RNN(I, H, 2, nonlinearity="relu", bidirectional=bidirectional)
    else:
        module = torch.nn.LSTM(I, H, 2, proj_size=2, bidirectional=bidirectional, dtype=torch.float64)
    dtype = next(module.parameters()).dtype
    with watch(module) as seen:
        train(torch, module, torch.randn(T, B, I, requires_grad=True, dtype=dtype), lengths=(4, 6, 1))
    assert seen.ok, str(seen)
    assert any(name.endswith("dW_hr") for name in {row.name for row in seen.rows}) == (kind == "projection")
    option = "proj_size" if kind == "projection" else "activation"
    with pytest.raises(RuntimeError, match=f"mistakes are not searched with {option}"):
        seen.diagnose()


def test_no_biases_no_rows_for_them(torch):
    module = torch.nn.LSTM(I, H, bias=False)
    with watch(module) as seen:
        train(torch, module, torch.randn(T, B, I))
    assert seen.ok, str(seen)
    assert {row.name for row in seen.rows} == {"y", "dW_ih", "dW_hh"}


def test_what_is_not_there_is_said(torch):
    module = torch.nn.LSTM(I, H)
    with pytest.raises(RuntimeError, match="was not called inside the with block: as layer"), watch(module):
        module.forward(torch.randn(T, B, I))
    with pytest.raises(RuntimeError, match="no gradient came back"), watch(module), torch.no_grad():
        module(torch.randn(T, B, I))
    with (
        pytest.raises(TypeError, match=r"should be a torch.nn.LSTM, GRU or RNN, or a cell of these; got Linear"),
        watch(torch.nn.Linear(3, 4)),
    ):
        pass
    model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.ModuleDict({"lstm": module}))
    with (
        pytest.raises(TypeError, match=r"one recurrent layer; Sequential holds 1.lstm: watch\(model.1.lstm\)"),
        watch(model),
    ):
        pass
    with pytest.raises(TypeError, match=r"or a recurrent Keras 3 layer; got LSTM"), watch(lc.LSTM(3, 4)):
        pass
    assert not module._forward_hooks  # taken off after an error too


def test_two_steps_in_one_watch_are_refused(torch):
    module, x = torch.nn.LSTM(I, H), torch.randn(T, B, I)

    def two_steps():
        with watch(module):
            train(torch, module, x)
            with torch.no_grad():
                module.bias_ih_l0 += 1
            train(torch, module, x)

    with pytest.raises(RuntimeError, match="watch one training step at a time: the weights changed between two calls"):
        two_steps()
    assert not module._forward_hooks
