"""Every engine gives the reference's numbers.

float64: entry by entry within the two rounding bounds (test_truth.py holds each engine to the oracle), and here, over
larger shapes, 1e-12 relative to the largest entry of each array.

float32: with the float64 reference as the truth, an engine may be off by at most 4 times what the float32 reference is
off, plus 8 eps of the largest value. Two orders of summation round n times each, so their largest errors over an
array are two draws from much the same distribution; over arrays of hundreds of entries their ratio stays near 1, and 4
leaves room for the small ones. The second part is for arrays where the reference happens to be almost exact: an engine
has a few roundings of its own (a sigmoid of 4, a tanh, the last sum), 8 of them in all. A lost term, a gate in half
precision or an approximate tanh of 5 digits costs 100 times that or more.
"""

from functools import cache

import numpy as np
import pytest
from cases import LAYERS, MASKS, Problem, assert_identical, recurrent_parts, run, worst_relative_error
from engines import REFERENCE
from hypothesis import assume, given, settings
from hypothesis import strategies as st

LARGE = {
    "lstm": ("lstm", 16, 32),
    "gru": ("gru", 16, 32),
    "rnn": ("rnn", 16, 32),
    "odd sizes": ("lstm", 13, 37),
    "bidirectional": ("stack", ("bidirectional", ("lstm", 16, 24), ("lstm", 16, 24)), ("linear", 48, 5)),
}
FULL_SIZE = (100, 200)  # T B = 20,000


@cache
def reference(spec: tuple, T: int, B: int, mask: str, dtype: str):
    """The float32 problem, computed by the reference in the given dtype."""
    problem = Problem(spec, T, B, mask, seed=T, dtype="float32")
    if dtype == "float64":
        problem.dtype = "float64"
        problem.params = {name: value.astype("float64") for name, value in problem.params.items()}
        problem.x, problem.dy = problem.x.astype("float64"), problem.dy.astype("float64")
        problem.state, problem.dstate = widened(problem.state), widened(problem.dstate)
    return problem, run(problem, REFERENCE)


def widened(state):
    if isinstance(state, tuple):
        return tuple(widened(part) for part in state)
    return None if state is None else state.astype("float64")


def check_float32(engine, spec, T, B, mask):
    engine.skip_if_unsupported(*{part[0] for part in recurrent_parts(spec)}, dtype="float32")
    _, truth = reference(spec, T, B, mask, "float64")
    problem, single = reference(spec, T, B, mask, "float32")
    got = run(problem, engine)
    assert got.keys() == truth.keys()
    eps = np.finfo("float32").eps
    for name, want in truth.items():
        own = np.max(np.abs(single[name] - want), initial=0.0)
        allowed = 4 * own + 8 * eps * np.max(np.abs(want), initial=0.0)
        assert np.max(np.abs(got[name] - want), initial=0.0) <= allowed, name


@pytest.mark.parametrize("mask", ["none", "gaps", "right"])
@pytest.mark.parametrize("name", LARGE)
def test_float32_at_full_size(other_engine, name, mask):
    check_float32(other_engine, LARGE[name], *FULL_SIZE, mask)


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("name", LAYERS)
def test_float32_small(other_engine, name, mask):
    check_float32(other_engine, LAYERS[name], 4, 3, mask)


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("name", LARGE)
def test_float64(other_engine, name, mask):
    """T B = 200 terms at most in a sum, n u = 2e-14 of their total size; 1e-12 allows them a condition of 50."""
    other_engine.skip_if_unsupported(*{part[0] for part in recurrent_parts(LARGE[name])})
    problem, want = reference(LARGE[name], 20, 10, mask, "float64")
    worst, array = worst_relative_error(run(problem, other_engine), want)
    assert worst <= 1e-12, array


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_the_cache_means_the_same(other_engine, cell, mask):
    """x, states, gates and mask of the cache: the same shapes and the reference's numbers, to 1e-12 as above."""
    other_engine.skip_if_unsupported(cell)
    problem = Problem((cell, 5, 6), 7, 4, mask, seed=9)
    kept = []
    for engine in (other_engine, REFERENCE):
        x, state, mask_array = map(engine.array, (problem.x, problem.state, problem.mask))
        _, _, cache = engine.place(problem.layer()).forward(x, state, mask=mask_array)
        assert cache.engine == engine.engine
        arrays = {"x": cache.x, "gates": cache.gates} | {f"states.{k}": s for k, s in enumerate(cache.states)}
        kept.append(engine.host(arrays if cache.mask is None else arrays | {"mask": cache.mask}))
    got, want = kept
    for values in kept:  # states of masked rows may differ by nothing: they are carried
        values.pop("mask", None)
    worst, array = worst_relative_error(got, want)
    assert worst <= 1e-12, array


@settings(max_examples=60)
@given(
    cell=st.sampled_from(["lstm", "gru", "rnn"]),
    sizes=st.tuples(st.integers(1, 6), st.integers(1, 40), st.integers(1, 40), st.integers(1, 70)),
    mask=st.sampled_from(MASKS),
    dtype=st.sampled_from(["float32", "float64"]),
)
def test_any_size(other_engine, cell, sizes, mask, dtype):
    """Sizes that fill no vector, no tile and no thread evenly. Tolerances as above, for shorter sums."""
    assume(other_engine.supports(cell, dtype=dtype))
    T, B, I, H = sizes
    _, truth = reference((cell, I, H), T, B, mask, "float64")
    problem, own = reference((cell, I, H), T, B, mask, dtype)
    got, eps = run(problem, other_engine), np.finfo(dtype).eps
    assert got.keys() == truth.keys()
    for name, want in truth.items():
        size = np.max(np.abs(want), initial=0.0)
        allowed = 1e-12 * size if dtype == "float64" else 4 * np.max(np.abs(own[name] - want)) + 8 * eps * size
        assert np.max(np.abs(got[name] - want), initial=0.0) <= allowed, name


def test_cells_and_dtypes_do_not_disturb_each_other(engine):
    """Every cell in both dtypes, one after the other and again in the other order, in one process: the same bits."""
    kinds = [(cell, dtype) for cell in ("lstm", "gru", "rnn") for dtype in ("float64", "float32")]
    kinds = [kind for kind in kinds if engine.supports(kind[0], dtype=kind[1])]
    assert kinds
    problems = [Problem((cell, 5, 9), 4, 3, "gaps", seed=1, dtype=dtype) for cell, dtype in kinds]
    first = [run(problem, engine) for problem in problems]
    again = [run(problem, engine) for problem in reversed(problems)][::-1]
    for one, two, problem in zip(first, again, problems, strict=True):
        assert_identical(two, one)
        worst, array = worst_relative_error(one, run(problem, REFERENCE))
        # two results within 1e-12; in float32 within 1e-5, a hundred eps: sums of 45 terms over 4 steps
        assert worst <= (1e-12 if problem.dtype == "float64" else 1e-5), array


@pytest.mark.parametrize("name", LARGE)
def test_the_yardstick(name):
    """The float32 reference at full size is itself near the float64 one: 1e-5 of each array's largest entry.

    Sums of n = 20,000 terms of random sign: about sqrt(n) u = 8e-6 of their total's standard deviation sqrt(n) times a
    term, and the largest of an array's entries is above that deviation.
    """
    _, truth = reference(LARGE[name], *FULL_SIZE, "gaps", "float64")
    _, single = reference(LARGE[name], *FULL_SIZE, "gaps", "float32")
    worst, array = worst_relative_error(single, truth)
    assert 1e-8 < worst <= 1e-5, array
