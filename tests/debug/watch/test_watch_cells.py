"""The watch on cells of torch that a loop calls step by step, and on layers called for one step at a time."""

import numpy as np
import pytest

import lstmcore as lc
from lstmcore.debug import watch

T, B, I, H = 6, 3, 4, 5
CELLS = ["LSTMCell", "GRUCell", "RNNCell", "RNNCell relu"]


def made(torch, kind, **options):
    torch.manual_seed(1)
    name, _, nonlinearity = kind.partition(" ")
    options |= {"nonlinearity": nonlinearity} if nonlinearity else {}
    return getattr(torch.nn, name)(I, H, dtype=torch.float64, **options)


def inputs(torch, *shape):
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def run(torch, cell, x, state=None, between=lambda t, state: state):
    """The loop that everybody writes; all h. `between` does something with each state before it is handed on."""
    outputs = []
    for t, x_t in enumerate(x):
        state = between(t, cell(x_t) if state is None else cell(x_t, state))
        outputs.append(state[0] if isinstance(state, tuple) else state)
    return torch.stack(outputs)


def names(seen):
    return {row.name for row in seen.rows}


@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("given", [True, False])
@pytest.mark.parametrize("kind", CELLS)
def test_a_loop_is_one_sequence(torch, kind, given, bias, batched):
    cell = made(torch, kind, bias=bias)
    x = inputs(torch, T, B, I) if batched else inputs(torch, T, I)
    h0 = inputs(torch, *x.shape[1:-1], H)
    state = (h0, inputs(torch, *h0.shape)) if kind == "LSTMCell" else h0
    with watch(cell) as seen:
        run(torch, cell, x, state if given else None).sin().sum().backward()
    assert seen.ok, str(seen)
    assert len(seen.calls) == 1
    assert seen.calls[0].x.shape == (T, B if batched else 1, I)
    assert {"y", "dx", "dW_ih", "dW_hh"} <= names(seen)
    assert ("db" in names(seen), "dh0" in names(seen)) == (bias, given)
    assert seen.precision == "float64"
    assert max(row.error for row in seen.rows) < 1e-13
    assert not seen.cuts
    assert not cell._forward_hooks
    assert not cell._forward_pre_hooks


def test_tools_see_the_whole_loop(torch):
    cell = made(torch, "LSTMCell")
    with watch(cell) as seen:
        run(torch, cell, inputs(torch, T, B, I))[-1].sum().backward()
    assert not np.any(seen.calls[0].dy[:-1])  # the loss saw the last h alone: what came from the next step is no dy
    assert seen.show(lc.debug.ledger).ok
    assert "forward in time" in str(seen.show(lc.debug.flow))
    assert seen.diagnose().ok


def test_dropout_on_the_state_between_steps(torch):
    """Then every step is a call of its own, and the state that it got is compared too."""
    cell = made(torch, "LSTMCell")
    with watch(cell) as seen:
        drop = torch.nn.functional.dropout
        run(torch, cell, inputs(torch, T, B, I), between=lambda t, s: (drop(s[0], 0.4), s[1])).sin().sum().backward()
    assert seen.ok, str(seen)
    assert len(seen.calls) == T
    assert "dh0 (call 5)" in names(seen)


def test_many_calls_are_printed_short(torch):
    cell = made(torch, "GRUCell")
    with watch(cell) as seen:
        run(torch, cell, inputs(torch, 20, B, I), between=lambda t, h: 0.9 * h).sin().sum().backward()
    assert seen.ok, str(seen)
    assert len(seen.rows) > 60
    assert len(str(seen).splitlines()) < 16


def test_batches_that_shrink(torch):
    cell, x, h, total = made(torch, "GRUCell"), inputs(torch, T, B, I), None, 0
    with watch(cell) as seen:
        for x_t, rows in zip(x, (3, 3, 2, 2, 1, 1)):
            h = cell(x_t[:rows], None if h is None else h[:rows])
            total = total + h.sin().sum()
        total.backward()
    assert seen.ok, str(seen)
    assert sum(call.x.shape[0] * call.x.shape[1] for call in seen.calls) == 12


def test_one_cell_in_two_loops(torch):
    cell, x = made(torch, "LSTMCell"), inputs(torch, T, B, I)
    with watch(cell) as seen:
        (run(torch, cell, x).sin().sum() + run(torch, cell, x.flip(0)).cos().sum()).backward()
    assert seen.ok, str(seen)
    assert [len(call.x) for call in seen.calls] == [T, T]


def test_a_loss_that_looks_at_c(torch):
    """What comes back to c from outside has no place in dy: the sequence is cut there."""
    cell, state, total = made(torch, "LSTMCell"), None, 0
    with watch(cell) as seen:
        for t, x_t in enumerate(inputs(torch, T, B, I)):
            state = cell(x_t, state)
            total = total + state[0].sum() + (state[1].sin().sum() if t == 2 else 0)
        total.backward()
    assert seen.ok, str(seen)
    assert [len(call.x) for call in seen.calls] == [3, 3]


def test_layers_stacked_by_hand(torch):
    """Two cells, one above the other, and the upper is watched: its input has a gradient that goes on down."""
    lower, upper = made(torch, "LSTMCell"), torch.nn.LSTMCell(H, H, dtype=torch.float64)
    with watch(upper) as seen:
        run(torch, upper, run(torch, lower, inputs(torch, T, B, I))).sin().sum().backward()
    assert seen.ok, str(seen)
    assert "dx" in names(seen)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_a_decoder_of_one_step_at_a_time(torch, kind):
    """A layer called with T = 1, with attention over its state: also one sequence."""
    torch.manual_seed(2)
    module, x = getattr(torch.nn, kind)(I, H, dtype=torch.float64), inputs(torch, T, B, I)
    state = inputs(torch, 1, B, H)
    state, total = ((state, inputs(torch, 1, B, H)) if kind == "LSTM" else state), 0
    with watch(module) as seen:
        for x_t in x:
            y, state = module(x_t[None], state)
            total = total + y.sin().sum() + (state[0] if kind == "LSTM" else state).cos().sum()
        total.backward()
    assert seen.ok, str(seen)
    assert [len(call.x) for call in seen.calls] == [T]
    assert {"dh0", "dx"} <= names(seen)


@pytest.mark.parametrize("how", ["detach", "data", "no_grad", "numpy"])
@pytest.mark.parametrize("kind", CELLS[:2])
def test_a_detached_state_is_named(torch, kind, how):
    cell = made(torch, kind)

    def cut(h):
        if how == "no_grad":
            with torch.no_grad():
                return h.clone()
        return {
            "detach": h.detach,
            "data": lambda: h.data,
            "numpy": lambda: torch.from_numpy(h.detach().numpy().copy()),
        }[how]()

    def between(t, state):
        return state if t != 2 else tuple(map(cut, state)) if isinstance(state, tuple) else cut(state)

    with watch(cell) as seen:
        x, outputs, state = inputs(torch, T, B, I), [], None
        for t, x_t in enumerate(x):
            state = cell(x_t, state)
            outputs.append(state[0] if isinstance(state, tuple) else state)
            state = between(t, state)
        torch.stack(outputs).sin().sum().backward()
    assert seen.ok, str(seen)  # of what ran each gradient is right
    states = "h and c" if kind == "LSTMCell" else "h"
    assert seen.cuts == (f"call 1 began with the final {states} of call 0 without its gradient",)
    assert f"DETACHED: {seen.cuts[0]}: what came later taught nothing before" in str(seen)


def test_layers_called_for_each_piece_of_a_sequence(torch):
    """Truncated backpropagation as most people write it, all in one step."""
    torch.manual_seed(3)
    module, state, total = torch.nn.LSTM(I, H, 2, dtype=torch.float64), None, 0
    with watch(module) as seen:
        for piece in inputs(torch, 12 * T, B, I).split(T):
            y, state = module(piece, state)
            state = tuple(part.detach() for part in state)
            total = total + y.sin().sum()
        total.backward()
    assert seen.ok, str(seen)
    assert len(seen.cuts) == 11
    assert "call 8 began with the final h and c of call 7 without its gradient; and 3 more:" in str(seen)


def test_a_state_from_another_step_is_not_detached(torch):
    """Carried over from the batch before, as everybody does: nothing was lost inside this step."""
    cell, x = made(torch, "GRUCell"), inputs(torch, T, B, I)
    h = run(torch, cell, x)[-1].detach()
    with watch(cell) as seen:
        run(torch, cell, x, h).sin().sum().backward()
    assert seen.ok
    assert not seen.cuts


def test_steps_without_a_gradient_are_left_out(torch):
    """A warm-up under no_grad, and a look at the validation data in between."""
    cell, x = made(torch, "LSTMCell"), inputs(torch, T, B, I)
    with watch(cell) as seen:
        with torch.no_grad():
            h = run(torch, cell, x)[-1]
        loss = run(torch, cell, x, (h, torch.zeros_like(h))).sin().sum()
        with torch.inference_mode():
            run(torch, cell, x.detach())
        loss.backward()
    assert seen.ok, str(seen)
    assert "12 calls to which no gradient came back left out" in str(seen)
    assert [len(call.x) for call in seen.calls] == [T]
