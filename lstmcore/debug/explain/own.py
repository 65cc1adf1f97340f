"""The page over a step of one's own: every recurrent layer in it, of which one row is shown."""

from collections import Counter
from typing import Any, Unpack, cast

import numpy as np

from lstmcore.arrays import Array, dtype_name, to_numpy
from lstmcore.debug.case import Case
from lstmcore.debug.diagnose.replayed import replayed
from lstmcore.debug.diagnose.rounded import Rounded, deviations
from lstmcore.debug.explain.examples import EXAMPLES
from lstmcore.debug.explain.graph import Step, graph
from lstmcore.debug.explain.page import Explanation, Traced
from lstmcore.debug.step.rounding import factors_rounded, unit_roundoff
from lstmcore.debug.step.visits import Run, StepOptions, Upstream, Visit, run_step
from lstmcore.layers import BatchFirst, Layer
from lstmcore.ops.recurrence import reference

LARGEST = 12  # T * H that a page shows
NUMBERS = 700  # of weights and inputs: each is traced forward and back


def explain_step(
    layer: Layer,
    x: Array,
    dy: Upstream = None,
    *,
    row: int = 0,
    title: str = "your own step",
    **step: Unpack[StepOptions],
) -> Explanation:
    """The page over one row of a training step of `layer`, and the LSTM of EXAMPLES.

    Arguments as in `ledger` and `flow`. Each recurrent layer inside is shown by itself: a Bidirectional as its two
    directions. What is too large to be seen at a glance is left out. Raises ValueError, which says why, if nothing is
    left, or for a row that is not there; whatever the layer raises for bad input.
    """
    return explain_run(run_step(layer, x, dy, **step), row, title)


def explain_case(case: Case, row: int = 0, title: str = "your own step") -> Explanation:
    """`explain_step` for a case, as `load_case` reads it. Its own gradients are not judged.

    Raises TypeError, KeyError or ValueError for a case that does not hold together.
    """
    layer, x, dy, step = replayed(case)
    return explain_step(layer, x, dy, row=row, title=title, **step)


def explain_run(run: Run, row: int = 0, title: str = "your own step") -> Explanation:
    """What `run_step` gave, explained. Raises ValueError as `explain_step` does."""
    steps: dict[str, Traced] = {}
    reasons: dict[str, list[str]] = {}
    visits = [visit for visit in run.visits if visit.recurrent]
    B = (visits[0] if visits else run).x.shape[1]
    if isinstance(row, bool) or not isinstance(row, int | np.integer) or not 0 <= row < B:
        raise ValueError(f"`row` should be one of the batch, 0 to {B - 1}; got {row!r}")
    calls = Counter(visit.name for visit in visits)
    for visit in visits:
        often = f"it is called {calls[visit.name]} times, step by step" if calls[visit.name] > 1 else ""
        its_title = title if len(visits) == 1 else f"{title}: {visit.name}"
        reason = often or _too_much(visit, isinstance(run.layer, BatchFirst)) or _traced(visit, row, steps, its_title)
        if reason:
            reasons.setdefault(reason, []).append(visit.name)
    if not steps:
        told = [f"{', '.join(dict.fromkeys(n))}: {reason}" if any(n) else reason for reason, n in reasons.items()]
        raise ValueError("; ".join(told) or f"the page shows steps of a recurrent layer; {run.layer!r} has none")
    return Explanation(steps, next(iter(steps)))


def _too_much(visit: Visit, batch_first: bool) -> str:
    """Why a page cannot show it; nothing, if it can. batch_first: whether the x handed over is (B, T, I)."""
    layer, _ = visit.as_recurrent()
    (T, _, I), H = visit.x.shape, layer.hidden_size
    if T * H > LARGEST:
        cure = (
            f"keep the first {LARGEST // H}: x[{':, ' * batch_first}:{LARGEST // H}], and dy and mask likewise"
            if H <= LARGEST
            else f"save a step of a layer with {LARGEST} units or fewer"
        )
        return f"the page shows T * H <= {LARGEST}; this step has T = {T} and H = {H}: {cure}"
    if (size := T * I + sum(value.size for value in layer.params.values())) > NUMBERS:
        return f"the page shows {NUMBERS} weights and inputs; this step has {size}, for {I} inputs and {H} units"
    if not dtype_name(visit.y.dtype).startswith("float"):
        return f"the page shows real numbers; these are {dtype_name(visit.y.dtype)}"
    if len({s.shape[-1] for s in visit.cache.states}) > 1:
        return "the page shows states of one width; these have several"
    if layer.options.get("layer_norm"):
        return "the page does not show layer normalisation"
    return ""


def _traced(visit: Visit, row: int, steps: dict[str, Traced], title: str) -> str:
    """Puts a step among `steps`; or says why it cannot be followed."""
    layer, cache = visit.as_recurrent()
    cell, this = layer.cell, slice(row, row + 1)

    def one(array: Array, axis: int = 0) -> np.ndarray:
        return to_numpy(array)[(slice(None),) * axis + (this,)].astype(float)

    dy, dstate = visit.upstream()
    step = Step(
        {name: to_numpy(value).astype(float) for name, value in layer.params.items()},
        one(visit.x, 1),
        tuple(one(s[0, ...]) for s in cache.states),
        None if visit.mask is None else to_numpy(visit.mask)[:, this],
        dy=np.zeros((len(visit.x), 1, layer.hidden_size)) if dy is None else one(dy, 1),
        dstate=tuple(map(one, dstate)),
    )
    try:
        traced = graph(cell, step)
    except (AttributeError, TypeError, NotImplementedError) as error:  # array code that single numbers do not have
        return f"the step of {cell.name} does more than arithmetic on single numbers ({error})"
    unnamed = [name for name in (*cell.states, *cell.gates) if not {f"{name}[0,0]", f"{name}[0]"} & traced.names.keys()]
    if unnamed:
        return f"the page follows a step by the names of its gates; that of {cell.name} sets no {unnamed[0]}"
    if not _agrees(visit):
        return f"{layer!r} computes something else than the steps of its cell"
    if visit.flipped:
        title += ", backward in time"
    masked = traced if step.mask is not None else graph(cell, step._replace(mask=np.ones((len(step.x), 1), bool)))
    key = visit.name or "own"
    steps[f"own {key}" if key in EXAMPLES else key] = Traced(title, None if masked is traced else traced, masked)
    return ""


def _agrees(visit: Visit) -> bool:
    """Whether the layer came to the gradients of its cell's steps: no finite number is farther off than rounding moves
    it, by rounded.py in the precision that the layer computes in."""
    layer, cache = visit.as_recurrent()
    cell, params = layer.cell, {name: _exact(value) for name, value in layer.params.items()}
    dy, dstate = visit.upstream()
    state0, mask = tuple(_exact(s[0, ...]) for s in cache.states), None if visit.mask is None else _exact(visit.mask)
    with np.errstate(all="ignore"):
        ran = reference.forward(cell, _exact(visit.x), params, state0, mask)
        found = reference.backward(cell, None if dy is None else _exact(dy), tuple(map(_exact, dstate)), params, ran)
    dx, dstate0, grads = cast("tuple[Rounded, tuple[Rounded, ...], dict[str, Rounded]]", found)
    pairs = [(visit.dx, dx), *zip(visit.dstate0 or (), dstate0)]
    pairs += [(visit.grads.get(name), gradient) for name, gradient in grads.items()]
    judged = [(to_numpy(got).astype(float), want) for got, want in pairs if got is not None]
    room = max(1.0, factors_rounded(cache)) * unit_roundoff(visit.y) * deviations(sum(want.size for _, want in judged))
    return all(
        bool(np.all((np.abs(got - want.value) <= room * np.sqrt(want.variance)) | ~np.isfinite(want.value)))
        for got, want in judged
    )


def _exact(a: Array) -> Any:
    """Numbers that no rounding has moved yet, for the reference engine."""
    given = to_numpy(a)
    return Rounded(given if given.dtype == bool else given.astype(float))
