"""What the engine hands to its kernels, by the names that the kernels' own text gives them."""

import numpy as np
import pytest

import lstmcore as lc
from lstmcore.ops.recurrence.cpu import fused
from lstmcore.ops.recurrence.cpu.kernels import MAKERS, arguments

T, B, I, H, K, S = 7, 5, 3, 4, 4, 2


@pytest.fixture
def calls(monkeypatch):
    """(way, arguments by name) of every call of a kernel."""
    made, machine = [], fused._machine()
    way = {machine.kernel(lc.LSTM.cell, "float32", way): way for way in MAKERS}

    def run(kernel, given, *rest):
        names = arguments(MAKERS[way[kernel]](lc.LSTM.cell, "float32"))
        made.append((way[kernel], dict(zip(names, given, strict=True))))
        machine.run(kernel, given, *rest)

    monkeypatch.setattr(fused, "_machine", lambda: machine._replace(run=run))
    return made


@pytest.mark.parametrize("masked", [False, True])
def test_every_argument_has_its_own_place(calls, masked):
    layer = lc.LSTM(I, H, "float32", seed=0, engine=fused)
    rng = np.random.default_rng(0)
    x, dy = (rng.standard_normal((T, B, width), np.float32) for width in (I, H))
    state, dstate = (tuple(rng.standard_normal((S, B, H), np.float32)) for _ in range(2))
    mask = rng.random((T, B)) < 0.7 if masked else None
    _, _, cache = layer.forward(x, state, mask)
    dx, dstate0, _ = layer.backward(dy, cache, dstate)
    (forward, ahead), (backward, back) = calls
    assert (forward, backward) == ("forward", "backward")
    buffers = cache.private

    for call in (ahead, back):
        assert np.array_equal(call["x"], cache.x if call is back else x)
        assert np.array_equal(call["mask"], mask if masked else np.ones((T, B), bool))
        assert call["states"] is buffers.states
        assert call["gates"] is cache.gates
        assert call["W_ih"] is layer.params["W_ih"]
        assert call["edges"][[0, -1]].tolist() == [0, B]
        assert call["counters"].shape == (6,)
    assert all(map(np.shares_memory, ahead["state0"], state))
    assert ahead["y"] is buffers.y
    assert ahead["x_kept"] is buffers.x
    assert ahead["W_hh"] is layer.params["W_hh"]
    assert ahead["bias"] is layer.params["b"]
    assert ahead["groups"].dtype.names[0] == "first"
    assert ahead["panels"].dtype.names[0] == "start"
    assert back["dy"] is dy
    assert back["W_hh"][:H].tobytes() == layer.params["W_hh"].tobytes()
    assert all(map(np.shares_memory, back["dstate_end"], dstate))
    assert all(np.shares_memory(back["dstate"], d) for d in dstate0)
    assert back["dx"] is dx
    assert back["sums"].shape[1:] == (I + 1 + H, K, H)
    plan = fused._planned(fused._machine(), lc.LSTM.cell, T, B, I, H, "float32", masked)
    for call, chunk in ((ahead, plan.forward_chunk), (back, plan.backward_chunk)):
        assert (call["parts"], call["chunk"]) == (plan.parts, chunk)
    assert (back["unit_panels"], back["input_panels"]) == (plan.unit_panels, plan.input_panels)
    assert ahead["joined"] == plan.weights.joined
    assert (ahead["packed"].size, back["packed"].size) == (plan.forward_packed, plan.backward_packed)
    assert back["shared"].nbytes == plan.da_bytes
    assert ahead["clean"].shape == ((T if masked else 0), B)
