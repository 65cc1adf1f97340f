"""The ledger: its parts add up, each part is the derivative it says it is, and padding pays nothing."""

import numpy as np
import pytest
from cases import LAYERS, MASKS, Problem, recurrent_parts

import lstmcore as lc
from lstmcore.debug.mistakes import MISTAKES, mutant

STEP = 1e-30  # of a complex step: nothing cancels


def kept(problem, engine, **options):
    layer = engine.place(problem.layer())
    x, state, dy, dstate, mask = map(engine.array, (problem.x, problem.state, problem.dy, problem.dstate, problem.mask))
    book = lc.debug.ledger(layer, x, dy, state=state, mask=mask, dstate=dstate, parts=True, **options)
    _, _, cache = layer.forward(x, state, mask=mask)
    return book, engine.host(layer.backward(dy, cache, dstate=dstate)[2])


@pytest.mark.pairwise("name", "mask")
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("name", LAYERS)
def test_the_parts_add_up(engine, name, mask, dtype):
    """To the bound of rounding.py, and the shares to 1 as far as the parts to the whole."""
    engine.skip_if_unsupported(*{part[0] for part in recurrent_parts(LAYERS[name])}, dtype=dtype)
    problem = Problem(LAYERS[name], 5, 3, mask, seed=1, dtype=dtype)
    book, grads = kept(problem, engine)
    assert book.ok, str(book)
    assert [entry.name for entry in book.entries] == list(grads)
    for entry in book.entries:
        whole = grads[entry.name]
        assert entry.parts.shape[2:] == whole.shape
        assert entry.norms.shape == entry.shares.shape == (len(entry.parts), len(entry.gates), len(entry.paths))
        apart = np.linalg.norm(entry.parts.astype(float).sum((0, 1)) - whole)
        size = np.linalg.norm(whole.astype(float))
        assert apart <= np.sqrt(whole.size) * max(entry.allowed, 1e-6 * size)  # `allowed` stands for the worst place
        terms = entry.parts.size * np.finfo(dtype).eps * np.sqrt((entry.norms**2).sum()) * size
        assert abs(entry.shares.sum() - (size > 0)) * size**2 <= apart * size + terms
        by_part = np.sqrt((entry.parts.astype(float) ** 2).reshape(*entry.parts.shape[:2], -1).sum(-1))
        np.testing.assert_allclose(np.sqrt((entry.norms**2).sum(1)), by_part, rtol=1e-4, atol=1e-30)


@pytest.mark.parametrize("T", [4, 40])
@pytest.mark.parametrize("kind", [lc.LSTM, lc.GRU, lc.RNN])
def test_products_of_coarse_numbers_add_up_as_far_as_these_tell(kind, T):
    """An engine that multiplies in bfloat16 is not accused of its rounding; half a gradient too much is none."""

    class Half(kind):
        def backward(self, dy, cache, dstate=None):
            dx, dstate0, grads = super().backward(dy, cache, dstate)
            return dx, dstate0, grads | {"W_hh": grads["W_hh"] * np.float32(1.5)}

    x = np.random.default_rng(T).standard_normal((T, 20, 3)).astype("float32")
    book = lc.debug.ledger(kind(3, 8, seed=1, engine="fused-cpu-bf16"), x)
    assert book.ok, str(book)
    assert any(entry.error > lc.debug.ledger(kind(3, 8, seed=1), x)[entry.name].allowed for entry in book.entries)
    wrong = lc.debug.ledger(Half(3, 8, seed=1, engine="fused-cpu-bf16"), x)
    assert [entry.name for entry in wrong.entries if not entry.ok] == ["W_hh"]


def test_a_bound_that_says_something(reference):
    """The bound is far below the gradient: a millionth of its norm in float64, so that it could fail."""
    book, _ = kept(Problem(LAYERS["interleaved"], 5, 3, "gaps", seed=1), reference)
    for entry in book.entries:
        assert 0 < entry.allowed < 1e-6 * entry.norm


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_each_step_is_the_derivative_by_the_weight_of_that_step(engine, cell):
    """Give every step its own copy of the weights: its derivative, by complex step, is the step's part.

    Sums have at most 3 (3 + 4) terms of size 1 over four steps: 1e-12 is 4,500 roundings.
    """
    engine.skip_if_unsupported(cell)
    problem = Problem((cell, 3, 4), 4, 3, "none", seed=2)
    book, _ = kept(problem, engine)
    twin = problem.layer().to(dtype="complex128", engine="reference")
    rng = np.random.default_rng(3)
    for name in twin.params:
        direction = rng.standard_normal(twin.params[name].shape)
        for t in range(problem.T):
            state = tuple(s.astype(complex) for s in problem.state)
            total = 0.0
            for s in range(problem.T):
                twin.params[name] += 1j * STEP * direction * (s == t)
                y, state = twin.step(problem.x[s].astype(complex), state)
                twin.params[name] = twin.params[name].real.astype(complex)
                total = total + np.sum(problem.dy[s] * y)
            total = total + sum(np.sum(d * s) for d, s in zip(problem.dstate, state))
            got = np.sum(book[name].parts[t].sum(0) * direction)
            assert abs(got - total.imag / STEP) <= 1e-12 * max(1, abs(got))


@pytest.mark.parametrize("poison", [0.0, np.nan])
@pytest.mark.parametrize("name", ["lstm", "bidirectional", "per-step-head", "three-layers-last"])
def test_padding_pays_exactly_nothing(engine, name, poison):
    engine.skip_if_unsupported(*{part[0] for part in recurrent_parts(LAYERS[name])})
    problem = Problem(LAYERS[name], 6, 3, "none", seed=4)
    problem.mask = np.arange(6)[:, None] < np.array([4, 2, 3])
    problem.x[~problem.mask] = poison
    if problem.dy.ndim == 3:
        problem.dy[~problem.mask] = poison
    book, _ = kept(problem, engine)
    assert book.ok
    assert (book.padding, book.places, book.padding_gives) == (9, 18, 0.0)
    assert "9 of 18 steps are padding; they give exactly nothing" in book.findings
    for entry in book.entries:
        if len(entry.rows) > 1:
            assert list(entry.rows) == [3, 3, 2, 1, 0, 0]
            assert not entry.parts[4:].any()
            assert not entry.norms[4:].any()
            assert entry.norms[:4].any(axis=(1, 2)).sum() >= 3  # W_hh may lack the first step, where h is zero


def test_the_shared_head_learns_from_every_residue():
    """One-hot residues, padded; an LSTM, a shared head with tanh; a squared error over valid targets."""
    rng = np.random.default_rng(5)
    T, B = 31, 8
    lengths = rng.integers(5, 29, B)
    mask = lc.mask_from_lengths(lengths, T)
    x = np.eye(21, dtype="float32")[rng.integers(0, 21, (T, B))]
    targets = np.where(mask[..., None], rng.uniform(-1, 1, (T, B, 4)), -3.0).astype("float32")
    model = lc.Stack([lc.LSTM(21, 16, seed=6), lc.Dropout(0.5), lc.Linear(16, 4, seed=7), lc.Tanh()])
    book = lc.debug.ledger(model, x, lambda y: lc.squared_error(y, targets, mask), mask=mask, dropout_seed=8)
    assert book.ok
    longest = lengths.max()
    for name in ("0.W_ih", "2.W", "2.b"):
        assert (book[name].norms[:longest] > 0).any(axis=(1, 2)).all()
        assert not book[name].norms[longest:].any()
        assert any(f"{name} learns from {longest} of {longest} real steps" in line for line in book.findings)
    text = str(book)
    assert "share of each step in the gradient" in text
    assert "along c" in text


@pytest.mark.parametrize("mask", ["none", "gaps"])
def test_wrong_gradients_do_not_add_up(mask):
    """Every mistake that moves a weight's gradient beyond rounding, and leaves the cache alone, is noticed."""
    problem = Problem(("lstm", 3, 4), 8, 3, mask, seed=9)
    right = gradients(problem, problem.layer().to(engine="reference"))
    noticed = 0
    for mistake in MISTAKES:
        try:
            layer = problem.layer().to(engine=mutant(mistake))
            wrong = gradients(problem, layer)
        except (ValueError, AttributeError, KeyError):
            continue  # a mistake that needs other shapes, or is not one of an engine
        if any(not np.array_equal(right[k], wrong[k]) for k in ("y", "h", "c", "gates")):
            continue
        moved = max(np.max(np.abs(right[k] - wrong[k])) / np.max(np.abs(right[k])) for k in ("W_ih", "W_hh", "b"))
        book = lc.debug.ledger(layer, problem.x, problem.dy, state=problem.state, mask=problem.mask,
                               dstate=problem.dstate)  # fmt: skip
        assert book.ok == (moved < 1e-10), f"{mistake.name}: moved by {moved:.1e}\n{book}"
        assert book.ok or any(line.startswith("WRONG") for line in book.findings)
        noticed += not book.ok
    assert noticed >= 20


def gradients(problem, layer):
    y, (h, c), cache = layer.forward(problem.x, problem.state, problem.mask)
    return {"y": y, "h": h, "c": c, "gates": cache.gates} | layer.backward(problem.dy, cache, problem.dstate)[2]


def test_a_gradient_that_is_not_finite_is_no_false_alarm():
    layer = lc.LSTM(3, 4, seed=0)
    layer.params["b"][2] = np.nan
    book = lc.debug.ledger(layer, np.ones((4, 2, 3), "float32"))
    assert not book.ok
    assert all("is not finite: ask the tripwire" in line for line in book.findings)


def test_unknown_weight():
    book = lc.debug.ledger(lc.LSTM(3, 4, seed=0), np.ones((4, 2, 3), "float32"))
    with pytest.raises(KeyError, match="no weight 'W'; there are W_ih, W_hh, b"):
        book["W"]


def test_picture():
    pytest.importorskip("matplotlib")
    book = lc.debug.ledger(lc.LSTM(3, 4, seed=0), np.ones((4, 2, 3), "float32"))
    figure = book.picture()
    titles = [axis.get_title() for axis in figure.axes[:3]]
    assert titles == [f"d{name}: norm of each part" for name in ("W_ih", "W_hh", "b")]


def test_long_sequences_are_put_together():
    text = str(lc.debug.ledger(lc.RNN(1, 2, seed=0), np.ones((100, 1, 1), "float32")))
    assert "96..99" in text
    assert max(map(len, text.split("\n"))) < 200


@pytest.mark.parametrize(
    ("T", "why"), [(1, " (one step from a state of zeros? then nothing is learnt about time)"), (5, "")]
)
def test_why_the_recurrent_weights_have_no_gradient(T, why):
    x = np.random.default_rng(0).standard_normal((T, 4, 2)).astype("float32")
    dy = np.zeros((T, 4, 3), "float32") if T > 1 else np.ones((T, 4, 3), "float32")
    said = str(lc.debug.ledger(lc.LSTM(2, 3, seed=0), x, lambda y: (0.0, dy)))
    assert f"W_hh has no gradient at all{why}\n" in said + "\n"
    assert ("there is but one step; are batch and time swapped? x is (T, B, I)" in said) == (T == 1)
    alone = str(lc.debug.ledger(lc.LSTM(2, 3, seed=0), x[:, :1]))
    assert "swapped" not in alone
