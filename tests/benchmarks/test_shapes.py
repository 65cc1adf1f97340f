"""The list of shapes; and every engine on those that are quickly computed, to the bound that precedes timing."""

import numpy as np
import pytest

from benchmarks import problem, shapes
from benchmarks.peers import solve
from benchmarks.peers.lstmcore import Peer
from benchmarks.truth import truth

QUICK = {name: s for name, s in shapes.SHAPES.items() if shapes.gigaflops(s, "full", s.T * s.B) < 2}


def test_choose():
    assert list(shapes.choose("count,loop64")) == ["count", "loop64"]
    assert shapes.choose("sweep-H,count").keys() == {*shapes.SWEEPS["H"], "count"}
    assert shapes.choose("all") == shapes.SHAPES
    with pytest.raises(ValueError, match=r"`shapes` should name some of named, padded, .*; got 'nothing'"):
        shapes.choose("count,nothing")


def test_gigaflops():
    """count: 20,000 rows and steps, 4 gates of 24 units, 1 + 24 inputs each; two operations; three such products."""
    count = shapes.SHAPES["count"]
    assert shapes.gigaflops(count, "forward", 20_000) == pytest.approx(20_000 * 4 * 24 * 25 * 2 / 1e9)
    assert shapes.gigaflops(count, "full", 20_000) == pytest.approx(20_000 * 4 * 24 * 25 * 6 / 1e9)


def test_lengths_are_what_they_are_said_to_be():
    batch = problem.make(shapes.SHAPES["peptide-half"]).batch
    assert (batch.lengths.min(), batch.lengths.max()) == (1, 30)
    assert batch.steps() == batch.mask().sum() == 31 * 200 / 2
    assert not np.all(np.diff(batch.lengths) >= 0)  # in no order
    assert problem.make(shapes.SHAPES["peptide"]).batch.steps() == 31 * 200


def test_the_same_numbers_in_both_dtypes():
    shape = shapes.SHAPES["peptide-5-31"]
    single, double = problem.make(shape), problem.make(shape, "float64")
    assert double.dy.dtype == np.float64
    assert np.array_equal(single.batch.x, double.batch.x)
    assert np.array_equal(single.params["W_hh"], double.astype("float32").params["W_hh"])


@pytest.mark.pairwise("name", "mode")
@pytest.mark.parametrize("mode", problem.MODES)
@pytest.mark.parametrize("name", QUICK)
def test_engines_are_right_where_they_are_timed(other_engine, name, mode):
    if other_engine.library != "numpy":
        pytest.skip("benchmarks compute with NumPy arrays")
    task = problem.make(QUICK[name])
    got = solve(Peer(1, other_engine.engine), task, mode)
    assert 0 < truth(task, mode, 1).check(got) <= 1


def test_there_are_quick_shapes():
    assert {"count", "count8", "loop64", "stream", "peptide-5-31"} <= QUICK.keys()
