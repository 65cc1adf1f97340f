"""What the engine hands to its kernels, by the names that the kernels' own text gives them."""

import inspect
import re
from itertools import product

import numpy as np
import pytest

import lstmcore as lc
from lstmcore.ops.recurrence.cpu import fused, plan
from lstmcore.ops.recurrence.cpu.kernels import MAKERS, arguments
from lstmcore.ops.recurrence.cpu.scratch import LINE

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
    layer = lc.LSTM(I, H, "float32", seed=0, engine=fused.fused_cpu)
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
    planned = fused.planned(lc.LSTM.cell, T, B, I, H, "float32", masked)
    for call, way in ((ahead, "forward"), (back, "backward")):
        assert (call["parts"], call["chunk"]) == (planned.parts, getattr(planned, f"{way}_chunk"))
        assert len(call["counters"]) == getattr(planned, f"{way}_counters")
    assert (back["unit_panels"], back["input_panels"]) == (planned.unit_panels, planned.input_panels)
    assert ahead["joined"] == planned.weights.joined
    assert (ahead["packed"].size, back["packed"].size) == (planned.forward_packed, planned.backward_packed)
    assert back["shared"].nbytes == planned.da_bytes
    assert ahead["clean"].shape == ((T if masked else 0), B)


def test_a_task_asks_for_no_memory():
    """Where there is none it would fail, and those who wait for it at the next meeting would wait for ever."""
    for way, make in MAKERS.items():
        assert not re.search(r"empty\(|zeros\(|ones\(|\.copy\(", inspect.getsource(make)), way
    # every task has room for all rows of a chunk, whatever the cut
    for threads, rows, masked in product((1, 2, 3, 8), (1, 2, 17, 100, 1000), (False, True)):
        p = plan.plan(lc.LSTM.cell, 20, rows, 3, 300, "float32", masked, threads)
        for counters, chunk in ((p.forward_counters, p.forward_chunk), (p.backward_counters, p.backward_chunk)):
            each = (counters - LINE * len(p.edges)) / p.tasks
            assert each == int(each) >= np.diff(p.edges).max() * chunk + chunk + 1


def test_rows_of_a_mask_are_not_shared_while_there_are_tiles_for_all():
    """Their tasks would meet at every step, and gain nothing: on two threads each tile goes alone."""
    for rows, H, masked in product((17, 20, 21, 64, 200), (128, 256), (False, True)):
        p = plan.plan(lc.LSTM.cell, 50, rows, 64, H, "float32", masked, 2)
        assert len(p.edges) == 2 or p.parts == 1
