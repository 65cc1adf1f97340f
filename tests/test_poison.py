"""Padding may hold anything: NaN and infinities in x and dy change no bit of any output or gradient.

Each problem runs twice, with harmless numbers and with poison at the masked steps. Same shapes, same order of every
sum: so every bit must agree, and no tolerance is asked for. What belongs to a masked step itself is exactly zero.
"""

import copy

import numpy as np
import pytest
from cases import LAYERS, MASKS, Problem, arrays_in, assert_identical, flatten, recurrent_parts, run

import lstmcore as lc

PADDED = [mask for mask in MASKS if mask not in ("none", "full")]
POISONS = {"NaN": np.nan, "infinity": np.inf, "huge": 3e38}


def poisoned(problem: Problem, poison: float) -> Problem:
    """The same problem with poison at every masked step of x and, where it has a time axis, of dy."""
    other = copy.copy(problem)
    other.x, other.dy = problem.x.copy(), problem.dy.copy()
    padding = problem.padding()
    assert padding.any()
    other.x[padding] = poison
    if other.dy.ndim == 3:
        other.dy[padding] = poison
    return other


@pytest.mark.pairwise
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("mask", PADDED)
@pytest.mark.parametrize("name", LAYERS)
def test_poison_changes_no_bit(engine, name, mask, dtype):
    engine.skip_if_unsupported(*{part[0] for part in recurrent_parts(LAYERS[name])}, dtype=dtype)
    problem = Problem(LAYERS[name], 5, 3, mask, seed=1, dtype=dtype)
    clean = run(problem, engine)
    for poison in POISONS.values():
        assert_identical(run(poisoned(problem, poison), engine), clean)


@pytest.mark.parametrize("mask", PADDED)
@pytest.mark.parametrize("name", LAYERS)
def test_masked_steps_are_zero(engine, name, mask):
    """y, dx and the saved gates at masked steps, exactly; and the others are not."""
    engine.skip_if_unsupported(*{part[0] for part in recurrent_parts(LAYERS[name])})
    problem = Problem(LAYERS[name], 5, 3, mask, seed=2)
    results = run(poisoned(problem, np.nan), engine)
    padding = problem.padding()
    assert not results["dx"][padding].any()
    assert results["dx"][~padding].all()
    if results["y"].ndim == 3:
        assert not results["y"][padding].any()
        assert results["y"][~padding].all()


@pytest.mark.parametrize("mask", PADDED)
@pytest.mark.parametrize("name", LAYERS)
def test_the_cache_holds_no_poison(engine, name, mask):
    """So that no tool that looks into a cache can stumble over padding."""
    engine.skip_if_unsupported(*{part[0] for part in recurrent_parts(LAYERS[name])})
    problem = poisoned(Problem(LAYERS[name], 5, 3, mask, seed=3), np.nan)
    x, state, mask_array = map(engine.array, (problem.x, problem.state, problem.mask))
    _, _, cache = engine.place(problem.layer()).forward(x, state, mask=mask_array)
    kept = flatten(engine.host(tuple(arrays_in(cache))))
    assert len(kept) > 3
    for key, value in kept.items():
        assert np.all(np.isfinite(value)), key


@pytest.mark.parametrize("mask", PADDED)
@pytest.mark.parametrize("name", LAYERS)
def test_predict_sees_no_poison(engine, name, mask):
    engine.skip_if_unsupported(*{part[0] for part in recurrent_parts(LAYERS[name])})
    problem = Problem(LAYERS[name], 5, 3, mask, seed=4)
    outputs = []
    for p in (problem, poisoned(problem, np.nan)):
        x, state, mask_array = map(engine.array, (p.x, p.state, p.mask))
        y, last = engine.place(p.layer()).predict(x, state, mask=mask_array)
        outputs.append(flatten(engine.host({"y": y, "state": last})))
    assert_identical(*outputs)


def simple_layers():
    return {
        "Linear": lc.Linear(3, 2, dtype="float64", seed=0),
        "Linear without bias": lc.Linear(3, 2, bias=False, dtype="float64", seed=0),
        "Tanh": lc.Tanh(),
        "Softmax": lc.Softmax(),
        "Dropout": lc.Dropout(0.4),
        "Dropout per sequence": lc.Dropout(0.4, per_sequence=True),
    }


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("mask", PADDED)
@pytest.mark.parametrize("name", simple_layers())
def test_layers_without_time(engine, name, mask, train):
    """The layers that work on each step alone: the same promise."""
    spec = ("lstm", 3, 2 if name.startswith("Linear") else 3)  # for its arrays: x and dy have the widths wanted here
    problem = Problem(spec, 5, 3, mask, seed=5)
    results = []
    for p in (problem, poisoned(problem, np.nan)):
        layer = engine.place(simple_layers()[name])
        x, dy, mask_array = map(engine.array, (p.x, p.dy, p.mask))
        y, _, cache = layer.forward(x, mask=mask_array, rng=np.random.default_rng(6) if train else None)
        dx, _, grads = layer.backward(dy, cache)
        results.append(flatten(engine.host({"y": y, "dx": dx, "grads": grads})))
    assert_identical(results[1], results[0])
    assert not results[0]["dx"][problem.padding()].any()
    assert not results[0]["y"][problem.padding()].any()
    assert results[0]["dx"].any() == bool(problem.mask.any())


@pytest.mark.parametrize("mask", PADDED)
def test_embedding_never_reads_a_masked_index(engine, mask):
    """Indices far out of range at masked steps, NaN in dy there: as if they were not."""
    problem = Problem(("lstm", 1, 2), 5, 3, mask, seed=7)
    index = np.random.default_rng(8).integers(0, 4, size=(5, 3))
    results = []
    for p, outside in ((problem, 0), (poisoned(problem, np.nan), -12345)):
        layer = engine.place(lc.Embedding(4, 2, dtype="float64", seed=0))
        x, dy, mask_array = map(engine.array, (np.where(p.mask, index, outside), p.dy, p.mask))
        y, _, cache = layer.forward(x, mask=mask_array)
        dx, _, grads = layer.backward(dy, cache)
        assert dx is None
        results.append(flatten(engine.host({"y": y, "grads": grads})))
    assert_identical(results[1], results[0])
    assert not results[0]["y"][problem.padding()].any()


@pytest.mark.parametrize("loss", ["cross-entropy", "squared error"])
@pytest.mark.parametrize("mask", [mask for mask in PADDED if mask != "no step at all"])
def test_a_whole_training_step(engine, mask, loss):
    """Embedding, bidirectional LSTM, dropout, head, masked loss; inputs, targets and logits poisoned where padded."""
    engine.skip_if_unsupported("lstm")
    rng = np.random.default_rng(9)
    T, B, V = 5, 3, 4
    where = Problem(("lstm", 1, 1), T, B, mask, seed=10).mask
    index, targets = rng.integers(0, V, size=(2, T, B))
    values = rng.normal(size=(T, B, V))
    results = []
    for outside, poison in ((0, 0.0), (-7, np.nan)):
        model = engine.place(
            lc.Stack(
                [
                    lc.Embedding(V, 3, dtype="float64", seed=1),
                    lc.Bidirectional(lc.LSTM(3, 2, dtype="float64", seed=2), lc.LSTM(3, 2, dtype="float64", seed=3)),
                    lc.Dropout(0.3),
                    lc.Linear(4, V, dtype="float64", seed=4),
                ]
            )
        )
        real = engine.array(where)
        x = engine.array(np.where(where, index, outside))
        y, _, cache = model.forward(x, mask=real, rng=np.random.default_rng(11))
        if poison:
            y = y.copy()
            y[~real] = poison
        if loss == "cross-entropy":
            value, dy = lc.softmax_cross_entropy(y, engine.array(np.where(where, targets, outside)), mask=real)
        else:
            wanted = engine.array(np.where(where[..., None], values, poison))
            value, dy = lc.squared_error(y, wanted, mask=real)
        assert not engine.host(dy)[~where].any()
        _, _, grads = model.backward(dy, cache)
        results.append(flatten(engine.host({"loss": value, "grads": grads})))
    assert_identical(results[1], results[0])
    assert results[0]["loss"] > 0
