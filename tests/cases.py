"""What the engine suites share: layers told as tuples (see oracle.py), masks, random values, comparison."""

from collections.abc import Callable
from typing import Any

import numpy as np
import oracle
from engines import Engine
from rounding import SECOND_ORDER, UNIT_ROUNDOFF

import lstmcore as lc

# ---- layers ------------------------------------------------------------------------------------------------

CELLS = ("lstm", "gru", "rnn")
FUNCTIONS = {"lstm": lc.LSTM, "gru": lc.GRU, "rnn": lc.RNN}

INTERLEAVED = (  # PyTorch's topology: every layer sees both directions of the layer below
    "stack",
    ("bidirectional", ("lstm", 3, 2), ("lstm", 3, 2)),
    ("bidirectional", ("lstm", 4, 3), ("lstm", 4, 3)),
    ("linear", 6, 2),
)
TOWERS = (  # TensorFlow 1's topology: two independent stacks, joined at the top
    "bidirectional",
    ("stack", ("lstm", 3, 4), ("lstm", 4, 2)),
    ("stack", ("lstm", 3, 2), ("lstm", 2, 3)),
)
LAYERS = {
    "lstm": ("lstm", 3, 4),
    "gru": ("gru", 3, 4),
    "rnn": ("rnn", 3, 4),
    "lstm-last": ("lstm", 3, 4, "last"),
    "bidirectional": ("bidirectional", ("lstm", 3, 2), ("lstm", 3, 4)),
    "bidirectional-gru": ("bidirectional", ("gru", 3, 2), ("gru", 3, 2)),
    "bidirectional-last": ("bidirectional", ("lstm", 3, 2, "last"), ("gru", 3, 3, "last")),
    "three-layers": ("stack", ("lstm", 3, 4), ("gru", 4, 2), ("lstm", 2, 3)),
    "three-layers-last": ("stack", ("lstm", 3, 4), ("lstm", 4, 3), ("lstm", 3, 2, "last"), ("linear", 2, 5), ("tanh",)),
    "interleaved": INTERLEAVED,
    "towers": TOWERS,
    "per-step-head": ("stack", ("lstm", 3, 4), ("linear", 4, 3), ("tanh",)),
}
SHAPES = ((5, 3, 3, 4), (1, 1, 1, 1), (7, 1, 2, 5), (1, 4, 3, 2), (3, 2, 5, 1), (4, 5, 1, 3))  # T, B, I, H


def build(spec: tuple, dtype: str = "float64", seed: int = 0) -> Any:
    """The layer, container or model of lstmcore that a spec tells."""
    rng = np.random.default_rng(seed)
    if spec[0] in FUNCTIONS:
        return FUNCTIONS[spec[0]](spec[1], spec[2], dtype=dtype, seed=rng, return_sequences=spec[-1] != "last")
    if spec[0] in ("bidirectional", "sum"):
        merge = "concat" if spec[0] == "bidirectional" else "sum"
        return lc.Bidirectional(build(spec[1], dtype, seed), build(spec[2], dtype, seed + 1), merge)
    if spec[0] == "stack":
        return lc.Stack([build(inner, dtype, seed + 10 * k) for k, inner in enumerate(spec[1:])])
    if spec[0] == "linear":
        return lc.Linear(spec[1], spec[2], dtype=dtype, seed=rng)
    return lc.Tanh()


def input_size(spec: tuple) -> int:
    return input_size(spec[1]) if isinstance(spec[1], tuple) else spec[1]


def recurrent_parts(spec: tuple) -> list[tuple]:
    """The recurrent layers in a spec."""
    if spec[0] in FUNCTIONS:
        return [spec]
    return [part for inner in spec[1:] if isinstance(inner, tuple) for part in recurrent_parts(inner)]


def state_widths(spec: tuple) -> Any:
    """The structure of a layer's state, with (how many, width) at each leaf."""
    if spec[0] in FUNCTIONS:
        return (2 if spec[0] == "lstm" else 1, spec[2])
    if spec[0] in ("bidirectional", "sum", "stack"):
        return [state_widths(inner) for inner in spec[1:]]
    return None


def random_state(spec: tuple, B: int, rng: np.random.Generator, dtype: str = "float64") -> Any:
    """A state of the layer, random and nowhere zero."""

    def fill(leaf: Any) -> Any:
        if leaf is None:
            return None
        if isinstance(leaf, list):
            return tuple(fill(inner) for inner in leaf)
        count, H = leaf
        return tuple(rng.normal(size=(B, H), scale=0.7).astype(dtype) for _ in range(count))

    return fill(state_widths(spec))


# ---- masks -------------------------------------------------------------------------------------------------

MASKS = ("none", "full", "right", "left", "gaps", "row without a step", "no step at all")


def make_mask(pattern: str, T: int, B: int, rng: np.random.Generator) -> np.ndarray | None:
    """(T, B) bool, or None. In "right" and "left" the first row is full and the last one, if another, has one step."""
    if pattern == "none":
        return None
    mask = np.ones((T, B), bool)
    lengths = rng.integers(1, T + 1, size=B)
    lengths[-1], lengths[0] = 1, T
    if pattern in ("right", "row without a step"):
        mask = np.arange(T)[:, None] < lengths
    if pattern == "left":
        mask = np.arange(T)[:, None] >= T - lengths
    if pattern == "gaps":
        mask = rng.random((T, B)) < 0.6
        if mask.size > 1:  # both kinds are there
            mask.flat[0], mask.flat[-1] = True, False
    if pattern == "row without a step":
        mask[:, -1] = False
    if pattern == "no step at all":
        mask[:] = False
    return mask


# ---- values ------------------------------------------------------------------------------------------------


class Problem:
    """A layer with random, nowhere equal values for everything: parameters, x, state, dy, dstate; NumPy arrays.

    Gates lie in their soft range. `saturate` shifts biases by -30, -12, 12 or 30, so that gates close and open to
    within 1e-13: "some" those of every other unit, "all" those of every unit.
    """

    def __init__(
        self,
        spec: tuple,
        T: int = 5,
        B: int = 3,
        mask: str | np.ndarray = "none",
        seed: int = 0,
        dtype: str = "float64",
        saturate: str = "",
    ):
        rng = np.random.default_rng(seed)
        self.spec, self.dtype, self.T, self.B = spec, dtype, T, B
        self.params = {}
        for name, value in build(spec, dtype).params.items():
            width = value.shape[0] if value.ndim == 2 else 4  # keeps pre-activations near 1
            self.params[name] = rng.normal(size=value.shape, scale=1 / np.sqrt(width)).astype(dtype)
            prefix, _, kind = name.rpartition(".")
            if saturate and kind in ("b", "b_hn"):
                H = len(self.params[f"{prefix}.W_hh" if prefix else "W_hh"])
                every = 2 if saturate == "some" else 1
                units = self.params[name].reshape(-1, H)[:, ::every]  # a view: (blocks, units)
                units += rng.choice([-30.0, -12.0, 12.0, 30.0], size=units.shape).astype(dtype)
        self.x = rng.normal(size=(T, B, input_size(spec))).astype(dtype)
        self.state = random_state(spec, B, rng, dtype)
        self.dstate = random_state(spec, B, rng, dtype)
        self.mask = make_mask(mask, T, B, rng) if isinstance(mask, str) else mask
        self.dy = rng.normal(size=self._output_shape()).astype(dtype)

    def _output_shape(self) -> tuple[int, ...]:
        y, _ = self.layer().predict(self.x[:1, :1], self._row(self.state))
        return (self.B, y.shape[-1]) if y.ndim == 2 else (self.T, self.B, y.shape[-1])

    @staticmethod
    def _row(state: Any) -> Any:
        if isinstance(state, np.ndarray):
            return state[:1]
        return None if state is None else tuple(Problem._row(part) for part in state)

    def layer(self) -> Any:
        """A new layer with the problem's parameters."""
        layer = build(self.spec, self.dtype)
        for name, value in self.params.items():
            layer.params[name] = value
        return layer

    def padding(self) -> np.ndarray:
        """(T, B) bool: true where there is no real step."""
        return np.zeros((self.T, self.B), bool) if self.mask is None else ~self.mask


def run(problem: Problem, engine: Engine) -> dict[str, np.ndarray]:
    """Forward and backward of the problem on an engine, as a flat dict of host arrays."""
    layer = engine.place(problem.layer())
    x, state, dy, dstate, mask = map(engine.array, (problem.x, problem.state, problem.dy, problem.dstate, problem.mask))
    y, last, cache = layer.forward(x, state, mask=mask)
    dx, dstate0, grads = layer.backward(dy, cache, dstate=dstate)
    return flatten(engine.host({"y": y, "state": last, "dx": dx, "dstate0": dstate0, "grads": grads}))


def witness(problem: Problem) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The oracle's results for the problem, and its bounds on the rounding error in units of u, both as `run` does."""
    p = problem
    lists = [as_lists(tree) for tree in (p.params, p.x, p.state, p.mask, p.dy, p.dstate)]
    answer = oracle.answer(problem.spec, *lists)
    return flatten(reals(answer, "value")), flatten(reals(answer, "error"))


def as_lists(tree: Any) -> Any:
    """Arrays as nested lists; dicts, tuples and None as they are."""
    if isinstance(tree, dict):
        return {name: as_lists(value) for name, value in tree.items()}
    if isinstance(tree, tuple):
        return tuple(as_lists(value) for value in tree)
    return None if tree is None else tree.tolist()


def reals(tree: Any, what: str) -> Any:
    """Nested lists of Real as arrays of their `value` or `error`; dicts, tuples and None as they are."""
    if isinstance(tree, dict):
        return {name: reals(value, what) for name, value in tree.items()}
    if isinstance(tree, tuple):
        return tuple(reals(value, what) for value in tree)
    if tree is None:
        return None

    def leaves(values: Any) -> Any:
        return [leaves(value) for value in values] if isinstance(values, list) else getattr(values, what)

    return np.array(leaves(tree))


def flatten(tree: Any, name: str = "") -> dict[str, np.ndarray]:
    """Every array of a structure under a name that tells its place: "state.0.1", "grads.fw.W_hh"."""
    if tree is None:
        return {}
    if isinstance(tree, dict):
        items = tree.items()
    elif isinstance(tree, tuple | list):
        items = enumerate(tree)
    else:
        return {name: np.asarray(tree)}
    return {k: v for key, value in items for k, v in flatten(value, f"{name}.{key}" if name else str(key)).items()}


def arrays_in(cache: Any) -> list:
    """Every array that a cache holds, at any depth. Left out: what belongs to one engine alone, and x as it was given
    (`seen`), which may hold anything."""
    if hasattr(cache, "dtype"):
        return [cache]
    if isinstance(cache, tuple):
        fields = getattr(cache, "_fields", range(len(cache)))
        kept = [part for field, part in zip(fields, cache, strict=True) if field not in ("private", "seen")]
        return [a for part in kept for a in arrays_in(part)]
    return []


def by_complex_step(loss: Callable, values: np.ndarray) -> np.ndarray:
    """The derivative of loss(values) by every entry: Im loss(v + i s) / s; s = 1e-30 leaves nothing but rounding."""
    values, gradient = values.astype(complex), np.empty(values.shape)
    for place in np.ndindex(values.shape):
        values[place] += 1e-30j
        gradient[place] = loss(values).imag / 1e-30
        values[place] = values[place].real
    return gradient


# ---- comparison --------------------------------------------------------------------------------------------


def relative_error(got: np.ndarray, want: np.ndarray) -> float:
    """max |got - want| / max |want| over an array; the numerator alone where `want` is all zero."""
    if got.shape != want.shape:
        raise AssertionError(f"shapes differ: {got.shape} and {want.shape}")
    worst = float(np.max(np.abs(got - want), initial=0.0))
    size = float(np.max(np.abs(want), initial=0.0))
    return worst / size if size > 0.0 else worst


def worst_relative_error(got: dict[str, np.ndarray], want: dict[str, np.ndarray]) -> tuple[float, str]:
    """The largest relative error of all arrays, and the array's name. Both must hold the same names and shapes."""
    if got.keys() != want.keys():
        raise AssertionError(f"different arrays: {sorted(got.keys() ^ want.keys())}")
    if not got:
        raise AssertionError("nothing to compare")
    errors = {name: relative_error(got[name], want[name]) for name in want}
    if any(np.isnan(error) for error in errors.values()):
        raise AssertionError(f"NaN in {[name for name, error in errors.items() if np.isnan(error)]}")
    return max((error, name) for name, error in errors.items())


def assert_within(
    got: dict[str, np.ndarray],
    want: dict[str, np.ndarray],
    bounds: dict[str, np.ndarray],
    dtype: str = "float64",
    other: str = "float64",
):
    """Every entry of two computations, one in each dtype, differs by at most the sum of their rounding bounds."""
    assert got.keys() == want.keys() == bounds.keys(), f"different arrays: {sorted(got.keys() ^ want.keys())}"
    for name in want:
        assert got[name].shape == want[name].shape, f"{name}: shapes {got[name].shape} and {want[name].shape}"
        limit = bounds[name] * (UNIT_ROUNDOFF[dtype] + UNIT_ROUNDOFF[other]) * SECOND_ORDER
        excess = np.abs(got[name] - want[name]) - limit
        assert np.all(excess <= 0), f"{name}: off by {excess.max():.3g} more than rounding explains"


def assert_identical(got: dict[str, np.ndarray], want: dict[str, np.ndarray]):
    """Every bit of every array is the same (and none is NaN)."""
    assert got.keys() == want.keys(), f"different arrays: {sorted(got.keys() ^ want.keys())}"
    for name in want:
        assert not np.isnan(got[name]).any(), f"{name} holds NaN"
        assert got[name].dtype == want[name].dtype, f"{name}: {got[name].dtype} and {want[name].dtype}"
        assert got[name].tobytes() == want[name].tobytes(), f"{name} differs"
