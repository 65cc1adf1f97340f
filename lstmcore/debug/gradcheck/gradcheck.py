"""Is this backward right? Every gradient against a derivative that knows nothing of it.

The derivative comes by complex step on a complex twin of the layer on the reference engine, while the gradients come
from the layer's own engine in float64; central differences are the second opinion, and serve anybody's function.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from lstmcore.arrays import Array, State, library_name, namespace, to_library, to_numpy
from lstmcore.debug.gradcheck.numeric import central_difference, complex_step, directions, epsilon
from lstmcore.debug.show.page import notebook
from lstmcore.debug.trees import cast, leaves, named, tree_map
from lstmcore.layers import Layer
from lstmcore.layers.tree import state_names
from lstmcore.shapes import check_layer

ROUNDINGS = 4096  # how many units of rounding a gradient may be off: 9e-13 in float64, 5e-4 in float32


class Row(NamedTuple):
    """One array of the table."""

    name: str
    shape: tuple[int, ...]
    checked: int  # how many coordinates, or random directions, were compared
    error: float  # max |gradient - numeric| / max |numeric|, the relative error over the array
    tolerance: float
    at: str  # where the difference is largest
    gradient: float  # the two numbers that differ most
    numeric: float


@dataclass(frozen=True)
class GradCheck:
    """The answer. Prints as a table; `ok` judges every row against its own tolerance."""

    table: tuple[Row, ...]

    @property
    def ok(self) -> bool:
        """True if no array's relative error is above its tolerance."""
        return all(row.error <= row.tolerance for row in self.table)  # a NaN is not

    @property
    def worst(self) -> float:
        """The largest relative error of any array; NaN if one is NaN."""
        return float(np.max([row.error for row in self.table]))

    @property
    def worst_at(self) -> str:
        """The coordinate behind `worst`, by name."""
        return self.table[int(np.argmax([row.error for row in self.table]))].at

    def __str__(self) -> str:
        lines = [
            f"{'array':<14} {'shape':<14} {'checked':>8} {'error':>8} {'allowed':>8}  {'worst at':<24} its two values"
        ]
        for r in self.table:
            lines.append(
                f"{r.name:<14} {r.shape!s:<14} {r.checked:>8} {r.error:>8.1e} {r.tolerance:>8.1e}  {r.at:<24} "
                f"{r.gradient:+.12e} / {r.numeric:+.12e}{'' if r.error <= r.tolerance else '  WRONG'}"
            )
        verdict = "every gradient is right" if self.ok else f"WRONG: {self.worst_at}"
        return "\n".join([*lines, f"worst relative error {self.worst:.1e}: {verdict}"])

    _repr_html_ = notebook


def gradcheck(
    layer: Layer,
    x: Array,
    state: State | None = None,
    mask: Array | None = None,
    seed: int | None = None,
    *,
    loss: Callable[[Array], tuple[Array, Array]] | None = None,
    dropout_seed: int | None = None,
    directions: int | None = None,
    method: str = "complex",
    tolerance: float | None = None,
) -> GradCheck:
    """Checks the backward of a layer, container or model: every parameter, the input and the initial state.

    layer: runs in float64 on its own engine, on a GPU if its arrays lie there; "fused-cpu-bf16", which has no float64,
    is refused: but for the factors of its products it is "fused-cpu" (docs/cpu.md). x (T, B, I), or integers for an
    Embedding; state: None means zeros, whose gradient is checked too; mask (T, B). The objective is a random linear
    function of outputs and final state (drawn from `seed`), or `loss(y) -> (value, dy)`, complex-safe, plus that of
    the final state. dropout_seed: draw dropout masks from this seed, the same in every pass. directions: None
    checks every coordinate; a number checks that many random directions per array. method: "complex", or "central"
    for central differences on the layer's own engine. tolerance: largest relative error per array; None means 4096
    units of rounding (9e-13), which a sum of many thousand terms does not reach, and for "central" also what its
    own truncation and rounding hide.
    Raises ValueError for an unknown method, and whatever the layer raises for bad input.
    """
    if method not in ("complex", "central"):
        raise ValueError(f'`method` should be "complex" or "central"; got {method!r}')
    check_layer("layer", layer, "to", "lc.debug.gradcheck(layer, x)")
    rng = np.random.default_rng(seed)
    own = layer.to(dtype="float64")
    x, state = cast(x, np.float64), cast(state, np.float64)

    home = library_name(x)  # where the layer computes; its gradients are judged on the host

    y, final, cache = own.forward(x, state, mask, _dropout(dropout_seed))
    dy = to_library(rng.standard_normal(y.shape), home) if loss is None else loss(y)[1]
    dstate = tree_map(lambda s: to_library(rng.standard_normal(s.shape), home), final)
    dx, dstate0, grads = own.backward(dy, cache, dstate)
    if state is None:  # one that is learned has its gradient among those of the parameters, and stays None here
        state = tree_map(lambda d: namespace(d).zeros_like(d), dstate0)

    x, mask, dy, state, dstate, dx, dstate0 = tree_map(to_numpy, (x, mask, dy, state, dstate, dx, dstate0))
    values = {name: to_numpy(value).copy() for name, value in own.params.items()}
    values |= named(state, state_names(layer))
    grads = {name: to_numpy(gradient) for name, gradient in grads.items()}
    grads |= named(dstate0, state_names(layer))
    if dx is not None:
        values["x"], grads["x"] = x, dx

    dtype = np.dtype("complex128" if method == "complex" else "float64")
    library = "numpy" if method == "complex" else home
    run = layer.to(dtype=dtype, engine="reference", array="numpy") if method == "complex" else own

    placed = functools.partial(tree_map, lambda a: to_library(a, library))

    def objective(values: Mapping[str, Array]) -> Array:
        values = {name: cast(value, dtype) for name, value in values.items()}
        for name in run.params:
            run.params[name] = placed(values[name])
        initial = iter([values[name] for name in named(state, state_names(layer))])
        state0 = placed(tree_map(lambda _: next(initial), state))
        y, final, _ = run.forward(placed(values.get("x", x)), state0, placed(mask), _dropout(dropout_seed))
        total = np.sum(dy * to_numpy(y)) if loss is None else to_numpy(loss(y)[0])
        return total + sum(np.sum(d * to_numpy(s)) for d, s in zip(leaves(dstate), leaves(final)))

    return _check(objective, values, grads, method, tolerance, directions, rng)


def gradcheck_function(
    loss: Callable[[dict[str, np.ndarray]], ArrayLike],
    values: Mapping[str, np.ndarray],
    grads: Mapping[str, np.ndarray],
    *,
    directions: int | None = None,
    method: str = "central",
    tolerance: float | None = None,
    seed: int | None = None,
) -> GradCheck:
    """Checks anybody's gradients: `grads[name]` should be the derivative of `loss(values)` by `values[name]`.

    loss: takes a dict like `values` and returns one number; computed in float64 if the answer shall be sharp. method:
    "central" works for every function, "complex" for complex-safe ones, to rounding. tolerance: largest relative error
    per array; None means 4096 units of rounding of the gradient's dtype, and for "central" also an estimate of its own
    truncation (from two step widths) and rounding (from the size and dtype of the loss). Other options as in
    `gradcheck`. Raises KeyError for a gradient without a value, ValueError for other shapes and for a loss that is no
    number.
    """
    for name, gradient in grads.items():
        if name not in values:
            raise KeyError(f"`grads` should have names of `values`, {', '.join(values)}; got {name!r}")
        if np.shape(gradient) != np.shape(values[name]):
            raise ValueError(
                f"`grads[{name!r}]` should have the shape of its value, {np.shape(values[name])}; "
                f"got {np.shape(gradient)}"
            )
    if method not in ("complex", "central"):
        raise ValueError(f'`method` should be "complex" or "central"; got {method!r}')
    wide = {name: cast(np.asarray(value), np.float64) for name, value in values.items()}
    if np.size(loss(dict(wide))) != 1:
        raise ValueError(f"`loss` should return one number; got shape {np.shape(loss(dict(wide)))}")
    return _check(loss, wide, dict(grads), method, tolerance, directions, np.random.default_rng(seed))


def _check(
    objective: Callable,
    values: Mapping[str, Array],
    grads: Mapping[str, Array],
    method: str,
    tolerance: float | None,
    count: int | None,
    rng: np.random.Generator,
) -> GradCheck:
    rows = []
    for name, gradient in grads.items():
        pairs = []  # (analytic, numeric, uncertainty of numeric, where)
        for where, direction in directions(name, values[name].shape, count, rng):
            derivative = complex_step if method == "complex" else central_difference
            numeric, uncertainty = derivative(objective, values, name, direction)
            touched = direction != 0  # a NaN elsewhere is another coordinate's
            analytic = float(np.sum(to_numpy(gradient)[touched] * direction[touched]))
            pairs.append((analytic, numeric, uncertainty, where))
        analytic, numeric, uncertainty = np.array([pair[:3] for pair in pairs]).T
        difference = np.abs(analytic - numeric)
        k = int(np.argmax(difference))
        # A zero by complex step is exact; one by differences may be rounding, so the gradient itself counts too.
        scale = np.max(np.abs(numeric if method == "complex" else np.stack([numeric, analytic])))
        allowed = ROUNDINGS * epsilon(gradient) + _ratio(np.max(uncertainty), scale)
        rows.append(
            Row(
                name,
                tuple(values[name].shape),
                len(pairs),
                _ratio(difference[k], scale),
                allowed if tolerance is None else tolerance,
                *pairs[k][3:],
                *map(float, (analytic[k], numeric[k])),
            )
        )
    return GradCheck(tuple(rows))


def _ratio(difference: float, scale: float) -> float:
    """Relative to the scale; nothing beside nothing is no error, something beside nothing is an infinite one."""
    if scale > 0:
        return float(difference) / float(scale)
    return 0.0 if difference == 0 else float(difference) if np.isnan(difference) else np.inf


def _dropout(seed: int | None) -> np.random.Generator | None:
    return None if seed is None else np.random.default_rng(seed)
