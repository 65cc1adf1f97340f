"""Two directions: what each half is, the sum of both, and what a container refuses."""

import numpy as np
import pytest
from cases import MASKS, Problem, by_complex_step, make_mask

import lstmcore as lc
from lstmcore.layers import from_config


def directions(merge: str = "concat"):
    fw, bw = lc.LSTM(3, 4, dtype="float64", seed=1), lc.GRU(3, 4, dtype="float64", seed=2)
    return fw, bw, lc.Bidirectional(fw, bw, merge=merge)


@pytest.mark.parametrize("length", [1, 3, 5])
def test_the_backward_half_reads_from_the_rows_end(length):
    """With padding behind it, a row of some length gives what that length alone gives, read backwards. A few eps."""
    _, bw, both = directions()
    x = np.random.default_rng(0).normal(size=(5, 1, 3))
    y, _ = both.predict(x, mask=lc.mask_from_lengths([length], 5))
    alone, _ = bw.predict(x[:length][::-1])
    assert np.max(np.abs(y[:length, :, 4:] - alone[::-1])) <= 20 * np.finfo(float).eps
    assert not y[length:].any()


@pytest.mark.parametrize("mask", MASKS)
def test_the_sum_of_both(mask):
    """merge="sum": y is the sum of the halves, and dy reaches both; gradients by complex step, to 1e-12."""
    fw, bw, both = directions("sum")
    rng = np.random.default_rng(1)
    x, dy, where = rng.normal(size=(4, 2, 3)), rng.normal(size=(4, 2, 4)), make_mask(mask, 4, 2, rng)
    y, _, cache = both.forward(x, mask=where)
    halves, _ = lc.Bidirectional(fw, bw).predict(x, mask=where)
    assert np.array_equal(y, halves[..., :4] + halves[..., 4:])
    dx, dstate, grads = both.backward(dy, cache)
    twin = both.to(dtype="complex128", engine="reference")
    want = by_complex_step(lambda v: np.sum(dy * twin.predict(v, mask=where)[0]), x)
    assert np.max(np.abs(dx - want)) <= 1e-12 * max(1.0, np.max(np.abs(want)))
    assert [part[0].shape for part in dstate] == [(2, 4), (2, 4)]
    split = lc.Bidirectional(fw, bw)
    _, _, cache = split.forward(x, mask=where)
    _, _, want = split.backward(np.concatenate([dy, dy], axis=-1), cache)
    assert grads.keys() == want.keys()
    for name, value in want.items():
        assert np.array_equal(grads[name], value), name


def test_it_does_reverse():
    """Nothing but the first input differs from zero: the backward half knows of it at step 0 only."""
    fw, bw = lc.RNN(1, 1, dtype="float64", seed=0), lc.RNN(1, 1, dtype="float64", seed=1)
    x = np.zeros((4, 1, 1))
    x[0] = 1.0
    y, _ = lc.Bidirectional(fw, bw).predict(x)
    assert (y[:, 0, 0] != 0).tolist() == [True] * 4
    assert (y[:, 0, 1] != 0).tolist() == [True, False, False, False]


def test_configuration_and_names():
    _, _, both = directions("sum")
    assert repr(both) == "Bidirectional(LSTM(3, 4), GRU(3, 4), merge='sum')"
    assert from_config(both.config()).config() == both.config()


def test_directions_of_other_widths_cannot_be_added():
    """The sum of 2 and 3 columns is refused when the layer is made, or at the latest when it runs."""
    both = ("bidirectional", ("lstm", 3, 2), ("lstm", 3, 3))
    assert Problem(both).dy.shape == (5, 3, 5)
    with pytest.raises(ValueError, match="`fw` and `bw` should give outputs of one width to be merged by 'sum'; got 2"):
        lc.Bidirectional(lc.LSTM(3, 2), lc.LSTM(3, 3), merge="sum").predict(np.ones((1, 1, 3), "float32"))


@pytest.mark.parametrize("merge", ["sum", "mean", "mul", "none"])
def test_merges_put_the_two_outputs_together(merge, tmp_path):
    """Each is the formula of its name, its gradients are exact, padding changes nothing, and files keep it."""
    fw, bw, both = directions(merge)
    x = np.random.default_rng(0).standard_normal((5, 3, 3)).astype(fw.params["b"].dtype)
    mask = np.array([[1, 1, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0], [1, 0, 0]], bool)
    one, other = fw.predict(x, mask=mask)[0], bw.predict(x[::-1], mask=mask[::-1])[0][::-1]
    want = {"sum": one + other, "mean": (one + other) / 2, "mul": one * other, "none": np.stack([one, other], axis=2)}
    np.testing.assert_array_equal(both.predict(x, mask=mask)[0], want[merge])
    np.testing.assert_array_equal(both.forward(x, mask=mask)[0], want[merge])
    assert lc.debug.gradcheck(both, x, mask=mask, seed=0).worst < 1e-12
    assert lc.debug.ledger(both, x, mask=mask).ok
    lc.save(tmp_path / "both.safetensors", both)
    np.testing.assert_array_equal(lc.load(tmp_path / "both.safetensors").predict(x, mask=mask)[0], want[merge])


def test_none_is_refused_for_final_states():
    fw, bw = (lc.LSTM(3, 2, return_sequences=False) for _ in range(2))
    with pytest.raises(
        ValueError, match='`merge` "none" leaves outputs of every step apart; with return_sequences=Fal'
    ):
        lc.Bidirectional(fw, bw, merge="none")
