"""The loop back in array code: the engine's own initial gradients, and a textbook's formulas."""

import numpy as np
import pytest
from cases import CELLS, LAYERS, MASKS, Problem, assert_within, flatten, recurrent_parts, witness

from lstmcore.debug.step.step_back import steps_back
from lstmcore.debug.step.visits import run_step

CASES = [(name, mask) for name in LAYERS for mask in MASKS]


def recorded(problem, engine):
    layer = engine.place(problem.layer())
    x, state, dy, dstate, mask = map(engine.array, (problem.x, problem.state, problem.dy, problem.dstate, problem.mask))
    return run_step(layer, x, dy, state=state, mask=mask, dstate=dstate)


@pytest.mark.parametrize(("name", "mask"), CASES)
def test_a_recorded_step_is_the_step(engine, name, mask):
    """Noting what goes on changes nothing: bit by bit what the layer itself gives."""
    engine.skip_if_unsupported(*{part[0] for part in recurrent_parts(LAYERS[name])})
    problem = Problem(LAYERS[name], 5, 3, mask, seed=1)
    run = recorded(problem, engine)
    layer = engine.place(problem.layer())
    x, state, dy, dstate, mask = map(engine.array, (problem.x, problem.state, problem.dy, problem.dstate, problem.mask))
    y, final, cache = layer.forward(x, state, mask=mask)
    dx, dstate0, grads = layer.backward(dy, cache, dstate=dstate)
    ours = flatten(engine.host({"y": run.y, "state": run.state, "dx": run.dx, "d0": run.dstate0, "g": run.grads}))
    theirs = flatten(engine.host({"y": y, "state": final, "dx": dx, "d0": dstate0, "g": grads}))
    assert ours.keys() == theirs.keys()
    for key, value in theirs.items():
        assert ours[key].tobytes() == value.tobytes(), key
    assert len(run.visits) == len(run.back)
    assert {v.key(w) for v in run.visits for w in v.grads} == set(grads)


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("cell", CELLS)
def test_it_arrives_at_the_same_initial_gradients(engine, cell, mask):
    engine.skip_if_unsupported(cell)
    problem = Problem((cell, 3, 4), 5, 3, mask, seed=2)
    run = recorded(problem, engine)
    _, bounds = witness(problem)
    *_, first = steps_back(run.visits[0])
    assert first.t == 0
    names = [f"dstate0.{k}" for k in range(len(run.dstate0))]
    ours, theirs = (dict(zip(names, engine.host(tuple(d)))) for d in (first.dstates_prev, run.dstate0))
    assert_within(ours, theirs, {name: bounds[name] for name in names})


@pytest.mark.parametrize("mask", ["none", "right", "gaps"])
def test_the_two_paths_of_an_lstm(reference, mask):
    """Against the formulas of a textbook, written out for one row and one unit at a time.

    Both evaluate the same products of at most seven factors, and sums of at most 4 H + 1 = 17 terms through T = 5
    steps, with gradients of size 1: 1e-12 is 4,500 roundings.
    """
    problem = Problem(("lstm", 3, 4), 5, 3, mask, seed=3)
    visit = recorded(problem, reference).visits[0]
    steps = {step.t: kept(step) for step in steps_back(visit)}
    W_hh, (_, c), saved = problem.params["W_hh"], visit.cache.states, visit.cache.gates
    H = 4
    for b in range(problem.B):
        dh, dc = problem.dstate[0][b].copy(), problem.dstate[1][b].copy()
        for t in reversed(range(problem.T)):
            if problem.mask is not None and not problem.mask[t, b]:
                assert not steps[t].da[b].any()
                continue
            dh = dh + problem.dy[t, b]
            i, f, g, o = saved[t, b]
            local = dh * o * (1 - np.tanh(c[t + 1, b]) ** 2)
            slopes = (g * i * (1 - i), c[t, b] * f * (1 - f), i * (1 - g**2))
            through = [local * s for s in slopes] + [dh * np.tanh(c[t + 1, b]) * o * (1 - o)]
            along = [dc * s for s in slopes]
            step = steps[t]
            assert step.blocks == ((0, 1, 2, 3), (0, 1, 2))  # nothing reaches the output gate along c
            shown = (*step.arriving[:, b], *step.by_path(0)[b], *step.by_path(1)[b])
            for got, want in zip(shown, (dh, dc, *through, *along), strict=True):
                np.testing.assert_allclose(got, want, rtol=0, atol=1e-12)
            dc = (dc + local) * f
            dh = W_hh @ (np.ravel(through) + np.ravel([*along, np.zeros(H)]))
    assert np.abs(steps[2].by_path(1)[:, 0]).max() > 1e-3  # not 0 = 0


def kept(step):
    """A step with its own memory: `steps_back` uses its own again."""
    return step._replace(**{name: np.array(getattr(step, name)) for name in ("arriving", "da", "squares", "handed_on")})


@pytest.mark.parametrize("split", [True, False])
@pytest.mark.parametrize("mask", ["none", "gaps", "no step at all"])
@pytest.mark.parametrize("cell", CELLS)
def test_compiled_and_in_array_code(reference, monkeypatch, cell, mask, split):
    """The same products of at most seven factors through T = 5 steps: 1e-13 is 450 roundings of numbers of size 1.

    H = 19 is no multiple of any vector's length.
    """
    visit = recorded(Problem((cell, 3, 19), 5, 3, mask, seed=5), reference).visits[0]
    compiled = [kept(step) for step in steps_back(visit, split)]
    monkeypatch.setattr("lstmcore.debug.step.step_back.is_float32_or_64", lambda dtype: False)
    for ours, theirs in zip(compiled, steps_back(visit, split), strict=True):
        assert ours.blocks == theirs.blocks
        for name in ("arriving", "da", "squares", "handed_on"):
            a, b = getattr(ours, name), getattr(theirs, name)
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-13 * max(1, np.abs(b).max()))
    assert np.abs(theirs.handed_on).max() > 1e-3


@pytest.mark.parametrize("mask", ["none", "gaps"])
@pytest.mark.parametrize("cell", CELLS)
def test_the_paths_add_up_to_what_is_not_split(reference, cell, mask):
    """The same products, summed before or after: 1e-13 is 450 roundings of numbers of size 1."""
    visit = recorded(Problem((cell, 3, 4), 5, 3, mask, seed=4), reference).visits[0]
    for parts, whole in zip(steps_back(visit), steps_back(visit, split=False), strict=True):
        for ours, theirs in zip(parts.dstates_prev, whole.dstates_prev, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-13)
        total = np.zeros_like(whole.da)
        for path, ks in enumerate(parts.blocks):
            total[:, list(ks)] += parts.by_path(path)
        np.testing.assert_allclose(total, whole.da, rtol=0, atol=1e-13)
