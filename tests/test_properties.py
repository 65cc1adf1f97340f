"""What must hold for any sizes, masks and values, on every engine (Hypothesis draws them).

Two ways to compute the same thing sum in different orders, so they agree up to rounding and no better. Each entry is
allowed twice the bound that the oracle derives for any order of evaluation (rounding.py), and nothing else. Where the
same sums run in the same order, every bit must agree.
"""

import copy
from typing import Any

import numpy as np
import pytest
from cases import (
    CELLS,
    INTERLEAVED,
    LAYERS,
    MASKS,
    TOWERS,
    Problem,
    arrays_in,
    assert_identical,
    assert_within,
    build,
    flatten,
    recurrent_parts,
    run,
    witness,
)
from hypothesis import assume, given
from hypothesis import strategies as st

sizes = st.integers(1, 4)
seeds = st.integers(0, 10**6)


@st.composite
def problems(draw: Any, kinds: tuple[str, ...] = (*CELLS, "last", "stack", "bidirectional", "interleaved", "towers")):
    """A problem of random layer, sizes, mask and values."""
    kind, T, B, I, H = draw(st.sampled_from(kinds)), draw(sizes), draw(sizes), draw(sizes), draw(sizes)
    mask = draw(st.sampled_from([*MASKS, "any"]))
    if mask == "any":
        mask = np.array(draw(st.lists(st.booleans(), min_size=T * B, max_size=T * B))).reshape(T, B)
    spec = {
        "last": ("lstm", I, H, "last"),
        "stack": ("stack", ("lstm", I, H), ("gru", H, 2), ("linear", 2, I)),
        "bidirectional": ("bidirectional", ("lstm", I, H), ("gru", I, 2)),
        "interleaved": INTERLEAVED,
        "towers": TOWERS,
    }.get(kind, (kind, I, H))
    return Problem(spec, T, B, mask, seed=draw(seeds))


def supported(engine, spec: tuple) -> None:
    """Leaves this example out if the engine does not run its cells (a skip would end the whole test)."""
    assume(engine.supports(*{part[0] for part in recurrent_parts(spec)}))


def select(tree: Any, choose: Any) -> Any:
    """`choose` of every array of a state."""
    if isinstance(tree, tuple):
        return tuple(select(part, choose) for part in tree)
    return None if tree is None else choose(tree)


def varied(problem: Problem, **changes: Any) -> Problem:
    """The same problem with some of its arrays replaced; T and B follow x."""
    other = copy.copy(problem)
    for name, value in changes.items():
        setattr(other, name, value)
    other.T, other.B = other.x.shape[:2]
    return other


# ---- the batch -------------------------------------------------------------------------------------------------------


@given(problem=problems())
def test_a_padded_batch_is_its_rows_alone(engine, problem):
    """Row b without its padding, run alone, gives what it gave in the batch; parameter gradients add up over the rows.

    Derivation of the bound: in both runs every entry is the same expression, but for terms that are exactly zero and
    for the order of its sums. The oracle bounds the error of such an expression for every order (rounding.py), and two
    runs can err in opposite directions: twice that bound.
    """
    supported(engine, problem.spec)
    whole = run(problem, engine)
    _, bounds = witness(problem)
    last = "y" in whole and whole["y"].ndim == 2
    mask = np.ones((problem.T, problem.B), bool) if problem.mask is None else problem.mask
    sums = {name: np.zeros_like(value) for name, value in whole.items() if name.startswith("grads.")}
    for b in range(problem.B):
        steps = np.flatnonzero(mask[:, b])
        if len(steps) == 0:
            check_row_without_a_step(problem, whole, b, last)
            for name in sums:  # a linear layer after a final state sees this row too; nothing else does
                if last:
                    sums[name] += alone(problem, engine, b, None)[name]
            continue
        row = alone(problem, engine, b, steps)
        places = {"y": (b,) if last else (steps, b), "dx": (steps, b)}
        for name, value in row.items():
            if name.startswith("grads."):
                sums[name] += value
                continue
            place = places.get(name, (b,))
            value = value[0] if name.startswith(("state", "dstate0")) or value.ndim == 2 else value[:, 0]
            assert_within({name: whole[name][place]}, {name: value}, {name: bounds[name][place]})
    assert_within({name: whole[name] for name in sums}, sums, {name: bounds[name] for name in sums})


def alone(problem: Problem, engine: Any, b: int, steps: np.ndarray | None) -> dict[str, np.ndarray]:
    """Row b by itself: its real steps only, or, with None, as it stands, under its mask."""
    dy = problem.dy[b : b + 1] if problem.dy.ndim == 2 else problem.dy[:, b : b + 1]
    x, mask = problem.x[:, b : b + 1], None if problem.mask is None else problem.mask[:, b : b + 1]
    if steps is not None:
        x, mask, dy = x[steps], None, dy if dy.ndim == 2 else dy[steps]
    state, dstate = (select(tree, lambda s: s[b : b + 1]) for tree in (problem.state, problem.dstate))
    return run(varied(problem, x=x, mask=mask, dy=dy, state=state, dstate=dstate), engine)


def check_row_without_a_step(problem: Problem, whole: dict, b: int, last: bool) -> None:
    """A row without a real step returns its initial state, and gives its gradient straight back."""
    before, dlast = flatten({"state": problem.state}), flatten({"dstate0": problem.dstate})
    for name, value in before.items():
        assert np.array_equal(whole[name][b], value[b]), name
    for name, value in dlast.items():
        given_back = value[b] + (problem.dy[b] if last and name == "dstate0.0" else 0.0)  # y is h
        assert np.array_equal(whole[name][b], given_back), name
    assert not whole["dx"][:, b].any()
    assert last or not whole["y"][:, b].any()


@given(problem=problems(), data=st.data())
def test_a_permuted_batch_gives_permuted_results(engine, problem, data):
    supported(engine, problem.spec)
    order = np.array(data.draw(st.permutations(range(problem.B))))
    whole = run(problem, engine)
    _, bounds = witness(problem)
    by_row = {name: 0 if value.ndim == 2 else 1 for name, value in whole.items() if not name.startswith("grads.")}
    permuted = run(
        varied(
            problem,
            x=problem.x[:, order],
            mask=None if problem.mask is None else problem.mask[:, order],
            dy=problem.dy.take(order, axis=by_row["y"]),
            state=select(problem.state, lambda s: s[order]),
            dstate=select(problem.dstate, lambda s: s[order]),
        ),
        engine,
    )
    want = {name: value.take(order, by_row[name]) if name in by_row else value for name, value in whole.items()}
    limits = {name: value.take(order, by_row[name]) if name in by_row else value for name, value in bounds.items()}
    assert_within(permuted, want, limits)


# ---- time ------------------------------------------------------------------------------------------------------------


@given(problem=problems((*CELLS, "stack")), data=st.data())
def test_a_split_sequence_with_carried_state_is_the_whole(engine, problem, data):
    """Forward in two pieces, the state carried on; backward in two pieces, its gradient carried back."""
    supported(engine, problem.spec)
    if problem.T == 1:
        problem = varied(problem, x=np.repeat(problem.x, 2, 0), dy=np.repeat(problem.dy, 2, 0), mask=None)
    cut = data.draw(st.integers(1, problem.T - 1))
    whole = run(problem, engine)
    _, bounds = witness(problem)

    layer = engine.place(problem.layer())
    x, state, dy, dstate, mask = map(engine.array, (problem.x, problem.state, problem.dy, problem.dstate, problem.mask))
    masks = (None, None) if mask is None else (mask[:cut], mask[cut:])
    y_1, between, cache_1 = layer.forward(x[:cut], state, mask=masks[0])
    y_2, last, cache_2 = layer.forward(x[cut:], between, mask=masks[1])
    dx_2, dbetween, grads_2 = layer.backward(dy[cut:], cache_2, dstate=dstate)
    dx_1, dstate0, grads_1 = layer.backward(dy[:cut], cache_1, dstate=dbetween)
    y_1, y_2, dx_1, dx_2, last, dstate0 = map(engine.host, (y_1, y_2, dx_1, dx_2, last, dstate0))
    grads_1, grads_2 = engine.host(grads_1), engine.host(grads_2)
    pieces = {
        "y": np.concatenate([y_1, y_2]),
        "state": last,
        "dx": np.concatenate([dx_1, dx_2]),
        "dstate0": dstate0,
        "grads": {name: grads_1[name] + grads_2[name] for name in grads_1},
    }
    assert_within(flatten(pieces), whole, bounds)


@given(problem=problems((*CELLS, "stack", "last")))
def test_stepping_is_running(engine, problem):
    """A stream of single steps gives what one forward pass gives, where every step is real."""
    problem = varied(problem, mask=None)
    supported(engine, problem.spec)
    whole = run(problem, engine)
    _, bounds = witness(problem)
    layer = engine.place(problem.layer())
    x, state = engine.array(problem.x), engine.array(problem.state)
    outputs = []
    for t in range(problem.T):
        y, state = layer.step(x[t], state)
        outputs.append(engine.host(y))
    streamed = flatten({"y": outputs[-1] if whole["y"].ndim == 2 else np.stack(outputs), "state": engine.host(state)})
    assert_within(streamed, {name: whole[name] for name in streamed}, {name: bounds[name] for name in streamed})


@given(problem=problems())
def test_predict_is_forward(engine, problem):
    """Up to rounding: an engine may keep more in registers when it keeps no cache."""
    supported(engine, problem.spec)
    whole = run(problem, engine)
    _, bounds = witness(problem)
    layer = engine.place(problem.layer())
    y, state = layer.predict(engine.array(problem.x), engine.array(problem.state), mask=engine.array(problem.mask))
    seen = flatten(engine.host({"y": y, "state": state}))
    assert_within(seen, {name: whole[name] for name in seen}, {name: bounds[name] for name in seen})


@given(problem=problems(("bidirectional", "towers")))
def test_reversed_input_and_swapped_directions_give_reversed_output(engine, problem):
    """Time turned round and the layers exchanged: y turned round with its halves exchanged, and so each gradient."""
    supported(engine, problem.spec)
    whole = run(problem, engine)
    _, bounds = witness(problem)
    _, fw, bw = problem.spec
    widths = [run(varied_spec(problem, fw, "fw."), engine)["y"].shape[-1]]

    def swapped(values: np.ndarray, width: int) -> np.ndarray:
        return np.concatenate([values[..., width:], values[..., :width]], axis=-1)

    mirrored = varied(
        problem,
        spec=("bidirectional", bw, fw),
        params={SWAP[name[:3]] + name[3:]: value for name, value in problem.params.items()},
        x=problem.x[::-1],
        mask=None if problem.mask is None else problem.mask[::-1],
        dy=swapped(problem.dy[::-1], widths[0]),
        state=problem.state[::-1],
        dstate=problem.dstate[::-1],
    )
    got = run(mirrored, engine)

    def mirror(results: dict) -> dict:
        turned = {"y": swapped(results["y"][::-1], widths[0]), "dx": results["dx"][::-1]}
        for name, value in results.items():
            if name.startswith(("state.", "dstate0.")):
                head, direction, rest = name.split(".", 2)
                turned[f"{head}.{1 - int(direction)}.{rest}"] = value
            elif name.startswith("grads."):
                turned["grads." + SWAP[name[6:9]] + name[9:]] = value
        return turned

    assert_within(got, mirror(whole), mirror(bounds))


SWAP = {"fw.": "bw.", "bw.": "fw."}


def varied_spec(problem: Problem, spec: tuple, prefix: str) -> Problem:
    """The part of a bidirectional problem that its forward direction sees, with a dy that fits."""
    params = {name[len(prefix) :]: value for name, value in problem.params.items() if name.startswith(prefix)}
    part = varied(problem, spec=spec, params=params, state=problem.state[0], dstate=problem.dstate[0])
    part.dy = np.ones(part.layer().predict(part.x)[0].shape)
    return part


# ---- the backward pass -----------------------------------------------------------------------------------------------


@given(problem=problems(), seed=seeds)
def test_backward_is_linear_in_dy(engine, problem, seed):
    """Gradients of 2 dy + dy' are twice those of dy plus those of dy'.

    The dy are multiples of 2^-10 below 8, so that 2 dy + dy' is exact. Each of the three runs errs by at most its own
    bound; the sum of the parts adds one rounding of its own.
    """
    supported(engine, problem.spec)
    rng = np.random.default_rng(seed)

    def dyadic(values: np.ndarray) -> np.ndarray:
        return np.clip(np.round(rng.normal(size=values.shape) * 1024) / 1024, -4, 4)

    one = varied(problem, dy=dyadic(problem.dy), dstate=select(problem.dstate, dyadic))
    two = varied(problem, dy=dyadic(problem.dy), dstate=select(problem.dstate, dyadic))
    dstate = combined(one.dstate, two.dstate)
    both = varied(problem, dy=2 * one.dy + two.dy, dstate=dstate)
    got, first, second = (gradients(run(p, engine)) for p in (both, one, two))
    bounds = [gradients(witness(p)[1]) for p in (both, one, two)]
    for name, value in got.items():
        parts = 2 * first[name] + second[name]
        limit = sum(bound[name] * weight for bound, weight in zip(bounds, (1, 2, 1), strict=True)) + np.abs(parts)
        assert np.all(np.abs(value - parts) <= limit * 2.0**-53 * 1.01), name


def combined(one: Any, two: Any) -> Any:
    if isinstance(one, tuple):
        return tuple(combined(a, b) for a, b in zip(one, two, strict=True))
    return None if one is None else 2 * one + two


def gradients(results: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: value for name, value in results.items() if name.startswith(("dx", "dstate0", "grads"))}


@given(problem=problems())
def test_nothing_in_gives_nothing_back(engine, problem):
    """dy and dstate of zeros: every gradient is exactly zero."""
    supported(engine, problem.spec)
    silent = varied(problem, dy=np.zeros_like(problem.dy), dstate=select(problem.dstate, np.zeros_like))
    results = run(silent, engine)
    assert results["y"].size
    for name, value in gradients(results).items():
        assert not value.any(), name


@given(problem=problems())
def test_left_out_is_zero(engine, problem):
    """state=None and dstate=None mean zeros, bit for bit."""
    supported(engine, problem.spec)
    zeros = varied(problem, state=select(problem.state, np.zeros_like), dstate=select(problem.dstate, np.zeros_like))
    assert_identical(run(varied(problem, state=None, dstate=None), engine), run(zeros, engine))


@pytest.mark.parametrize("name", LAYERS)
def test_backward_twice_and_nothing_touched(engine, name):
    """The second backward gives the same bits; x, mask, states, dy, parameters and cache are as they were."""
    problem = Problem(LAYERS[name], 4, 3, "gaps", seed=1)
    engine.skip_if_unsupported(*{part[0] for part in recurrent_parts(problem.spec)})
    layer = engine.place(problem.layer())
    arguments = [engine.array(v) for v in (problem.x, problem.state, problem.mask, problem.dy, problem.dstate)]
    x, state, mask, dy, dstate = arguments
    y, last, cache = layer.forward(x, state, mask=mask)
    kept = {
        "arguments": tuple(arguments),
        "outputs": (y, last),
        "params": dict(layer.params),
        "cache": tuple(arrays_in(cache)),
    }
    before = flatten(engine.host(copy.deepcopy(kept)))
    assert any(key.startswith("cache") for key in before)
    results = []
    for _ in range(2):
        dx, dstate0, grads = layer.backward(dy, cache, dstate=dstate)
        results.append(flatten(copy.deepcopy(engine.host({"dx": dx, "dstate0": dstate0, "grads": grads}))))
        assert_identical(flatten(engine.host(kept)), before)
    assert_identical(results[1], results[0])


@pytest.mark.parametrize("reuse", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_two_training_steps_in_a_row(engine, name, reuse):
    """The second step, on other inputs, gives the bits of a new layer that starts with the second step's parameters."""
    first, second = Problem(LAYERS[name], 4, 3, "right", seed=2), Problem(LAYERS[name], 4, 3, "gaps", seed=3)
    engine.skip_if_unsupported(*{part[0] for part in recurrent_parts(first.spec)})
    layer, cache, results = engine.place(first.layer()), None, None
    for problem in (first, second):
        params = {key: np.array(value) for key, value in engine.host(dict(layer.params)).items()}
        x, state, dy, dstate, mask = map(
            engine.array, (problem.x, problem.state, problem.dy, problem.dstate, problem.mask)
        )
        y, last, cache = layer.forward(x, state, mask=mask, reuse=cache if reuse else None)
        dx, dstate0, grads = layer.backward(dy, cache, dstate=dstate)
        results = flatten(engine.host({"y": y, "state": last, "dx": dx, "dstate0": dstate0, "grads": grads}))
        for key in grads:
            layer.params[key][...] -= 0.1 * grads[key]
    assert any((params[key] != first.params[key]).any() for key in params)  # the first step moved them
    assert_identical(results, run(varied(second, params=params), engine))


@pytest.mark.parametrize("name", LAYERS)
def test_a_shorter_batch_after_a_longer_one(engine, name):
    """Buffers of another shape are not reused: nothing of the first run is left in the second."""
    long, short = Problem(LAYERS[name], 5, 3, "right", seed=4), Problem(LAYERS[name], 2, 2, "gaps", seed=5)
    engine.skip_if_unsupported(*{part[0] for part in recurrent_parts(long.spec)})
    short.params = long.params
    layer = engine.place(long.layer())
    x, state, mask = map(engine.array, (long.x, long.state, long.mask))
    _, _, cache = layer.forward(x, state, mask=mask)
    x, state, dy, dstate, mask = map(engine.array, (short.x, short.state, short.dy, short.dstate, short.mask))
    y, last, cache = layer.forward(x, state, mask=mask, reuse=cache)
    dx, dstate0, grads = layer.backward(dy, cache, dstate=dstate)
    results = flatten(engine.host({"y": y, "state": last, "dx": dx, "dstate0": dstate0, "grads": grads}))
    assert_identical(results, run(short, engine))


# ---- memory ----------------------------------------------------------------------------------------------------------

LAYOUTS = {
    "batch-major": lambda v: np.ascontiguousarray(v.swapaxes(0, 1)).swapaxes(0, 1),
    "Fortran": np.asfortranarray,
    "every other entry": lambda v: np.repeat(v, 2, axis=-1)[..., ::2],
    "backwards": lambda v: np.ascontiguousarray(v[::-1])[::-1],
    "read-only": lambda v: read_only(v),
}


def read_only(values: np.ndarray) -> np.ndarray:
    values = values.copy()
    values.flags.writeable = False
    return values


@pytest.mark.pairwise("name", "layout")
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", LAYERS)
def test_any_layout_in_memory(engine, name, layout):
    """x, mask, states, dy and dstate as views with other strides. A product may then sum in another order."""
    problem = Problem(LAYERS[name], 4, 3, "gaps", seed=6)
    engine.skip_if_unsupported(*{part[0] for part in recurrent_parts(problem.spec)})
    want = run(problem, engine)
    _, bounds = witness(problem)
    turn = LAYOUTS[layout]
    strided = varied(
        problem,
        x=turn(problem.x),
        mask=turn(problem.mask),
        dy=turn(problem.dy),
        state=select(problem.state, turn),
        dstate=select(problem.dstate, turn),
    )
    assert layout == "read-only" or strided.x.strides != problem.x.strides
    assert np.array_equal(strided.x, problem.x)
    assert_within(run(strided, engine), want, bounds)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", LAYERS)
def test_gradients_have_the_shape_and_dtype_of_their_values(engine, name, dtype):
    problem = Problem(LAYERS[name], 3, 2, "right", seed=7, dtype=dtype)
    engine.skip_if_unsupported(*{part[0] for part in recurrent_parts(problem.spec)}, dtype=dtype)
    results = run(problem, engine)
    values = flatten({"y": problem.dy, "state": problem.state, "dx": problem.x, "dstate0": problem.state})
    values |= flatten({"grads": problem.params})
    assert {key: (v.shape, v.dtype) for key, v in results.items()} == {
        key: (v.shape, v.dtype) for key, v in values.items()
    }
    assert list(build(problem.spec).params) == [key.removeprefix("grads.") for key in results if key[:6] == "grads."]
