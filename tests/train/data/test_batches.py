"""Batches: every row once per epoch, the right numbers together, and epochs that can be repeated and resumed."""

import copy
import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstmcore.train import Batches, pad

T, N = 6, 23


def data(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x[t, n] = (n, t), so that every number says where it came from; targets n; random masks with gaps, none empty."""
    x = np.stack(np.broadcast_arrays(np.arange(N)[None, :], np.arange(T)[:, None]), axis=-1).astype("float32")
    mask = np.random.default_rng(seed).random((T, N)) < 0.5
    return x, np.arange(N), mask | (~mask.any(axis=0) & (np.arange(T) == 2)[:, None])


def rows_of(batches: Batches) -> list[list[int]]:
    """The rows of each batch of one epoch."""
    return [batch.targets.tolist() for batch in batches]


@given(batch_size=st.integers(1, 30), shuffle=st.booleans(), bucketed=st.booleans(), seed=st.integers(0, 99))
def test_every_row_exactly_once_per_epoch(batch_size, shuffle, bucketed, seed):
    """And each with its own x, mask and target."""
    x, targets, mask = data(seed)
    batches = Batches(x, targets, mask, batch_size=batch_size, seed=seed, shuffle=shuffle, bucketed=bucketed)
    for _ in range(3):
        epoch = list(batches)
        assert len(epoch) == len(batches)
        assert sorted(row for batch in epoch for row in batch.targets) == list(range(N))
        assert sorted(len(batch.targets) for batch in epoch)[1:] == [min(batch_size, N)] * (len(epoch) - 1)
        for batch in epoch:
            steps = len(batch.x)
            np.testing.assert_array_equal(batch.x, x[:steps, batch.targets])
            np.testing.assert_array_equal(batch.mask, mask[:steps, batch.targets])
            assert not mask[steps:, batch.targets].any()  # nothing real was cut off
            assert steps == T or bucketed
            assert batch.x.flags.c_contiguous
            assert batch.x.dtype == np.float32


def test_every_epoch_in_a_new_order_and_the_same_for_the_same_seed():
    x, targets, _ = data()
    one, two, other = (Batches(x, targets, batch_size=5, seed=seed) for seed in (7, 7, 8))
    epochs = [rows_of(one) for _ in range(3)]
    assert epochs == [rows_of(two) for _ in range(3)]
    assert epochs[0] != epochs[1] != epochs[2]
    assert rows_of(other) not in epochs


def test_a_shared_generator_does_not_move():
    """Whoever saves and restores a generator that dropout shares with the batches disturbs neither."""
    rng, untouched = np.random.default_rng(7), np.random.default_rng(7)
    one, two = (Batches(*data()[:2], batch_size=5, seed=rng) for _ in range(2))
    assert rows_of(one) != rows_of(two)  # no twins
    assert rng.bit_generator.state == untouched.bit_generator.state


def test_without_shuffling_in_the_order_of_the_data():
    batches = Batches(*data()[:2], batch_size=10, shuffle=False)
    assert rows_of(batches) == rows_of(batches) == [list(range(10)), list(range(10, 20)), [20, 21, 22]]


def test_targets_per_step_and_per_row():
    x, _, mask = data()
    per_step = np.arange(T * N * 2).reshape(T, N, 2)
    for batch in Batches(x, per_step, mask, batch_size=4, seed=0, bucketed=True):
        rows = batch.x[0, :, 0].astype(int)
        np.testing.assert_array_equal(batch.targets, per_step[: len(batch.x), rows])
    per_row = np.arange(N * 2).reshape(N, 2)
    for batch in Batches(x, per_row, mask, batch_size=4, seed=0):
        np.testing.assert_array_equal(batch.targets, per_row[batch.x[0, :, 0].astype(int)])


def test_class_indices_as_inputs():
    x = np.arange(T * N).reshape(T, N)
    for batch in Batches(x, x[0], batch_size=4, seed=0):
        np.testing.assert_array_equal(batch.x[0], batch.targets)


def test_buckets_hold_rows_of_similar_length():
    """320 rows fit into one pool of 32 batches of 10, which sorts them all: the lengths do not overlap."""
    lengths = np.random.default_rng(0).integers(0, 41, 320)
    mask = np.arange(40)[:, None] < lengths
    batches = Batches(np.zeros((40, 320, 1)), np.arange(320), mask, batch_size=10, seed=0, bucketed=True)
    epoch = list(batches)
    spans = sorted((lengths[batch.targets].min(), lengths[batch.targets].max()) for batch in epoch)
    assert all(above <= below for (_, above), (below, _) in itertools.pairwise(spans))
    assert [len(batch.x) for batch in epoch] == [max(lengths[batch.targets].max(), 1) for batch in epoch]
    assert [len(batch.x) for batch in epoch] != sorted(len(batch.x) for batch in epoch)  # in random order
    assert sum(batch.mask.size for batch in epoch) < 0.6 * mask.size
    members = {frozenset(batch.targets.tolist()) for batch in epoch}
    assert members != {frozenset(batch.targets.tolist()) for batch in batches}  # rows of one length change places


def test_pools_keep_buckets_random():
    """With more rows than a pool holds, who shares a batch changes from epoch to epoch, although all lengths differ."""
    count = 100
    mask = np.arange(count)[:, None] < np.arange(1, count + 1)
    batches = Batches(np.zeros((count, count, 1)), np.arange(count), mask, batch_size=2, seed=0, bucketed=True)
    one, two = ({frozenset(rows) for rows in rows_of(batches)} for _ in range(2))
    assert one != two


# ---- going on where we were -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("bucketed", [False, True])
@pytest.mark.parametrize("position", [0, 1, 3, 5])
@pytest.mark.parametrize("epochs_before", [0, 2])
def test_a_saved_state_goes_on_in_the_middle_of_an_epoch(bucketed, position, epochs_before):
    """Position 5 is after the last of the 5 batches: the rest of the epoch is empty."""

    def build(seed):
        return Batches(*data(), batch_size=5, seed=seed, bucketed=bucketed)

    undisturbed = build(1)
    for _ in range(epochs_before):
        list(undisturbed)
    rest, state = [], copy.deepcopy(undisturbed.state)
    for k, batch in enumerate(undisturbed, start=1):
        if k == position:
            state = json.loads(json.dumps(undisturbed.state))  # as it comes back from a file
        if k > position:
            rest.append(batch)
    resumed = build(99)
    resumed.state = state
    assert resumed.state == state
    for wanted, got in [(rest, list(resumed)), *[(list(undisturbed), list(resumed)) for _ in range(2)]]:
        assert len(wanted) == len(got)
        for one, two in zip(wanted, got, strict=True):
            for a, b in zip(one, two, strict=True):
                np.testing.assert_array_equal(a, b)
    assert undisturbed.state == resumed.state
    assert resumed.state["position"] == 0


def test_a_look_at_the_first_batch_costs_no_row():
    batches = Batches(*data(), batch_size=5, seed=0)
    next(iter(batches))
    assert sorted(itertools.chain(*rows_of(batches))) == list(range(N))


def test_a_wrong_state_is_refused():
    batches = Batches(*data(), batch_size=5, seed=0)
    for state in ({}, {"position": 1}, batches.state | {"position": 6}, batches.state | {"position": -1}):
        with pytest.raises(ValueError, match="`state` should be the state of batches like these, of 5 an epoch"):
            batches.state = state


# ---- padding --------------------------------------------------------------------------------------------------------


def test_pad():
    sequences = [np.full((n, 2), n, "float32") for n in (3, 0, 1)]
    x, mask = pad(sequences)
    assert x.shape == (3, 3, 2)
    assert x.dtype == np.float32
    assert mask.dtype == bool
    np.testing.assert_array_equal(mask, [[1, 0, 1], [1, 0, 0], [1, 0, 0]])
    np.testing.assert_array_equal(x[..., 0], [[3, 0, 1], [3, 0, 0], [3, 0, 0]])
    assert pad(sequences, T=5)[0].shape == (5, 3, 2)
    letters, _ = pad([np.array([4, 5]), np.array([6])])
    np.testing.assert_array_equal(letters, [[4, 6], [5, 0]])


@pytest.mark.parametrize(
    ("sequences", "T", "error", "message"),
    [
        ([], None, ValueError, "at least one sequence; got none"),
        ([np.zeros((2, 3)), np.zeros((2, 4))], None, ValueError, r"got \(2, 3\) at 0, \(2, 4\) at 1"),
        ([np.zeros(2), np.zeros(2, "float32")], None, TypeError, "one dtype; got float64 at 0, float32 at 1"),
        ([np.zeros(2), [0.0]], None, TypeError, "arrays of one library; got list at 1"),
        ([np.zeros(2), np.zeros(5)], 4, ValueError, "`T` should be at least 1 and the longest length, 5; got 4"),
        ([np.zeros((0, 3))], None, ValueError, "`T` should be at least 1"),
    ],
)
def test_what_cannot_be_padded_is_refused(sequences, T, error, message):
    with pytest.raises(error, match=message):
        pad(sequences, T)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"x": np.zeros(5)}, ValueError, r"`x` should be \(T, N, ...\) without an empty axis; got \(5,\)"),
        ({"x": np.zeros((0, N, 2))}, ValueError, "without an empty axis"),
        ({"x": [[1.0]]}, TypeError, "should be arrays of one library; `x` is list"),
        ({"targets": [1] * N}, TypeError, "`targets` is list"),
        ({"targets": np.zeros(N + 1)}, ValueError, r"`targets` should be \(23, ...\) or \(6, 23, ...\).*got \(24,\)"),
        ({"targets": np.zeros(N), "per_step": True}, ValueError, r"`targets` should be \(6, 23, ...\)"),
        ({"targets": np.zeros((T, N)), "per_step": False}, ValueError, r"`targets` should be \(23, ...\)"),
        ({"mask": np.ones((N, T), bool)}, ValueError, r"`mask` should be bool \(T, N\) = \(6, 23\).*\(batch first\?\)"),
        ({"mask": np.ones((T, N))}, ValueError, "got float64"),
        ({"mask": None, "bucketed": True}, ValueError, "`bucketed` needs a mask"),
        ({"batch_size": 0}, ValueError, "`batch_size` should be a positive int; got 0"),
        ({"batch_size": 2.5}, ValueError, "`batch_size` should be a positive int; got 2.5"),
        ({"seed": "x"}, TypeError, "`seed` should be"),
    ],
)
def test_wrong_data_is_refused(change, error, message):
    x, targets, mask = data()
    arguments = {"x": x, "targets": targets, "mask": mask, "batch_size": 5} | change
    with pytest.raises(error, match=message):
        Batches(**arguments)


def test_a_square_data_set_asks_what_its_targets_are():
    x, targets = np.zeros((4, 4, 1)), np.arange(16).reshape(4, 4)
    with pytest.raises(ValueError, match=r"T = N = 4, so `targets` \(4, 4\) may be per step or per row: say per_step="):
        Batches(x, targets, batch_size=2)
    per_step, per_row = (Batches(x, targets, batch_size=2, per_step=k, shuffle=False) for k in (True, False))
    np.testing.assert_array_equal(next(iter(per_step)).targets, targets[:, :2])
    np.testing.assert_array_equal(next(iter(per_row)).targets, targets[:2])


def test_only_standard_array_functions(array_api_strict):
    x, targets, mask = data()
    strict = [array_api_strict.asarray(value) for value in (x, targets, mask)]
    for bucketed in (False, True):
        plain = Batches(x, targets, mask, batch_size=5, seed=0, bucketed=bucketed)
        other = Batches(*strict, batch_size=5, seed=0, bucketed=bucketed)
        for one, two in zip(plain, other, strict=True):
            for a, b in zip(one, two, strict=True):
                assert type(b) is type(strict[0])
                np.testing.assert_array_equal(a, np.asarray(b))
    padded, padded_mask = pad([array_api_strict.ones((2, 1)), array_api_strict.ones((1, 1))])
    np.testing.assert_array_equal(np.asarray(padded)[..., 0], [[1, 1], [1, 0]])
    np.testing.assert_array_equal(np.asarray(padded_mask), [[1, 1], [1, 0]])


def test_weights_draw_rows_with_replacement_in_proportion():
    """20,000 draws, p = 0.1, 0.2, 0.7, 0: each share within five standard deviations, sqrt(p (1 - p) / n) < 0.0036."""
    x = np.arange(4.0).reshape(1, 4, 1)
    batches = Batches(x, np.arange(4), batch_size=3, seed=1, weights=np.array([1, 2, 7, 0]))
    drawn = np.concatenate([batch.targets for _ in range(5_000) for batch in batches])
    assert len(drawn) == 20_000
    shares = np.bincount(drawn, minlength=4) / len(drawn)
    np.testing.assert_allclose(shares, [0.1, 0.2, 0.7, 0], atol=5 * 0.0036)
    assert shares[3] == 0


@pytest.mark.parametrize(
    ("weights", "options", "message"),
    [
        (np.ones(3), {}, r"`weights` should be \(N,\) = \(4,\), as x fixes it; got \(3,\)"),
        (np.array([1, -1, 1, 1]), {}, "not negative"),
        (np.zeros(4), {}, "not all zero"),
        (np.array([1, np.nan, 1, 1]), {}, "finite"),
        (np.ones(4), {"shuffle": False}, "drawing at random"),
    ],
)
def test_weights_that_are_none_are_refused(weights, options, message):
    with pytest.raises(ValueError, match=message):
        Batches(np.ones((1, 4, 1)), np.arange(4), batch_size=2, weights=weights, **options)


def test_a_loop_that_was_left_can_be_forgotten():
    """A state that was assigned is not."""
    x = np.arange(10.0)[None, :, None]
    one, two = (Batches(x, x, batch_size=3, seed=0, per_step=True) for _ in range(2))
    for batches in (one, two):
        next(iter(batches))
    assert one.state["position"] == 1
    one.rewind()
    assert one.state["position"] == 0
    for got, expected in zip(one, two, strict=True):
        np.testing.assert_array_equal(got.x, expected.x)
    one.state = two.state | {"position": 2}
    one.rewind()
    assert one.state["position"] == 2
    assert len(list(one)) == 2


@pytest.mark.parametrize("bucketed", [False, True])
def test_rows_without_a_real_step_are_refused_by_name(bucketed):
    """Per step there is no mean loss of nothing; a target per row is learnt from the initial state."""
    x, rows, mask = data()
    mask[0], mask[:, [3, 17]] = True, False
    options = {"batch_size": 5, "bucketed": bucketed}
    with pytest.raises(
        ValueError, match=r"a real step in every row; 2 of 23 have none: 3, 17 \(leave them out: keep ="
    ):
        Batches(x, x, mask, **options)
    keep = mask.any(axis=0)
    assert all(batch.mask.any() for batch in Batches(x[:, keep], x[:, keep], mask[:, keep], **options))
    assert len(Batches(x, x, mask, weights=keep.astype(float), **options)) == 5  # they are never drawn
    assert len(Batches(x, rows, mask, **options)) == 5
