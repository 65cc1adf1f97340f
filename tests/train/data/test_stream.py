"""One long sequence in batches that follow each other: nothing is lost between them, and a stop does not show."""

import json

import numpy as np
import pytest

import lstmcore as lc
from lstmcore.train import Adam, Callback, Stream, evaluate, fit
from lstmcore.train.data.carry import from_host, to_host

N = 103


def stream(batch_size: int = 4, steps: int = 7) -> Stream:
    """103 random letters of five; the target is the next one. 25 steps per strand: batches of 7, 7, 7 and 4."""
    letters = np.random.default_rng(0).integers(0, 5, N + 1)
    return Stream(letters[:-1], letters[1:], batch_size=batch_size, steps=steps)


def build(dropout: float = 0.3) -> lc.Stack:
    return lc.Stack(
        [lc.Embedding(5, 3, seed=0), lc.LSTM(3, 6, seed=1), lc.Dropout(dropout), lc.GRU(6, 4, seed=2),
         lc.Linear(4, 5, seed=3)]
    )  # fmt: skip


def test_strands_are_pieces_of_the_sequence():
    x = np.arange(N)
    batches = list(Stream(x, -x, batch_size=4, steps=7))
    assert [batch.x.shape for batch in batches] == [(7, 4), (7, 4), (7, 4), (4, 4)]
    whole = np.concatenate([batch.x for batch in batches])  # (25, 4)
    np.testing.assert_array_equal(whole.T, np.arange(100).reshape(4, 25))
    for batch in batches:
        np.testing.assert_array_equal(batch.targets, -batch.x)
        assert batch.mask is None
        assert batch.x.flags.c_contiguous
        assert batch.targets.flags.c_contiguous
    assert np.shares_memory(Stream(x, -x, batch_size=4, steps=7).x, x)  # strands are read when they are wanted
    assert len(stream()) == 4


def test_features_go_along():
    x = np.random.default_rng(0).standard_normal((N, 3))
    first = next(iter(Stream(x, x[:, :1], batch_size=4, steps=7)))
    assert (first.x.shape, first.targets.shape) == ((7, 4, 3), (7, 4, 1))
    np.testing.assert_array_equal(first.x[:, 2], x[50:57])


def test_a_stream_goes_on_where_its_state_says():
    one, two = stream(), stream()
    for k, _ in enumerate(one):
        if k == 1:
            break
    two.state = json.loads(json.dumps(one.state))
    rest = list(two)
    np.testing.assert_array_equal(rest[0].x, list(stream())[2].x)
    assert len(rest) == 2
    assert len(list(two)) == 4  # and then epochs are whole again
    assert len(list(one)) == 4  # as they are after one that was left early
    two.state = {"position": 4}  # after the last batch, before the epoch was closed
    assert list(two) == []
    with pytest.raises(ValueError, match="should be the state of a stream of 4 batches; got"):
        two.state = {"position": 5}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"x": [1, 2]}, TypeError, "should be arrays of one library; got list, ndarray"),
        ({"x": np.zeros(9)}, ValueError, r"a target for each step; got \(9,\) and \(10,\)"),
        ({"batch_size": 11}, ValueError, "a step for each of the 11 strands; got N = 10"),
        ({"batch_size": 0}, ValueError, "`batch_size` should be a positive int; got 0"),
        ({"steps": 2.5}, ValueError, "`steps` should be a positive int; got 2.5"),
    ],
)
def test_what_is_no_stream_is_refused(change, error, message):
    with pytest.raises(error, match=message):
        Stream(**({"x": np.zeros(10), "targets": np.zeros(10), "batch_size": 2, "steps": 3} | change))


def test_only_standard_array_functions(array_api_strict):
    x = array_api_strict.asarray(np.arange(20.0).reshape(10, 2))
    first = next(iter(Stream(x, x, batch_size=3, steps=2)))
    np.testing.assert_array_equal(np.asarray(first.x)[:, 1], [[6, 7], [8, 9]])


def test_carried_state_makes_short_batches_equal_to_one_long_one(engine):
    """In evaluation the loss of a stream does not depend on where it is cut."""
    model = engine.place(build())
    losses = []
    for steps in (1, 7, 25):
        batches = [tuple(map(engine.array, batch[:2])) for batch in stream(steps=steps)]
        losses.append(evaluate(model, lc.softmax_cross_entropy, batches, carry_state=True))
    # Equal but for the order of float32 sums. A loss near log 5 comes from 100 items, each after at most 25 steps of
    # two layers whose sums (at most 12 terms) round to 12 * 2^-24 of values below 1: below 25 * 2 * 12 * 2^-24.
    np.testing.assert_allclose(losses, losses[0], rtol=0, atol=25 * 2 * 12 * 2.0**-24)
    cut = evaluate(model, lc.softmax_cross_entropy, [tuple(map(engine.array, batch[:2])) for batch in stream()])
    assert abs(cut - losses[0]) > 1e-3  # without it the cuts show


def test_does_what_a_loop_written_by_hand_does():
    """Each batch starts from the last state of the one before, each epoch from zeros; no gradient crosses a cut."""
    model, twin = build(dropout=0), build(dropout=0)
    fit(model, lc.softmax_cross_entropy, stream(), Adam(0.01), epochs=2, progress=False, carry_state=True)
    opt = Adam(0.01)
    for _ in range(2):
        state = None
        for batch in stream():
            y, state, cache = twin.forward(batch.x, state)
            _, dy = lc.softmax_cross_entropy(y, batch.targets)
            opt.step(twin.params, twin.backward(dy, cache)[2])
    for name, w in model.params.items():
        np.testing.assert_array_equal(w, twin.params[name], err_msg=name)


@pytest.mark.parametrize("stop", [1, 3, 4, 6])
def test_resumes_bit_for_bit(stop):
    """Broken off within an epoch of 4 updates, after its last one, and in the next."""

    def parts():
        return {"model": build(), "opt": Adam(0.05), "batches": stream(), "rng": np.random.default_rng(1)}

    def train(model, opt, batches, rng, **options):
        return fit(
            model, lc.softmax_cross_entropy, batches, opt, epochs=3, rng=rng, validation=stream(2), progress=False,
            carry_state=True, **options,
        )  # fmt: skip

    undisturbed, broken, resumed = parts(), parts(), parts()
    whole = train(**undisturbed)
    saved = {}

    class Save(Callback):
        def on_batch(self, run):
            if run.step == stop:
                assert run.state["carried"] is not None
                saved.update(run.state)
                raise RuntimeError("the power fails")

    with pytest.raises(RuntimeError, match="the power fails"):
        train(**broken, callbacks=[Save()])
    rest = train(**resumed, resume=saved)
    for name, w in resumed["model"].params.items():
        np.testing.assert_array_equal(w, undisturbed["model"].params[name], err_msg=name)
    for history in (whole, rest):
        history.pop("seconds")
        for row in history["epochs"]:
            row.pop("seconds")
    assert rest == whole


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_carried_state_survives_on_the_host(dtype, engine):
    draw = np.random.default_rng(0).standard_normal
    h, c, g = (engine.array(draw((2, 3)).astype(dtype)) for _ in range(3))
    state = (None, (h, c), None, ((g,), (h[:1],)))
    host = to_host(state)
    assert isinstance(host[1][0], np.ndarray)
    back = from_host(host, "numpy")
    assert back[0] is back[2] is None
    for one, two in ((back[1][0], h), (back[1][1], c), (back[3][0][0], g), (back[3][1][0], h[:1])):
        assert type(one) is type(two)
        assert one.dtype == two.dtype
        np.testing.assert_array_equal(engine.host(one), engine.host(two))
    assert to_host(None) is from_host(None, "numpy") is None
    np.testing.assert_array_equal(from_host(to_host(h), "numpy"), engine.host(h))  # of a layer of one's own
    host[1][0][...] = 0
    assert engine.host(h).all()


def test_a_loop_that_was_left_can_be_forgotten():
    """A state that was assigned is not."""
    one = stream()
    next(iter(one))
    assert one.state == {"position": 1}
    one.rewind()
    assert one.state == {"position": 0}
    one.state = {"position": 2}
    one.rewind()
    assert len(list(one)) == len(one) - 2
