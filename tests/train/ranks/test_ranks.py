"""A training on many ranks: the same bits on 1, 2, 4 and 8 of them, and the gradient of the whole batch.

Ranks here are threads; real ones, of mpiexec, have test_real_ranks.py.
"""

import copy
import threading
from itertools import pairwise

import numpy as np
import pytest
from cases import reals
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import answer
from thread_ranks import B, Comm, Exchange, I, T, V, data, model_of, on_ranks

import lstmcore as lc
from lstmcore.arrays import is_array
from lstmcore.recipes import count, loops, text
from lstmcore.recipes.loops import generator
from lstmcore.recipes.loops.torsions import UNDEFINED, masked_squared_error
from lstmcore.train.ranks.draws import SharedDraws
from lstmcore.train.ranks.ranks import Ranks, in_pairs


def training(per_step, epochs=3, **options):
    def do(ranks):
        model = model_of(per_step)
        history = lc.fit(model, lc.softmax_cross_entropy, data(per_step), lc.AdamW(0.01), epochs=epochs, clip=0.5,
                         rng=3, ranks=ranks, progress=False, **options)  # fmt: skip
        return {name: w.copy() for name, w in model.params.items()}, [row["loss"] for row in history["epochs"]]

    return do


@pytest.mark.parametrize("per_step", [False, True])
def test_the_same_bits_on_any_number_of_ranks(per_step):
    ((want, losses),) = on_ranks(1, training(per_step))
    for size in (2, 4, 8):
        for params, row in on_ranks(size, training(per_step)):
            assert row == losses
            for name, w in want.items():
                np.testing.assert_array_equal(params[name], w, err_msg=name)


@pytest.mark.parametrize("per_step", [False, True])
def test_the_loss_and_gradient_of_the_whole_batch(per_step):
    """One update by SGD without dropout: what `fit` does alone, to the rounding of a sum in another order."""
    x, targets, mask = next(iter(data(per_step)))

    def do(ranks):
        model = model_of(per_step, dropout=0.0).to("float64")
        history = lc.fit(model, lc.softmax_cross_entropy, [(x.astype("float64"), targets, mask)], lc.SGD(1.0),
                         epochs=1, ranks=ranks, progress=False)  # fmt: skip
        return model, history["epochs"][0]["loss"]

    one, loss = do(None)
    for two, shared in (*on_ranks(4, do), *on_ranks(1, do)):
        assert shared == pytest.approx(loss, rel=1e-14)
        for name, w in one.params.items():
            # a sum of at most T B terms, none larger than 1 over the items, in two orders, and the update's rounding
            np.testing.assert_allclose(two.params[name], w, rtol=0, atol=4 * T * B * 2.0**-53)


@pytest.mark.parametrize("kind", [np.random.PCG64, np.random.MT19937])
def test_noise_is_that_of_one(kind):
    whole, rng = (np.random.Generator(kind(5)) for _ in range(2))
    share = SharedDraws(rng)
    share.begin(B)
    want = [whole.random((T, B, 2)), whole.random((B, 3)), whole.random(7), whole.random((1, B, 4))]
    for first, end in ((0, 4), (4, 13), (12, 13)):
        share.of(first, end)
        n = end - first
        np.testing.assert_array_equal(share.random((T, n, 2)), want[0][:, first:end])
        np.testing.assert_array_equal(share.random((n, 3)), want[1][first:end])
        np.testing.assert_array_equal(share.random((7,)), want[2])
        np.testing.assert_array_equal(share.random((1, n, 4)), want[3][:, first:end])
    np.testing.assert_array_equal(rng.random(5), whole.random(5))  # and the next batch goes on from there


def test_segments_on_ranks():
    ((want, losses),) = on_ranks(1, training(True, epochs=2, segments=2))
    for params, row in on_ranks(4, training(True, epochs=2, segments=2)):
        assert row == losses
        for name, w in want.items():
            np.testing.assert_array_equal(params[name], w, err_msg=name)


def test_state_is_carried_from_batch_to_batch():
    rng = np.random.default_rng(0)
    pieces = [(rng.standard_normal((T, 16, I)).astype("float32"), rng.integers(0, V, (T, 16))) for _ in range(4)]

    def do(ranks):
        model = model_of(True)
        lc.fit(model, lc.softmax_cross_entropy, pieces, lc.Adam(), epochs=2, rng=3, ranks=ranks, carry_state=True,
               progress=False)  # fmt: skip
        return model.params

    (want,) = on_ranks(1, do)
    for params in on_ranks(4, do):
        for name, w in want.items():
            np.testing.assert_array_equal(params[name], w)


def test_goes_on_with_another_number_of_ranks(tmp_path):
    ((want, _),) = on_ranks(1, training(True, epochs=4))

    def first(ranks):
        return training(True, epochs=2, callbacks=[lc.Checkpoints(tmp_path, every_seconds=None)])(ranks)

    on_ranks(4, first)
    state = lc.Checkpoints(tmp_path).last()
    assert state["counts"]["epoch"] == 2
    for params, _ in on_ranks(
        2, training(True, epochs=4, resume=state, callbacks=[lc.Checkpoints(tmp_path, every_seconds=None)])
    ):
        for name, w in want.items():
            np.testing.assert_array_equal(params[name], w)


@pytest.mark.parametrize("recipe", ["count", "text", "loops"])
def test_recipes_to_the_same_bits(recipe, nightly):
    """Dropout, rows of unequal length, a state that is carried on: a few updates by day, 200 by night."""
    updates = 200 if nightly else 4

    def do(ranks):
        if recipe == "count":
            job, _ = count.job(count.Options(hidden=4, batch=50, examples=50 * updates, epochs=1, dropout=0.2))
        elif recipe == "text":
            options = text.Options(hidden=4, batch=13, steps=7, epochs=1, dropout=0.2)
            job = text.job(*text.split("to be or not to be, " * (5 * updates + 30), options), options)
        else:
            options = loops.Options(widths=(4, 4), batch=13, epochs=1, dropout=0.2)
            job = loops.prepare(generator.generate(20 * updates), options).training
        history = lc.fit(job.model, job.loss, job.batches, job.opt, **job.options, ranks=ranks, progress=False)
        assert history["step"] >= updates
        return {name: w.copy() for name, w in job.model.params.items()}

    (want,) = on_ranks(1, do)
    for size in (2, 4, 8):
        for params in on_ranks(size, do):
            for name, w in want.items():
                np.testing.assert_array_equal(params[name], w, err_msg=name)


class Watched(np.ndarray):
    """Adds up how many numbers are taken from it, in `taken`."""

    __module__ = "numpy"  # as of numpy.memmap, one of NumPy's arrays

    def __array_finalize__(self, whole):
        self.taken = getattr(whole, "taken", [0])

    def take(self, *given, **options):
        found = np.asarray(self).take(*given, **options)
        self.taken[0] += found.size
        return found


@pytest.mark.parametrize("carry_state", [False, True])
def test_each_rank_reads_its_own_rows(carry_state):
    """Of the training data in three epochs, and of the validation data in three."""
    rng = np.random.default_rng(0)

    def of(rows):
        x, targets = rng.standard_normal((rows * T, I)).astype("float32"), rng.integers(0, V, rows * T)
        if carry_state:
            return lc.train.Stream(x.view(Watched), targets, batch_size=B, steps=T)
        x = x.reshape(T, rows, I).view(Watched)
        return lc.Batches(x, targets.reshape(T, rows), batch_size=B, per_step=True, seed=0)

    batches, validation = of(3 * B), of(2 * B)

    def do(ranks):
        mine = [copy.deepcopy(data) for data in (batches, validation)]
        for part in mine:
            part.x.taken = [0]
        lc.fit(model_of(True), lc.softmax_cross_entropy, mine[0], lc.SGD(0.1), epochs=3, ranks=ranks, progress=False,
               validation=mine[1], carry_state=carry_state)  # fmt: skip
        return sum(end - first for first, end in ranks.own(B)), [data.x.taken[0] for data in mine]

    for size in (1, 2, 4, 8):
        found = on_ranks(size, do)
        assert sum(rows for rows, _ in found) == B
        for rows, taken in found:
            assert taken == [3 * 3 * T * rows * I, 3 * 2 * T * rows * I]


def test_batches_with_a_loop_of_their_own_are_read_by_it():
    """A subclass that changes what it gives, as for more data: ranks learn from the same, and judge by it. Without a
    seed they draw as the first does."""

    class Doubled(lc.Batches):
        def __iter__(self):
            return (batch._replace(x=2 * batch.x) for batch in super().__iter__())

    x, targets = np.ones((T, B, I), "float32"), np.zeros((T, B), int)

    def do(batches):
        def on(ranks):
            model = model_of(True)
            history = lc.fit(model, lc.softmax_cross_entropy, batches(), lc.SGD(0.1), epochs=2, rng=0, ranks=ranks,
                             validation=batches(), progress=False)  # fmt: skip
            return [(row["loss"], row["validation"]) for row in history["epochs"]], model.params["0.W_ih"]

        return on

    ((want, W_ih),) = on_ranks(1, do(lambda: [(2 * x, targets)]))
    for rows, also in on_ranks(2, do(lambda: Doubled(x, targets, batch_size=B, per_step=True, shuffle=False))):
        assert rows == want
        np.testing.assert_array_equal(also, W_ih)


@pytest.mark.parametrize("case", ["rows of a length of their own", "a state that is carried on", "no row for some"])
def test_validation_is_shared(mpi4py, case):
    """To the same bits where the sum is exact; else to the rounding of a sum of 240 positive numbers in two orders,
    which differ by 16 roundings each, as sums of some 8 products do."""
    rng = np.random.default_rng(2)
    pieces = [(rng.standard_normal((T, B, I)), rng.integers(0, V, (T, B)), None) for _ in range(3)]
    x, targets, mask = next(iter(data(True, seed=1)))
    few = [(x[:, :n].astype("float64"), targets[:, :n], mask[:, :n]) for n in (3, 1, 5)]
    own = [(x.astype("float64"), targets, mask) for x, targets, mask in data(True, seed=1)]
    validation, carry_state = {"r": (own, False), "a": (pieces, True), "n": (few, False)}[case[0]]
    metrics = {"accuracy": lc.train.accuracy, "perplexity": lc.train.perplexity}

    def do(ranks):
        history = lc.fit(model_of(True).to("float64"), lc.softmax_cross_entropy, pieces, lc.SGD(0.0), epochs=1,
                         rng=3, ranks=ranks, validation=validation, metrics=metrics, carry_state=carry_state,
                         progress=False)  # fmt: skip
        (row,) = history["epochs"]
        return [row[name] for name in ("validation", *metrics)]

    want = do(None)
    ((one),) = on_ranks(1, do)
    for size in (2, 4, 8):
        assert on_ranks(size, do) == [one] * size
    rounding = 2 * (240 + 16) * 2.0**-53
    for loss, accuracy, perplexity in (one, *on_ranks(3, do, exact=None)):
        assert [loss, accuracy] == pytest.approx(want[:2], rel=rounding, abs=0)
        # e^(m + d) = e^m (1 + d): what the mean is off by, and an ulp of each exp
        assert perplexity == pytest.approx(want[2], rel=want[0] * rounding + 4 * 2.0**-53, abs=0)


@pytest.mark.parametrize("exact", [True, None])
def test_metrics_that_are_no_means_are_those_of_one_rank(mpi4py, exact):
    """The root of a mean and a maximum, of rows of very different size: of whole batches, and with them the loss. Where
    ranks find different numbers, the first's count."""
    rng = np.random.default_rng(3)
    x, targets = rng.standard_normal((T, 2 * B, I)), rng.standard_normal((T, 2 * B, V))
    targets *= np.linspace(0.1, 3, 2 * B)[:, None]
    calls = []

    def do(ranks):
        model = model_of(True).to("float64")
        metrics = {
            "root": lambda y, targets, mask: np.sqrt(np.mean((y - targets) ** 2)),
            "largest": lambda y, targets, mask: np.abs(y - targets).max(),
            "calls": lambda y, targets, mask: calls.append(0) or len(calls),
        }
        validation = lc.Batches(x, targets, batch_size=B, per_step=True, seed=5)
        history = lc.fit(model, lc.squared_error, [(x[:, :B], targets[:, :B])], lc.SGD(0.0), epochs=2, rng=3,
                         validation=validation, metrics=metrics, ranks=ranks, progress=False)  # fmt: skip
        return [[row[name] for name in ("validation", *metrics)] for row in history["epochs"]]

    want = [row[:3] for row in do(None)]
    for size in (1, 2, 4) if exact else (1, 2, 3):
        first, *others = on_ranks(size, do, exact=exact)
        assert [row[:3] for row in first] == want
        assert others == [first] * (size - 1)


@pytest.mark.parametrize("kind", ["per row", "per step"])
def test_a_subclass_says_what_targets_are_per_where_shapes_do_not(kind):
    """As many steps as rows of a batch and numbers of a target."""

    class Own(lc.Batches):
        pass

    rng, per_step, n = np.random.default_rng(4), kind == "per step", 8
    x, targets = rng.standard_normal((n, 2 * n, I)), rng.standard_normal((n, 2 * n, n)[not per_step :])

    def do(batches):
        def on(ranks):
            model = lc.Stack([lc.LSTM(I, 4, seed=1, return_sequences=per_step), lc.Linear(4, n, seed=1)]).to("float64")
            given = (lc.squared_error, batches(x, targets, batch_size=n, per_step=per_step, seed=0), lc.SGD(0.1))
            validation = batches(x, targets, batch_size=n, per_step=per_step, seed=1)
            history = lc.fit(model, *given, epochs=2, ranks=ranks, validation=validation, progress=False)
            return [(row["loss"], row["validation"]) for row in history["epochs"]]

        return on

    (want,) = on_ranks(1, do(lc.Batches))
    assert on_ranks(2, do(Own)) == [want] * 2


def test_what_is_not_finite_in_the_rows_of_another_is_named():
    x, targets, mask = (np.array(a) for a in next(iter(data(True))))
    mask[:, -1], x[0, -1] = True, np.nan
    said = {}

    def do(ranks):
        tell = said.setdefault(ranks.rank, []).append
        batches = lc.Batches(x, targets, mask, batch_size=B, shuffle=False)
        lc.fit(model_of(True), lc.softmax_cross_entropy, batches, lc.SGD(0.1), epochs=1, ranks=ranks, progress=False,
               callbacks=lc.train.watchers(tell))  # fmt: skip

    on_ranks(2, do)
    for (words,) in said.values():
        assert "the inputs of this batch hold NaN or infinity" in words


def test_what_differs_between_ranks_is_found_before_the_first_update():
    def do(ranks):
        model = model_of(True)
        before = model.params["0.W_hh"].copy()
        batches = data(True, seed=ranks.rank)
        try:
            lc.fit(model, lc.softmax_cross_entropy, batches, lc.Adam(), epochs=1, ranks=ranks, progress=False)
        finally:
            np.testing.assert_array_equal(model.params["0.W_hh"], before)

    for error in on_ranks(2, do, failing=True):
        assert isinstance(error, ValueError)
        assert "the training data should be the same on all ranks; on rank 1 it differs from rank 0's" in str(error)


def test_all_end_together_when_one_is_asked_to():
    class Ask(lc.Callback):
        def __init__(self, ranks):
            self.ranks = ranks

        def on_batch(self, run):
            self.ranks.asked_to_end |= self.ranks.rank == 1 and run.step == 3

    def do(ranks):
        return lc.fit(model_of(True), lc.softmax_cross_entropy, data(True), lc.Adam(), epochs=9, ranks=ranks,
                      callbacks=[Ask(ranks)], progress=False)  # fmt: skip

    for history in on_ranks(2, do):
        assert (history["ended"], history["step"]) == ("interrupted", 3)


def test_a_callback_may_end_it_on_one_rank_alone():
    class Enough(lc.Callback):
        def __init__(self, ranks, hook):
            setattr(self, hook, lambda run: setattr(run, "ended", "enough") if ranks.rank == 1 else None)

    for hook, steps in (("on_start", 0), ("on_batch", 1), ("on_epoch", 4)):
        for history in on_ranks(2, lambda ranks, hook=hook: lc.fit(
            model_of(True), lc.softmax_cross_entropy, data(True), lc.SGD(0.1), epochs=9, ranks=ranks,
            callbacks=[Enough(ranks, hook)], progress=False,
        )):  # fmt: skip
            assert (history["ended"], history["step"]) == ("enough", steps)


def test_one_training_after_another():
    """Another model, and nothing left of the training before: neither its memory nor that it was interrupted."""

    class Ask(lc.Callback):
        def __init__(self, ranks):
            self.ranks = ranks

        def on_batch(self, run):
            self.ranks.asked_to_end |= self.ranks.rank == 1

    def do(ranks):
        given = (lc.softmax_cross_entropy, data(True), lc.SGD(0.1))
        first = lc.fit(model_of(True), *given, epochs=2, ranks=ranks, callbacks=[Ask(ranks)], progress=False)
        other = lc.Stack([lc.LSTM(I, 4, seed=0), lc.Linear(4, V, seed=1)])
        second = lc.fit(other, *given, epochs=2, ranks=ranks, progress=False)
        assert {row.size for row in ranks.spare} == {2, sum(w.size for w in other.params.values())}  # counts, gradients
        return [(history["ended"], history["step"]) for history in (first, second)]

    for ends in on_ranks(2, do):
        assert ends == [("interrupted", 1), ("all 2 epochs done", 8)]


def test_what_was_refused_on_all_is_tried_again():
    """The second time one rank alone is wrong: the other hears of it."""

    def do(ranks):
        def tried(accumulate):
            lc.fit(model_of(True), lc.softmax_cross_entropy, data(True), lc.SGD(0.1), epochs=1, accumulate=accumulate,
                   ranks=ranks, progress=False)  # fmt: skip

        with pytest.raises(ValueError, match="`accumulate` should be a positive int"):
            tried(0)
        tried(ranks.rank)

    first, second = on_ranks(2, do, failing=True)
    assert isinstance(first, ValueError)
    assert isinstance(second, ConnectionAbortedError)


@pytest.mark.parametrize("name", ["batches", "validation"])
def test_data_without_a_length_are_refused(name):
    """A generator may end sooner on one rank than on another, which then waits for ever."""

    def do(ranks):
        few = (batch for batch in list(data(True))[: 1 + ranks.rank])
        lc.fit(model_of(True), lc.softmax_cross_entropy, opt=lc.SGD(0.1), epochs=1, ranks=ranks, progress=False,
               **{"batches": data(True), name: few})  # fmt: skip

    for error in on_ranks(2, do, failing=True):
        assert isinstance(error, TypeError)
        assert str(error) == f"on ranks `{name}` should have a length: lc.Batches or a list; got generator"


def test_what_goes_wrong_in_a_batch_is_said_as_without_ranks():
    """Also where the sum is exact, and a share would have another shape. What only the loss understands is refused."""
    x, targets, mask = (np.array(a) for a in next(iter(data(True))))

    def understanding(y, targets, mask):
        return lc.softmax_cross_entropy(y, np.asarray(targets), mask)

    def said(batch, ranks, loss=lc.softmax_cross_entropy, validation=None):
        with pytest.raises((TypeError, ValueError)) as error:
            lc.fit(model_of(True), loss, [batch], lc.SGD(0.1), epochs=1, ranks=ranks, progress=False,
                   validation=validation)  # fmt: skip
        return type(error.value), str(error.value)

    for batch in (
        (x.tolist(), targets), (x[0, 0], targets), (x[0], targets), (None, None), (x, targets.tolist()),
        (x, targets[:, :9]), (x, targets[0, 0]), (x, targets, mask.tolist()), (x, targets, mask[:, :9]),
        (x, targets, mask[0]),
    ):  # fmt: skip
        want = said(batch, None)
        for exact in (None, True):
            assert said(batch, Ranks(Comm(Exchange(1), 0), exact)) == want
            if is_array(batch[0]):
                assert said((x, targets, mask), Ranks(Comm(Exchange(1), 0), exact), validation=[batch]) == want
    assert said((x, targets.tolist()), Ranks(Comm(Exchange(1), 0), True), understanding) == (
        ValueError,
        "ranks deal out the rows of x (T, B, ...), mask (T, B) and targets (T, B, ...) or (B, ...); got "
        f"{x.shape}, (), ()",
    )


def test_another_order_of_sums_is_told(tmp_path):
    """Where a run goes on with other bits; not where it goes on to the same, nor from files that do not say."""
    said = []

    def do(ranks, state=None, epochs=2):
        keep = lc.Checkpoints(tmp_path, every_seconds=None, tell=said.append)
        training(True, epochs=epochs, callbacks=[keep], resume=state)(ranks)

    on_ranks(2, do)
    state = lc.Checkpoints(tmp_path).last()
    on_ranks(4, lambda ranks: do(ranks, state))
    assert said == []
    do(None, state)
    assert said == [
        f"{tmp_path}: the gradient of a batch was summed in 8 shares until now, and is summed whole from here on "
        "(another number of ranks, or another `exact`): equal to rounding, not to the bit"
    ]
    ((kind, memory),) = state["callbacks"]
    del memory["order"]
    do(None, state | {"callbacks": [[kind, memory]]})
    assert len(said) == 1
    assert [Ranks(Comm(Exchange(size), 0), False).order for size in (1, 3)] == ["whole", "in 3 parts"]


def test_what_one_rank_cannot_begin_nobody_begins():
    """An argument that is wrong on one rank; a callback that cannot start there."""

    class Unwilling(lc.Callback):
        def on_start(self, run):
            raise OSError("no such folder")

    def do(ranks, wrong):
        given = {"batches": data(True), "callbacks": []} | (wrong if ranks.rank == 2 else {})
        lc.fit(
            model_of(True), lc.softmax_cross_entropy, opt=lc.SGD(0.1), epochs=1, ranks=ranks, progress=False, **given
        )

    for wrong, kind, words in (
        ({"batches": None}, TypeError, "`batches` should be"),
        ({"callbacks": [Unwilling()]}, OSError, "no such folder"),
    ):
        errors = on_ranks(4, lambda ranks, wrong=wrong: do(ranks, wrong), failing=True)
        assert [type(error) for error in errors] == [ConnectionAbortedError] * 2 + [kind, ConnectionAbortedError]
        assert str(errors[0]).startswith(f"rank 2 of 4 could not go on: {words}")


def letters():
    return lc.train.Stream(np.zeros((40, I), "float32"), np.zeros(40, int), batch_size=B, steps=T)


@pytest.mark.parametrize(
    ("what", "options"),
    [
        ("the options", lambda rank: {"clip": 0.5 + rank}),
        ("the options", lambda rank: {"accumulate": 1 + rank}),
        ("the schedule", lambda rank: {"schedule": lc.train.Cosine(0.1 + rank, 10)}),
        ("the schedule", lambda rank: {"schedule": lambda step: 0.1 + rank}),
        ("the loss", lambda rank: {"loss": (lc.softmax_cross_entropy, lc.train.Counted(lc.squared_error, len))[rank]}),
        ("the model", lambda rank: {"model": model_of(True).to(("float32", "float64")[rank])}),
        ("the optimizer", lambda rank: {"opt": lc.SGD(0.1 + rank)}),
        ("the validation data", lambda rank: {"validation": list(data(True, seed=rank))[:1]}),
        ("the validation data", lambda rank: {"validation": (data(True), None)[rank]}),
        ("the validation data", lambda rank: {"validation": (data(True), list(data(True)))[rank]}),
        ("the validation data", lambda rank: {"validation": data(True, rows=(80, 20)[rank])}),
        ("the validation data", lambda rank: {"validation": (data(True), letters())[rank]}),
    ],
)
def test_what_else_differs_is_found(what, options):
    def do(ranks):
        given = {"model": model_of(True), "loss": lc.softmax_cross_entropy, "opt": lc.SGD(0.1)} | options(ranks.rank)
        lc.fit(batches=data(True), epochs=1, ranks=ranks, progress=False, **given)

    for error in on_ranks(2, do, failing=True):
        assert isinstance(error, ValueError)
        assert str(error).startswith(f"{what} should be the same on all ranks; on rank 1 it differs from rank 0's")


def test_a_loss_that_is_not_a_number_in_one_share_ends_all():
    x, targets, mask = (np.array(a) for a in next(iter(data(True))))
    x[0, B - 1] = np.nan

    def do(ranks):
        model = model_of(True)
        history = lc.fit(model, lc.softmax_cross_entropy, [(x, targets, mask)], lc.SGD(0.1), epochs=1, ranks=ranks,
                         progress=False)  # fmt: skip
        return history["ended"], model.params["0.W_hh"].copy()

    for ended, W_hh in on_ranks(4, do):
        assert ended == "the loss is nan in step 1, epoch 1: no update was made"
        np.testing.assert_array_equal(W_hh, model_of(True).params["0.W_hh"])


def test_early_stopping_schedules_and_micro_batches_decide_alike():
    def do(ranks):
        stop, plateau = lc.train.EarlyStopping(patience=1), lc.train.Plateau(0.5, patience=1)
        model = model_of(True)
        history = lc.fit(model, lc.softmax_cross_entropy, data(True), lc.Momentum(0.5), epochs=20, ranks=ranks, rng=0,
                         validation=list(data(True, seed=1)), callbacks=[stop], schedule=plateau, accumulate=3,
                         clip=0.1, progress=False)  # fmt: skip
        rows = [{name: value for name, value in row.items() if name != "seconds"} for row in history["epochs"]]
        return history["ended"], rows, {name: w.copy() for name, w in model.params.items()}

    ((ended, rows, want),) = on_ranks(1, do)
    assert ended.startswith("stopped early")
    for again, others, params in on_ranks(4, do):
        assert (again, others) == (ended, rows)
        for name, w in want.items():
            np.testing.assert_array_equal(params[name], w)


def test_by_default_it_is_exact_where_shares_are_large():
    """As many shares as have 96 rows each, 8 at most, whatever the number of ranks."""
    x, targets = np.zeros((1, 1000, 1), "float32"), np.zeros((1000, 1))
    for rows, shares in ((1000, 8), (768, 8), (767, 4), (400, 4), (383, 2), (192, 2), (191, 1)):
        for batches in (
            lc.Batches(x, targets, batch_size=rows),
            lc.Batches(x[:, :rows], targets[:rows], batch_size=5000),
            [(x[:, :rows], targets[:rows]), (x[:, :9], targets[:9])],
        ):
            for size in (1, 2, 3, 4, 8):
                ranks = Ranks(Comm(Exchange(size), 0))
                ranks.settle(batches)
                exact = size <= shares and size != 3
                assert (ranks.exact, ranks.shares) == (exact, shares if exact else size)
    unknown = Ranks(Comm(Exchange(4), 0))
    unknown.settle(iter([]))
    assert (unknown.exact, unknown.shares) == (True, 8)
    assert str(unknown) == "4 ranks of MPI, every batch in shares: 8; the same bits on 1, 2, 4, 8"
    assert str(Ranks(Comm(Exchange(3), 0), False)) == (
        "3 ranks of MPI, a part of every batch each: equal to rounding on another number of them"
    )


@pytest.mark.parametrize("size", [1, 3, 5])
def test_sums_in_mpis_order_are_equal_to_rounding(mpi4py, size):
    """Also of a batch with fewer rows than ranks; the noise is that of one, and one rank has the bits of none."""
    x, targets, mask = next(iter(data(True)))
    batches = [(x, targets, mask), (x[:, :2], targets[:, :2], mask[:, :2]), (x, targets, mask)]

    def do(ranks):
        model = model_of(True)
        lc.fit(model, lc.softmax_cross_entropy, batches, lc.SGD(0.5), epochs=1, rng=3, ranks=ranks, progress=False)
        return model.params

    one = do(None)
    for params in on_ranks(size, do, exact=None):
        for name, w in one.items():  # three updates by float32 sums of at most T B terms of size 1 over the items
            bound = 0 if size == 1 else 12 * T * B * 2.0**-24
            np.testing.assert_allclose(params[name], w, rtol=0, atol=bound, err_msg=name)


def test_a_rank_that_fails_ends_all(capsys):
    class Fail(lc.Callback):
        def __init__(self, ranks):
            self.ranks = ranks

        def on_batch(self, run):
            if self.ranks.rank == 1:
                raise OSError("no such disk")

    def do(ranks):
        lc.fit(model_of(True), lc.softmax_cross_entropy, data(True), lc.Adam(), epochs=9, ranks=ranks,
               callbacks=[Fail(ranks)], progress=False)  # fmt: skip

    first, second = on_ranks(2, do, failing=True)
    assert isinstance(first, threading.BrokenBarrierError)
    assert isinstance(second, OSError)
    assert "lstmcore: rank 1 of 2 has failed, so all end; what was saved last stands." in capsys.readouterr().err


def test_a_rank_that_fails_at_the_end_ends_all(capsys):
    """The other, in its next training by then, waits no longer for it."""

    class Fail(lc.Callback):
        def __init__(self, ranks):
            self.ranks = ranks

        def on_end(self, run):
            if self.ranks.rank == 1:
                raise OSError("no such disk")

    def do(ranks):
        for _ in range(2):
            lc.fit(model_of(True), lc.softmax_cross_entropy, data(True), lc.Adam(), epochs=1, ranks=ranks,
                   callbacks=[Fail(ranks)], progress=False)  # fmt: skip

    first, second = on_ranks(2, do, failing=True)
    assert isinstance(first, threading.BrokenBarrierError)
    assert isinstance(second, OSError)
    assert "lstmcore: rank 1 of 2 has failed, so all end; what was saved last stands." in capsys.readouterr().err


def test_no_more_parts_of_a_sum_wait_than_it_has_levels():
    there = []

    def part(k):
        there.append(k)
        assert len(there) <= 4
        return k

    def add(a, b):
        there.remove(b)
        return a

    assert in_pairs((part(k) for k in range(8)), add) == 0


def test_the_order_of_a_sum_follows_from_the_shares():
    parts = [f"{k}" for k in range(8)]
    add = "({}+{})".format
    whole = in_pairs(parts, add)
    for size in (2, 4):
        each = 8 // size
        assert in_pairs([in_pairs(parts[k * each : (k + 1) * each], add) for k in range(size)], add) == whole


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"comm": 3}, TypeError, "`comm` should be a communicator of mpi4py, such as MPI.COMM_WORLD; got 3"),
        ({"shares": 6}, ValueError, "`shares` should be a power of two; got 6"),
        ({"exact": "no"}, ValueError, "`exact` should be True, False or None; got 'no'"),
        ({"patience": 0}, ValueError, "`patience` should be seconds, 1 or more, or None; got 0"),
        ({"size": 3}, ValueError, "on 3 ranks the sum cannot be exact in 8 shares"),
        ({"size": 16}, ValueError, "on 16 ranks the sum cannot be exact in 8 shares"),
    ],
)
def test_what_is_refused(options, error, words):
    comm = options.get("comm", Comm(Exchange(options.get("size", 1)), 0))
    with pytest.raises(error, match=words):
        Ranks(comm, options.get("exact", True), options.get("shares", 8), options.get("patience"))


def test_a_model_with_the_batch_first_is_refused():
    model = lc.BatchFirst(lc.LSTM(I, 5))
    with pytest.raises(ValueError, match="ranks deal out the second axis, the batch; BatchFirst"):
        Ranks(Comm(Exchange(1), 0)).check(model)


def test_a_model_on_a_gpu_is_refused(monkeypatch):
    monkeypatch.setattr("lstmcore.train.ranks.ranks.library_name", lambda w: "cupy")
    with pytest.raises(ValueError, match=r"ranks exchange arrays of NumPy; the model lies on a GPU \(lc.to_cpu"):
        Ranks(Comm(Exchange(1), 0)).check(lc.LSTM(I, 5))


def test_a_batch_without_a_valid_item_is_refused():
    x = np.zeros((T, 3, I), "float32")
    batch = (x, np.zeros((T, 3), int), np.zeros((T, 3), bool))
    with pytest.raises(ValueError, match="a batch should have a valid item; one is masked everywhere"):
        on_ranks(1, lambda ranks: lc.fit(model_of(True), lc.softmax_cross_entropy, [batch], lc.SGD(1.0), epochs=1,
                                         ranks=ranks, progress=False))  # fmt: skip


@pytest.mark.parametrize("head", ["per-step", "per-row"])
def test_loops_with_undefined_targets_and_noise_of_every_kind(head):
    """Targets of each step, some of them undefined, in a share all of them, under a head per step or per row."""
    rng = np.random.default_rng(1)
    x, targets = rng.standard_normal((T, B, I)).astype("float32"), rng.standard_normal((T, B, 4)).astype("float32")
    targets[:, :2] = UNDEFINED  # a share without an item
    loss = lc.train.Counted(masked_squared_error, lambda y, targets, mask: int((targets != UNDEFINED).sum()))
    batches = lc.Batches(x, targets, np.ones((T, B), bool), batch_size=B, per_step=True, shuffle=False)

    def do(ranks):
        noisy = lc.RecurrentDropout(lc.LSTM(I, 5, seed=0), h=0.2, W_hh=0.3, zoneout_c=0.1)
        last = [] if head == "per-step" else [lc.Last()]
        width = 4 if head == "per-step" else 4 * T
        model = lc.Stack([noisy, *last, lc.Dropout(0.3), lc.Linear(5, width, seed=1)])
        lc.fit(model, loss, batches, lc.SGD(0.5), epochs=2, rng=3, ranks=ranks, progress=False)
        return model.params

    one = do(None)
    (want,) = on_ranks(1, do)
    for name, w in want.items():  # two updates by float32 sums of at most T B terms of size 1 over the items
        np.testing.assert_allclose(w, one[name], rtol=0, atol=8 * T * B * 2.0**-24, err_msg=name)
    for params in on_ranks(4, do):
        for name, w in want.items():
            np.testing.assert_array_equal(params[name], w, err_msg=name)


class Gradients(lc.Callback):
    """Keeps them."""

    def on_gradients(self, run):
        self.kept = {name: g.copy() for name, g in run.grads.items()}


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=10), st.integers(1, 3), st.sampled_from([1, 2, 4, 8]),
    st.integers(0, 99),
)  # fmt: skip
def test_the_oracles_gradient_of_the_whole_batch(lengths, pieces, size, seed):
    """Rows of any lengths, also none, on ranks and in micro-batches: the gradient of the mean over all valid items, by
    the scalar oracle, to 1e-12 of its largest number, to which engines are held as well."""
    rng = np.random.default_rng(seed)
    rows, lengths = len(lengths), [3, *lengths[1:]]
    mask = np.arange(3)[:, None] < np.array(lengths)
    x, targets = rng.standard_normal((3, rows, 2)), rng.standard_normal((3, rows, 3))
    edges = sorted({0, rows, *rng.integers(0, rows + 1, pieces - 1).tolist()})
    cuts = [slice(a, b) for a, b in pairwise(edges) if mask[:, a:b].any()]

    def layer():
        return lc.LSTM(2, 3, dtype="float64", seed=seed, engine="reference")

    def do(ranks):
        keep = Gradients()
        batches = [(x[:, c], targets[:, c], mask[:, c]) for c in cuts]
        lc.fit(layer(), lc.squared_error, batches, lc.SGD(0.1),
               epochs=1, accumulate=3, ranks=ranks, callbacks=[keep], progress=False)  # fmt: skip
        return keep.kept

    params = {name: w.tolist() for name, w in layer().params.items()}
    problem = (("lstm", 2, 3), params, x.tolist(), (np.zeros((rows, 3)).tolist(),) * 2, mask.tolist())
    y = reals(answer(*problem, np.zeros((3, rows, 3)).tolist(), None), "value")["y"]
    dy = np.where(mask[..., None], 2 * (y - targets), 0) / (3 * mask.sum())
    want = reals(answer(*problem, dy.tolist(), None), "value")["grads"]
    for grads in on_ranks(size, do):
        for name, g in grads.items():
            np.testing.assert_allclose(g, want[name], rtol=0, atol=1e-12 * np.abs(want[name]).max(), err_msg=name)


# ---- real ranks ------------------------------------------------------------------------------------------------------
