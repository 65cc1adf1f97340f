"""Counting ones: the data, the shared prefixes of the test, and the goal itself."""

import numpy as np
import pytest

from lstmcore.recipes import count


def test_bits_and_ones_say_the_same_as_python():
    index = np.array([0, 1, 2**20 - 1, 0b10011011101001101110])
    x = count.bits(index)
    assert x.shape == (20, 4, 1)
    assert x.dtype == np.float32
    for b, n in enumerate(index):
        assert "".join(str(int(bit)) for bit in x[:, b, 0]) == f"{n:020b}"
        assert count.ones(index)[b] == f"{n:b}".count("1")


def test_natural_examples_are_different_strings():
    index = count.examples(np.random.default_rng(0), 10_000, balanced=False)
    assert len(set(index.tolist())) == 10_000
    assert index.min() >= 0
    assert index.max() < 2**20


def test_balanced_examples_give_every_count_the_same_share():
    index = count.examples(np.random.default_rng(0), 10_000, balanced=True)
    assert len(set(index.tolist())) == 10_000
    shares = np.bincount(count.ones(index), minlength=21)
    # One string has no ones, 20 have one, 190 two; the other fifteen counts share what is left of the 10,000.
    assert shares[[0, 1, 2, 18, 19, 20]].tolist() == [1, 20, 190, 190, 20, 1]
    assert np.ptp(shares[3:18]) <= 1
    assert shares.sum() == 10_000


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_shared_prefixes_give_what_string_by_string_gives(cell, monkeypatch):
    """The test set is run as a tree; here a sample of it goes the long way. Of 16 bits: test_cli.py runs all of 20."""
    monkeypatch.setattr(count, "BITS", 16)
    monkeypatch.setattr(count, "STRINGS", 2**16)
    options = count.Options(hidden=3, layers=2, cell=cell, engine="reference")
    net = count.model(options, np.random.default_rng(1))
    learnt = np.arange(0, 2**16, 7)
    logits = {}
    for first, some in count._logits_of_all(net):
        logits.update({n: some[n - first] for n in range(first, first + len(some), 2501)})
    index = np.array(sorted(logits))
    y, _ = net.predict(count.bits(index))
    # Both ways are the same 16 float32 steps in another batch: each step may round its few sums (16 roundings) anew.
    atol = 16 * 16 * 2.0**-24 * np.abs(y).max()
    np.testing.assert_allclose(np.array([logits[n] for n in index]), y, rtol=0, atol=atol)

    wrong, tested = count.errors(net, learnt)
    assert tested.sum() == 2**16 - len(learnt)
    assert tested[0] == 0  # string 0 was learnt
    assert tested[16] == 1  # 2^16 - 1 is no multiple of 7
    assert (wrong <= tested).all()
