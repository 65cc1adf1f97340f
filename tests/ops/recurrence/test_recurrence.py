"""The seam: what an engine module has, what it accepts, and how one is chosen."""

import copy

import numpy as np
import pytest
from cases import CELLS, MASKS, Problem, assert_identical, flatten, run
from engines import REFERENCE

import lstmcore as lc
from lstmcore.ops.cells import CELLS as ALL_CELLS
from lstmcore.ops.recurrence import ENGINES, choose, reference


def arguments(problem: Problem):
    return ALL_CELLS[problem.spec[0]], problem.x, problem.params, problem.state, problem.mask


def test_the_reference_is_always_there():
    assert "reference" in ENGINES
    for cell in ALL_CELLS.values():
        for dtype in ("float32", "float64", "complex128"):
            assert choose("reference", cell, np.zeros(1, dtype)) is reference
            assert choose(None, cell, np.zeros(1, dtype)).supports(cell, np.dtype(dtype))
        assert not reference.supports(cell, np.dtype("int64"))
        with pytest.raises(
            ValueError, match=r"engine 'reference' cannot run .* in int64 on arrays of numpy; nor can any other"
        ):
            choose("reference", cell, np.zeros(1, "int64"))


@pytest.mark.parametrize("cell", CELLS)
def test_an_object_with_the_four_functions_is_an_engine(cell):
    """What a layer is given runs, and nothing else: here one that marks what passes through it."""
    seen = []

    class Marked:
        supports, predict = staticmethod(reference.supports), staticmethod(reference.predict)

        @staticmethod
        def forward(*arguments):
            seen.append("forward")
            return reference.forward(*arguments)

        @staticmethod
        def backward(*arguments):
            seen.append("backward")
            return reference.backward(*arguments)

    problem = Problem((cell, 3, 4), 3, 2, "gaps")
    marked = run(problem, REFERENCE._replace(engine=Marked))
    assert seen == ["forward", "backward"]
    assert_identical(marked, run(problem, REFERENCE))


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("cell", CELLS)
def test_no_dy_is_a_dy_of_zeros(engine, cell, mask):
    """dy None means that nothing reaches the outputs."""
    engine.skip_if_unsupported(cell)
    problem = Problem((cell, 3, 4), 4, 3, mask)
    kind, x, params, state, where = arguments(problem)
    x, params, state, where, dstate = map(engine.array, (x, params, state, where, problem.dstate))
    runs = choose(engine.engine, kind, x)
    cache = runs.forward(kind, x, params, state, where)
    zeros = engine.array(np.zeros_like(problem.dy))
    got, want = (runs.backward(kind, dy, dstate, params, cache) for dy in (None, zeros))
    assert_identical(flatten(engine.host(got)), flatten(engine.host(want)))


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("cell", CELLS)
def test_the_cache(engine, cell, mask):
    """Row 0 of the states is the initial state; masked steps carry it on, and their gates are zero."""
    engine.skip_if_unsupported(cell)
    problem = Problem((cell, 3, 4), 5, 3, mask, seed=1)
    kind, x, params, state, where = arguments(problem)
    x, params, state, where = map(engine.array, (x, params, state, where))
    cache = choose(engine.engine, kind, x).forward(kind, x, params, state, where)
    assert cache.engine == engine.engine
    states, gates = engine.host(cache.states), engine.host(cache.gates)
    padding = problem.padding()
    assert gates.shape == (5, 3, len(kind.gates), 4)
    assert not gates[padding].any()
    assert gates[~padding].all()
    assert not engine.host(cache.x)[padding].any()
    assert np.array_equal(engine.host(cache.x)[~padding], problem.x[~padding])
    assert len(states) == len(kind.states)
    for s, s0 in zip(states, problem.state, strict=True):
        assert s.shape == (6, 3, 4)
        assert np.array_equal(s[0], s0)
        assert np.array_equal(s[1:][padding], s[:-1][padding])
        assert (s[1:][~padding] != s[:-1][~padding]).all()


@pytest.mark.parametrize("cell", CELLS)
def test_reused_buffers_are_the_same_memory(cell):
    """The reference's states go where the old cache's were, and a cache that was not handed back is left alone."""
    problem = Problem((cell, 3, 4), 4, 3, "gaps")
    old = reference.forward(*arguments(problem))
    kept = copy.deepcopy(old.states)
    fresh = reference.forward(*arguments(problem))
    assert not any(np.shares_memory(a, b) for a, b in zip(old.states, fresh.states))
    again = reference.forward(*arguments(Problem((cell, 3, 4), 4, 3, "right", seed=1)), reuse=old)
    assert all(a is b for a, b in zip(old.states, again.states))
    assert_identical(flatten(fresh.states), flatten(kept))


@pytest.mark.parametrize("cell", CELLS)
def test_continuing_from_a_reused_cache(cell):
    """The final state of one run starts the next, which overwrites the first one's buffers: none may change midway."""
    layer = Problem((cell, 3, 4)).layer()
    x = np.random.default_rng(0).normal(size=(6, 2, 3))
    state, cache, outputs = None, None, []
    for piece in np.split(x, 3):
        y, state, cache = layer.forward(piece, state, reuse=cache)
        outputs.append(y.copy())
    whole, last, _ = layer.forward(x)
    assert np.allclose(np.concatenate(outputs), whole, rtol=0, atol=50 * np.finfo(float).eps)
    assert np.allclose(state[0], last[0], rtol=0, atol=50 * np.finfo(float).eps)


@pytest.mark.parametrize("library", ["numpy"])
def test_the_engine_is_named_in_the_cache(library):
    layer = lc.LSTM(2, 3, seed=0).to(array=library)
    _, _, cache = layer.forward(np.zeros((1, 1, 2), "float32"))
    assert cache.engine in ENGINES
    _, _, cache = layer.to(engine="reference").forward(np.zeros((1, 1, 2), "float32"))
    assert cache.engine == "reference"
