"""Models, sizes, masks and mistakes that nobody thought of: Hypothesis draws them. `make nightly` draws 2,000 of each.

Every engine agrees with the reference on any model, and refuses any wrong argument in words, leaving all as it was.
"""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from cases import (
    CELLS,
    MASKS,
    Problem,
    arrays_in,
    assert_identical,
    assert_within,
    flatten,
    recurrent_parts,
    run,
    witness,
)
from engines import REFERENCE
from hypothesis import assume, event, given, note
from hypothesis import strategies as st

WIDTHS = st.one_of(st.integers(1, 5), st.integers(1, 40))  # narrow ones mostly; wide ones fill a vector or two
SIZES = st.integers(1, 6)  # T and B

# BLAS libraries set the processor's flag for an invalid operation now and then over numbers that they throw away (NumPy
# issue 24067), and NumPy passes it on as this warning: seen once in 10,000 examples, of finite operands. What counts
# are the numbers, and all of them are looked at.
pytestmark = pytest.mark.filterwarnings("ignore:invalid value encountered in matmul:RuntimeWarning")


# ---- models ----------------------------------------------------------------------------------------------------------


@st.composite
def layers(draw: Any, width: int, depth: int, last: bool) -> tuple[tuple, int]:
    """(spec, output width) of a layer over inputs of this width: a cell, or a container of up to `depth` levels.

    last: it gives its final state only, and so does one layer in each way through it.
    """
    kind = draw(st.sampled_from(["cell", "stack", "bidirectional"] if depth else ["cell"]))
    if kind == "cell":
        H = draw(WIDTHS)
        spec = (draw(st.sampled_from(CELLS)), width, H)
        return (*spec, "last") if last else spec, H
    if kind == "bidirectional":
        (fw, H_fw), (bw, H_bw) = (draw(layers(width, depth - 1, last)) for _ in range(2))
        if H_fw == H_bw and draw(st.booleans()):
            return ("sum", fw, bw), H_fw
        return ("bidirectional", fw, bw), H_fw + H_bw
    parts = []
    for _ in range(draw(st.integers(0, 1))):
        part, width = draw(layers(width, depth - 1, False))
        parts.append(part)
        part, width = draw(rows_alone(width))
        parts += part
    part, width = draw(layers(width, depth - 1, last))
    parts.append(part)
    part, width = draw(rows_alone(width))
    return ("stack", *parts, *part), width


@st.composite
def rows_alone(draw: Any, width: int) -> tuple[list[tuple], int]:
    """Up to two layers without a memory: linear, tanh."""
    parts: list[tuple] = []
    for kind in draw(st.lists(st.sampled_from(["linear", "tanh"]), max_size=2)):
        parts.append(("linear", width, draw(WIDTHS)) if kind == "linear" else ("tanh",))
        width = parts[-1][2] if kind == "linear" else width
    return parts, width


@st.composite
def problems(draw: Any, dtypes: tuple[str, ...] = ("float64", "float32")) -> Problem:
    """A random model with a random mask, and values for everything."""
    spec, _ = draw(layers(draw(WIDTHS), draw(st.integers(0, 2)), draw(st.booleans())))
    T, B = draw(SIZES), draw(SIZES)
    mask = draw(st.sampled_from([*MASKS, "any"]))
    if mask == "any":
        mask = np.array(draw(st.lists(st.booleans(), min_size=T * B, max_size=T * B))).reshape(T, B)
    return Problem(spec, T, B, mask, seed=draw(st.integers(0, 10**6)), dtype=draw(st.sampled_from(dtypes)))


def widened(tree: Any) -> Any:
    """The same numbers in float64."""
    if isinstance(tree, dict):
        return {name: widened(value) for name, value in tree.items()}
    if isinstance(tree, tuple):
        return tuple(widened(value) for value in tree)
    return None if tree is None else tree.astype("float64")


def in_double(problem: Problem) -> Problem:
    """The problem with its values in float64."""
    double = copy.copy(problem)
    double.dtype = "float64"
    for name in ("params", "x", "state", "dstate", "dy"):
        setattr(double, name, widened(getattr(problem, name)))
    return double


@given(problem=problems())
def test_engines_agree(other_engine, problem):
    """float64: every array to 1e-12 of its largest entry. float32: the error per array, the float64 reference being the
    truth, is at most 4 times the float32 reference's own + 8 eps of the largest entry (test_same_for_all.py says why).

    Those are sizes to be expected, and an array of a few entries may be small by cancellation, or the reference right
    by luck. Where an array is outside, the bound that the oracle derives for any order of evaluation decides, entry by
    entry, for the sum of both errors (rounding.py). That one no rounding can break.
    """
    assume(other_engine.supports(*{part[0] for part in recurrent_parts(problem.spec)}, dtype=problem.dtype))
    got, own = run(problem, other_engine), run(problem, REFERENCE)
    truth = own if problem.dtype == "float64" else run(in_double(problem), REFERENCE)
    assert got.keys() == own.keys() == truth.keys()
    outside = []
    for name, want in truth.items():
        assert got[name].shape == want.shape
        assert got[name].dtype == problem.dtype
        size = np.max(np.abs(want), initial=0.0)
        allowed = 1e-12 * size
        if problem.dtype == "float32":
            allowed = 4 * np.max(np.abs(own[name] - want), initial=0.0) + 8 * np.finfo("float32").eps * size
        if not np.max(np.abs(got[name] - want), initial=0.0) <= allowed:  # a NaN too
            outside.append(name)
    if outside:
        event("held to the derived bound")
        _, bounds = witness(problem)
        pick = [{name: results[name] for name in outside} for results in (got, own, bounds)]
        assert_within(*pick, dtype=problem.dtype, other=problem.dtype)


@given(problem=problems())
def test_what_predict_and_forward_give_is_the_same(engine, problem):
    """Outputs and states: where bits differ, up to the sum of both derived bounds."""
    assume(engine.supports(*{part[0] for part in recurrent_parts(problem.spec)}, dtype=problem.dtype))
    layer = engine.place(problem.layer())
    x, state, mask = map(engine.array, (problem.x, problem.state, problem.mask))
    y, last, _ = layer.forward(x, state, mask=mask)
    predicted, final = layer.predict(x, state, mask=mask)
    want, got = (flatten(engine.host({"y": a, "state": b})) for a, b in ((y, last), (predicted, final)))
    if any(got[name].tobytes() != want[name].tobytes() for name in want):
        event("held to the derived bound")
        _, bounds = witness(problem)
        assert_within(got, want, {name: bounds[name] for name in want}, problem.dtype, problem.dtype)


# ---- mistakes --------------------------------------------------------------------------------------------------------


class Call:
    """A layer with valid arguments for forward and backward, of which one is to be spoilt."""

    def __init__(self, problem: Problem, engine: Any):
        self.layer = engine.place(problem.layer())
        self.twin = engine.place(problem.layer())
        self.x, self.state, self.mask = map(engine.array, (problem.x, problem.state, problem.mask))
        self.dy, self.dstate = engine.array(problem.dy), engine.array(problem.dstate)
        _, _, self.cache = self.layer.forward(self.x, self.state, mask=self.mask)

    def forward(self) -> Any:
        return self.layer.forward(self.x, self.state, mask=self.mask)

    def predict(self) -> Any:
        return self.layer.predict(self.x, self.state, mask=self.mask)

    def backward(self) -> Any:
        return self.layer.backward(self.dy, self.cache, dstate=self.dstate)


def wider(values: Any, axis: int) -> Any:
    """The first entry along an axis once more, at the end."""
    first = values[(slice(None),) * axis + (slice(0, 1),)]
    return np.concatenate([values, first], axis=axis)


OTHER = {"float32": "float64", "float64": "float32"}
ARRAYS: dict[str, Callable[[Any], Any]] = {  # what can be wrong with any array of numbers
    "another dtype": lambda v: v.astype(OTHER[str(v.dtype)]),
    "integers": lambda v: v.astype(int),
    "complex": lambda v: v.astype(complex),
    "half precision": lambda v: v.astype("float16"),
    "a list": lambda v: v.tolist(),
    "a number": lambda v: 1.0,
    "a word": lambda v: "x",
    "none": lambda v: None,
    "an axis more": lambda v: v[None],
    "an axis less": lambda v: v[0],
    "wider": lambda v: wider(v, v.ndim - 1),
    "nothing": lambda v: v[..., :0],
}
MASKED: dict[str, Callable[[Any], Any]] = {
    "floats": lambda v: v.astype(float),
    "integers": lambda v: v.astype(int),
    "a list": lambda v: v.tolist(),
    "a step more": lambda v: wider(v, 0),
    "a row more": lambda v: wider(v, 1),
    "an axis more": lambda v: v[..., None],
    "an axis less": lambda v: v[0],
    "true": lambda v: True,
}


def leaf_spoilt(tree: Any, which: int, spoil: Callable[[Any], Any]) -> Any:
    """A state with one of its arrays, counted from the left, spoilt."""
    count = iter(range(10**6))

    def walk(part: Any) -> Any:
        if isinstance(part, tuple):
            return tuple(walk(inner) for inner in part)
        if part is None:
            return None
        return spoil(part) if next(count) == which else part

    return walk(tree)


def part_lost(tree: Any, at: list[int]) -> Any:
    """A state with one part too few, somewhere down the way that `at` tells."""
    inner = [k for k, part in enumerate(tree) if isinstance(part, tuple)]
    if not at or not inner:
        return tree[:-1]
    k = inner[at[0] % len(inner)]
    return (*tree[:k], part_lost(tree[k], at[1:]), *tree[k + 1 :])


@st.composite
def mistakes(draw: Any, call: Call) -> tuple[str, str, Any, str]:
    """(argument, what is wrong with it, its value, the method to be called)."""
    argument = draw(st.sampled_from(["x", "mask", "state", "dy", "dstate", "cache"]))
    method = "backward" if argument in ("dy", "dstate", "cache") else draw(st.sampled_from(["forward", "predict"]))
    if argument == "cache":
        wrong = {
            "of a twin": call.twin.forward(call.x, call.state, mask=call.mask)[2],
            "none": None,
            "an array": call.x,
            "a state": call.state,
        }
        what = draw(st.sampled_from(sorted(wrong)))
        return argument, what, wrong[what], method
    if argument == "mask":
        mask = np.ones(call.x.shape[:2], bool) if call.mask is None else call.mask
        what = draw(st.sampled_from(sorted(MASKED)))
        return argument, what, MASKED[what](mask), method
    value = getattr(call, argument)
    if argument in ("state", "dstate"):
        leaves = len(flatten(value))
        if draw(st.booleans()):
            return argument, "a part too few", part_lost(value, draw(st.lists(st.integers(0, 3), max_size=3))), method
        what = draw(st.sampled_from(sorted(ARRAYS)))
        return argument, what, leaf_spoilt(value, draw(st.integers(0, leaves - 1)), ARRAYS[what]), method
    more = {"rows": 1, "steps": 0} if argument == "dy" and value.ndim == 3 else {}
    what = draw(st.sampled_from(sorted([*ARRAYS, *more])))
    return argument, what, wider(value, more[what]) if what in more else ARRAYS[what](value), method


@given(problem=problems(), data=st.data())
def test_mistakes_are_refused_and_change_nothing(engine, problem, data):
    """TypeError or ValueError with a sentence that names an argument; then parameters, arguments, the cache and all
    results are what they were, bit for bit."""
    assume(engine.supports(*{part[0] for part in recurrent_parts(problem.spec)}, dtype=problem.dtype))
    call = Call(problem, engine)
    before = everything(call, engine)
    results = flatten(engine.host({"forward": call.forward()[:2], "backward": call.backward()}))
    argument, what, wrong, method = data.draw(mistakes(call))
    note(f"{method} of {call.layer} with {argument}: {what}")
    right = getattr(call, argument)
    setattr(call, argument, wrong)
    with pytest.raises((TypeError, ValueError)) as caught:
        getattr(call, method)()
    assert "`" in str(caught.value)
    assert len(str(caught.value)) > 20
    setattr(call, argument, right)
    assert_identical(everything(call, engine), before)
    again = flatten(engine.host({"forward": call.forward()[:2], "backward": call.backward()}))
    assert_identical(again, results)


def everything(call: Call, engine: Any) -> dict[str, np.ndarray]:
    """Copies of all that a call could spoil."""
    kept = {
        "params": dict(call.layer.params),
        "arguments": (call.x, call.state, call.mask, call.dy, call.dstate),
        "cache": tuple(arrays_in(call.cache)),
    }
    return {name: value.copy() for name, value in flatten(engine.host(kept)).items()}
