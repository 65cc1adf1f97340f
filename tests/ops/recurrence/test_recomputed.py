"""States kept every k steps and the rest computed again: the bits of the plain layer, in little memory."""

import re
import tracemalloc

import numpy as np
import pytest

import lstmcore as lc
from lstmcore.debug.jacobian.jacobian import step_jacobians
from lstmcore.layers import from_config
from lstmcore.ops.recurrence.recomputed import cuts_of


def step(layer, x, dy, mask=None, dstate=None):
    """y, final state, dx, dstate0 and all gradients of one step of training, as one flat dict."""
    y, last, cache = layer.forward(x, mask=mask)
    dx, dstate0, grads = layer.backward(dy, cache, dstate)
    return {"y": y, "last": last, "dx": dx, "dstate0": dstate0, **grads}


def same_bits(a, b):
    if isinstance(a, tuple):
        return all(map(same_bits, a, b))
    return a is b or (a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes())


def case(T, B, I, H, dtype="float32", S=2, seed=0):
    rng = np.random.default_rng(seed)
    x, dy = (rng.standard_normal((T, B, width)).astype(dtype) for width in (I, H))
    return x, dy, tuple(rng.standard_normal((S, B, H)).astype(dtype)), rng.random((T, B)) < 0.7


SHAPES = [(700, 3, 5, 9), (300, 40, 7, 33), (100, 8, 64, 160)]  # one task, tiles of rows, parts


@pytest.mark.parametrize("kind", [lc.LSTM, lc.GRU, lc.RNN])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("masked", [False, True])
def test_compiled_bits_are_those_of_the_plain_layer(kind, shape, masked):
    x, dy, dstate, mask = case(*shape, S=2 if kind is lc.LSTM else 1)
    if masked:
        x[~mask], dy[~mask] = np.nan, np.nan
    plain = kind(*shape[2:], seed=1, engine="fused-cpu")
    again = kind(*shape[2:], seed=1, engine="fused-cpu", recompute=True)
    wanted, got = (step(layer, x, dy, mask if masked else None, dstate) for layer in (plain, again))
    assert len(again.forward(x, mask=mask if masked else None)[2].private.cuts) > 2  # there were pieces
    for name in wanted:
        assert same_bits(wanted[name], got[name]), name


@pytest.mark.parametrize("k", [1, 50, True])
def test_any_number_of_steps_and_no_dy_and_the_last_state(k):
    x, dy, dstate, mask = case(100, 17, 4, 8, "float64")
    for sequences in (True, False):
        options = {"seed": 1, "dtype": "float64", "return_sequences": sequences}
        for engine in ("fused-cpu", "reference"):
            plain, again = (lc.LSTM(4, 8, engine=engine, recompute=r, **options) for r in (False, k))
            for upstream in (dy if sequences else dy[0], None):
                wanted, got = (step(layer, x, upstream, mask, dstate) for layer in (plain, again))
                if engine == "fused-cpu":
                    assert all(same_bits(wanted[name], got[name]) for name in wanted)
                else:
                    for name in ("dx", "W_ih", "W_hh", "b"):  # the products are BLAS's, which promises no order
                        assert np.abs(got[name] - wanted[name]).max() <= 1e-12 * np.abs(wanted[name]).max(), name


def test_containers_hold_such_layers():
    x, _, _, mask = case(400, 5, 6, 4)
    dy = np.random.default_rng(1).standard_normal((400, 5, 8)).astype("float32")

    def model(k):
        first = lc.Bidirectional(lc.LSTM(6, 4, seed=0, recompute=k), lc.GRU(6, 4, seed=1, recompute=k))
        second = lc.Bidirectional(lc.RNN(8, 4, seed=2, recompute=k), lc.LSTM(8, 4, seed=3, recompute=k))
        return lc.Stack([first, second])

    wanted, got = step(model(False), x, dy, mask), step(model(True), x, dy, mask)
    assert all(same_bits(wanted[name], got[name]) for name in wanted if name not in ("last", "dstate0"))


@pytest.mark.parametrize("engine", ["fused-cpu", "reference"])
def test_gradcheck_goes_through_it(engine):
    layer = lc.Bidirectional(*(lc.LSTM(2, 3, seed=s, engine=engine, recompute=3, dtype="float64") for s in (0, 1)))
    x, _, _, mask = case(20, 60, 2, 3, "float64")
    assert len(layer.forward(x, mask=mask)[2].parts[0].private.cuts) > 2
    assert lc.debug.gradcheck(layer, x, mask=mask, directions=2).ok
    own = lc.LSTM(2, 3, seed=0, proj_size=2, recompute=4, dtype="float64")  # its step takes a product of its own
    assert lc.debug.gradcheck(own, x, mask=mask, directions=2).ok


def test_memory_grows_with_the_root():
    x, dy, _, _ = case(4096, 4, 2, 16)
    peaks = {}
    for k in (False, True):
        layer = lc.LSTM(2, 16, seed=0, engine="fused-cpu", recompute=k)
        step(layer, x[:512], dy[:512])  # compiled
        tracemalloc.start()
        step(layer, x, dy)
        peaks[k] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    outputs = 4096 * 4 * (16 + 2) * 4  # y and dx, which the caller gets
    kept = (4 + 2) * 16 * 4 * 4  # a step of gates and states, in bytes
    assert peaks[False] > 4096 * kept
    assert peaks[True] < outputs + 5 * 64 * kept


def test_buffers_are_used_again_and_backward_twice_is_the_same():
    x, dy, _, mask = case(300, 3, 4, 5)
    layer = lc.LSTM(4, 5, seed=0, recompute=50)
    y, _, cache = layer.forward(x, mask=mask)
    first, second = layer.backward(dy, cache), layer.backward(dy, cache)
    assert all(same_bits(first[2][name], second[2][name]) for name in first[2])
    before = y.copy()
    _, _, later = layer.forward(2 * x, mask=mask, reuse=cache)
    assert later.y is cache.y
    with pytest.raises(ValueError, match="`cache` was overwritten"):
        layer.backward(dy, cache)
    y, _, later = layer.forward(x, mask=mask, reuse=later)
    assert same_bits(y, before)
    assert all(same_bits(first[2][name], g) for name, g in layer.backward(dy, later)[2].items())


def test_what_changes_meanwhile_is_found():
    x, dy, _, _ = case(300, 3, 4, 5)
    layer = lc.LSTM(4, 5, seed=0, recompute=50)
    _, _, cache = layer.forward(x)
    x[:] = 0
    with pytest.raises(ValueError, match="`x` has changed since `forward`"):
        layer.backward(dy, cache)
    _, _, cache = layer.forward(x)
    layer.params["W_hh"] *= 2
    with pytest.raises(ValueError, match="parameter 'W_hh' has changed since `forward`"):
        layer.backward(dy, cache)
    plain = lc.LSTM(4, 5, seed=0)
    _, _, cache = plain.forward(x)
    plain.recompute = 50
    with pytest.raises(ValueError, match="`recompute` has changed since `forward`: call `forward` again"):
        plain.backward(dy, cache)


@pytest.mark.parametrize("k", [0, -1, 2.5, "sqrt", None])
def test_what_is_no_number_of_steps_is_refused(k):
    text = f"`recompute` should be a number of steps, True (near sqrt(T)) or False; got {k!r}"
    with pytest.raises(ValueError, match=re.escape(text)):
        lc.LSTM(2, 3, recompute=k)


def test_files_and_copies_keep_it(tmp_path):
    for k in (True, 32, False):
        model = lc.Stack([lc.LSTM(2, 3, seed=0, recompute=k), lc.GRU(3, 2, seed=1)])
        lc.save(tmp_path / "model.safetensors", model)
        for twin in (lc.load(tmp_path / "model.safetensors"), from_config(model.config()), model.to("float64")):
            assert twin.layers[0].recompute is k or twin.layers[0].recompute == k != True  # noqa: E712
            assert repr(twin) == repr(model)
        assert ("recompute" in model.config()["layers"][0]) == bool(k)


def test_tools_see_every_step():
    x, dy, _, mask = case(60, 3, 2, 4, "float64")
    plain, again = (lc.LSTM(2, 4, seed=0, dtype="float64", recompute=r) for r in (False, 8))
    assert str(lc.debug.flow(plain, x, dy, mask=mask)) == str(lc.debug.flow(again, x, dy, mask=mask))
    assert str(lc.debug.ledger(plain, x, dy, mask=mask)) == str(lc.debug.ledger(again, x, dy, mask=mask))
    wanted, got = (step_jacobians(layer, layer.forward(x, mask=mask)[2]) for layer in (plain, again))
    assert same_bits(wanted, got)


def test_cuts_stand_on_ends_of_chunks_counted_from_the_end():
    assert cuts_of(10, 3, 1) == (0, 1, 4, 7, 10)
    assert cuts_of(10, 3, 4) == (0, 2, 6, 10)
    assert cuts_of(10, 10, 1) == cuts_of(10, 99, 1) == (0, 10)
    assert cuts_of(100, True) == (0, *range(10, 100, 10), 100)
    assert cuts_of(1, 1, 1) == (0, 1)
