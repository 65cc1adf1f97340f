"""The arguments of `diagnose`, checked and brought into one form."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import ArrayLike

from lstmcore.arrays import Array, State, to_numpy
from lstmcore.debug.between import DroppedStack
from lstmcore.debug.case import Case
from lstmcore.debug.diagnose.loss import Given, Loss, given_loss, read_loss
from lstmcore.debug.diagnose.precision import Precision, Told, computed, precisions
from lstmcore.debug.diagnose.understand import Arranged, arrangements
from lstmcore.debug.normed import FORMS, Norm
from lstmcore.interop import LAYOUTS, Layout, to_lstmcore
from lstmcore.layers import Layer, Recurrent, Stack, from_config
from lstmcore.layers.initialise import UNFILLED
from lstmcore.layers.tree import dotted, leaves
from lstmcore.ops.cells import CELLS
from lstmcore.shapes import check_mask, check_not_empty


class Reading(NamedTuple):
    """A case in float64, the layer that it comes from, and what was found on the way."""

    case: Case
    model: Layer
    unit: float  # the unit roundoff of the computation, as far as its gradients tell
    transposed: tuple[str, ...]  # gradients that were handed over transposed, turned back here
    written: dict[str, Precision]  # how each gradient was written down
    inputs: Precision | None  # how all that went in was written down, if digits were lost there too
    real: np.ndarray | None  # (T, B): where dx is compared, if the case has zeros on padding
    notes: tuple[str, ...]  # how the arrays were understood, where it was guessed
    open_order: bool  # the names do not tell the order of the gates
    function: str = ""  # which function it is, where the arrays are those of a variant
    loss: Loss | None = None  # what dy is derived from, if it was not given; the case holds its shape alone then


class Known(NamedTuple):
    """What was found for one reading and holds for others."""

    formats: Told
    structures: dict[tuple[int, int], tuple[str, Layer]]  # by the way to read the weights, and the width of dy


def readings(
    weights: Mapping[str, Array],
    x: Array,
    dy: Array | None,
    grads: Mapping[str, Array],
    state: State | Mapping[str, Array] | None = None,
    mask: Array | None = None,
    dstate: State | Mapping[str, Array] | None = None,
    layout: str | Layout = "lstmcore",
    cell: str | None = None,
    dropout: Mapping[str, Array] | None = None,
    y: Array | None = None,
    steps: Mapping[str, Array] | None = None,
    loss: Mapping[str, object] | None = None,
) -> list[Reading]:
    """Every reading of these arrays that fits: checked, in float64, with states by name; the likeliest first.

    state, dstate: None; by name; (h, c) of (B, H) for one layer, or (layers * directions, B, H), forward first; or
    nested as lstmcore's. cell: None tells it from the shapes. Raises TypeError, KeyError or ValueError that say what,
    where nothing fits.
    """
    grads = {name: np.asarray(_host(value)) for name, value in grads.items()}
    if not grads:
        raise ValueError("`grads` should hold at least one gradient; got none")
    for name, value in grads.items():
        _numbers(f"grads[{name!r}]", value)
    told: Told = {}
    unit = 2.0**-24 if all(p.bits == 24 for p in precisions(grads, told).values()) else 2.0**-53  # inputs were read in
    x = np.asarray(_host(x))
    dy = None if dy is None else np.asarray(_host(dy))
    if (dy is None) == (loss is None):
        raise ValueError(f"`dy` or a `loss` should be given; got {'both' if loss else 'neither'}")
    arrays = {name: _wide(f"weights[{name!r}]", value, unit) for name, value in weights.items()}
    seen = {n: np.asarray(_host(value)) for n, value in {"y": y, **(steps or {})}.items() if value is not None}
    of_loss = None if loss is None else given_loss(loss, x)
    if x.ndim == 2:  # one sequence

        def in_a_batch(a: np.ndarray) -> np.ndarray:
            return a[:, None] if a.ndim == 2 else a

        x, dy = in_a_batch(x), None if dy is None else in_a_batch(dy)
        seen = {name: in_a_batch(a) for name, a in seen.items()}
        grads |= {name: in_a_batch(grads[name]) for name in ("x", "dx") if name in grads}
    upstreams = [dy] if dy is not None else []
    if of_loss is not None:  # of dy the shape alone
        widths = seen["y"].shape[-1:] if "y" in seen else of_loss.widths(arrays)
        upstreams = [np.zeros((*of_loss.lead, H)) for H in widths]
    found, errors = [], []
    for upstream in upstreams:
        known = Known(told, {})
        for arranged in arrangements(arrays, x, upstream, grads, layout, cell):
            try:
                found.append(_read(arranged, seen, state, mask, dstate, dropout or {}, unit, of_loss, known))
            except (KeyError, ValueError, TypeError) as error:
                errors.append(error)
    if not found:
        raise errors[0]
    return found


def _read(
    given: Arranged,
    seen: Mapping[str, Array],
    state: State | Mapping[str, Array] | None,
    mask: Array | None,
    dstate: State | Mapping[str, Array] | None,
    dropout: Mapping[str, Array],
    unit: float,
    of_loss: Given | None,
    known: Known,
) -> Reading:
    """One reading, checked."""
    x, dy, layout = given.x, given.dy, given.layout
    if x.ndim != 3 or dy.ndim not in (2, 3):
        hint = " (directions left apart? dy.reshape(T, B, D H) puts them side by side)" if dy.ndim == 4 else ""
        raise ValueError(
            f"`x` should be (T, B, I) and `dy` (T, B, D H) or (B, D H); got {x.shape} and {dy.shape}{hint}"
        )
    if mask is not None:
        mask = np.asarray(to_numpy(mask))
        if given.x_axes[0] == 1 and mask.shape == x.shape[1::-1]:
            mask = mask.T  # batch first, as x was
        check_mask(mask, x)
        x, dy = _padding_finite(x, mask), _padding_finite(dy, mask)
    x, dy = _wide("x", x, unit), _wide("dy", dy, unit)
    check_not_empty("x", x, "TBI")
    if (key := (given.way, dy.shape[-1])) not in known.structures:
        known.structures[key] = _told_apart(given, dy.shape[-1])
    cell, model = known.structures[key]
    T, B, I = x.shape
    parts = {name: leaf for name, leaf in leaves(model) if isinstance(leaf, Recurrent)}
    widths = {
        dotted(name, f"{s}0"): width
        for name, part in parts.items()
        for s, width in zip(part.cell.states, part.cell.widths(part.hidden_size))
    }
    names, top = list(widths), tuple(dotted(name, "h0") for name in _top(model))
    out = sum(widths[name] for name in top)
    input_size = next(iter(parts.values())).input_size
    if input_size != I:
        wanted = f"(T, B, I) with I = {input_size}, as the weights fix it"
        raise ValueError(f"`x` should be {wanted}; got {x.shape}")
    if dy.shape not in ((T, B, out), (B, out)):
        hint = " (batch first? the time axis comes first here)" if dy.shape[:2] == (B, T) != (T, B) else ""
        raise ValueError(f"`dy` should be {(T, B, out)}, or {(B, out)} for final states only; got {dy.shape}{hint}")
    columns = given.axes[1:] in ((2, 1), (0, 1))  # dy is (T, H, B), or (H, T, B): so are states (H, B)
    states = {
        key: _states(key, value, names, widths, B, unit, columns)
        for key, value in (("state", state), ("dstate", dstate))
    }
    case = Case(given.weights, x, dy, {}, states["state"], mask, states["dstate"], layout, cell, top)
    case = case._replace(options=given.options)
    if given.gains:
        case = case._replace(norm=Norm(FORMS[0], given.gains))  # the outputs tell which form
    between = {str(k): sum(map(_width, _top(part).values())) for k, part in enumerate(_layers(model)[:-1])}
    masks = _dropout(dropout, between, case, given, unit)
    model = _with_dropout(model, masks, {k: np.ones((T, B, width)) for k, width in between.items()})
    case = case._replace(dropout=masks, steps=_steps(seen, _axes_over_time(given), case))
    grads = {key: g.T if columns and key in case.state and g.ndim == 2 else g for key, g in given.grads.items()}
    got, transposed = _gradients(case, grads)
    written = precisions({**got, **case.steps}, known.formats)
    real = mask if mask is not None and "x" in got and not got["x"][~mask].any() else None
    case = case._replace(grads={name: value.astype(np.float64) for name, value in got.items()})
    loss = of_loss and read_loss(of_loss, case, given.axes, _out_first(given.layout))
    notes = (*given.notes, *([str(loss)] if loss else []))
    inputs = _inputs(case, written, known.formats)
    return Reading(
        case, model, computed(got, written), transposed, written, inputs, real, notes, given.open_order, given.function,
        loss,
    )  # fmt: skip


def _axes_over_time(given: Arranged) -> tuple[int, ...]:
    """Where the axes of an array (T, B, H) came from: as those of dy, or of x where dy is of the final states."""
    return given.axes if len(given.axes) == 3 else given.x_axes


def _steps(seen: Mapping[str, np.ndarray], axes: tuple[int, ...], case: Case) -> dict[str, np.ndarray]:
    """What was seen inside the loop, each (T, B, H), turned by these axes."""
    cell = case.kind
    names = ("y", *cell.states, *cell.gates, *(f"d{s}" for s in cell.states), *(f"da_{g}" for g in cell.gates))
    shape, answer = (*case.x.shape[:2], case.dy.shape[-1]), {}
    for name, value in seen.items():
        if name not in names:
            raise KeyError(f"`steps` should hold any of {', '.join(names)}; got {name!r}")
        _numbers(name, value)
        if value.ndim == 3 == len(axes):
            value = value.transpose(axes)
        wanted = [shape, *([case.dy.shape] if name == "y" else [])]
        if value.shape not in wanted:
            raise ValueError(f"`{name}` should be {' or '.join(map(str, wanted))}; got {value.shape}")
        answer[name] = value
    return answer


def _host(value: object) -> ArrayLike:
    """An array of any library, or nested lists of numbers."""
    return value if isinstance(value, list | tuple) else to_numpy(value)


def _inputs(case: Case, written: Mapping[str, Precision], told: Told) -> Precision | None:
    """How the inputs lost digits: those that were written as the gradients were. What is typed in is exact."""
    printed = {p for p in written.values() if p.text}
    given = {"x": case.x, "dy": case.dy, **case.weights, **case.state, **case.dstate} if printed else {}
    return max((p for p in precisions(given, told).values() if p in printed), key=lambda p: p.moved(1.0), default=None)


def _numbers(name: str, value: np.ndarray) -> None:
    if value.dtype.kind not in "fiu":
        raise TypeError(f"`{name}` should be an array of numbers; got {value.dtype}")
    if not np.isfinite(value).all():
        raise ValueError(f"`{name}` should be finite; got NaN or infinity (lc.debug.tripwire tells where they begin)")


def _wide(name: str, value: object, unit: float) -> np.ndarray:
    """In float64, after the rounding that it had when a computation of that unit read it."""
    value = np.asarray(_host(value))
    _numbers(name, value)
    return value.astype(np.float32).astype(np.float64) if unit == 2.0**-24 else value.astype(np.float64)


def _padding_finite(a: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """NaN and infinity on padding, which nothing reads, as zeros."""
    if a.shape[:2] != mask.shape or a.dtype.kind != "f":
        return a
    return np.where(mask[:, :, None] | np.isfinite(a), a, a.dtype.type(0))


def _told_apart(given: Arranged, out: int) -> tuple[str, Layer]:
    """The cell, and the structure where the keys leave it open: the one that gives `out` columns."""
    arrays, layout, cell = given.weights, given.layout, given.cell
    arrays = {key: a for key, a in arrays.items() if key not in given.gains}
    errors, found = [], []
    known = LAYOUTS.get(layout) if isinstance(layout, str) else layout
    for name in [cell] if cell else [c for c in CELLS if known is None or c in known.cells]:
        for both in (False, True):
            try:
                config, _ = to_lstmcore(arrays, layout, name, bidirectional=both, options=given.options)
            except KeyError as error:
                errors.append(error)
            else:
                found.append((name, from_config(config, "reference", UNFILLED)))
    if not found:
        raise errors[0]
    fitting = [(name, model) for name, model in found if sum(map(_width, _top(model).values())) == out]
    return (fitting or found)[0]


def _out_first(layout: str | Layout) -> bool:
    """Whether matrices of this layout are (out, in)."""
    known = LAYOUTS[layout] if isinstance(layout, str) else layout
    return any(part.out_first for parts in known.cells.values() for part in parts)


def _states(
    what: str,
    given: State | Mapping[str, Array] | None,
    names: list[str],
    widths: Mapping[str, int],
    B: int,
    unit: float,
    columns: bool,
) -> dict[str, np.ndarray]:
    """Every state by its name; zeros where there is none."""
    if given is None:
        given = {}
    elif not isinstance(given, Mapping):
        if not isinstance(given, tuple | list) and not getattr(given, "ndim", 0):
            raise TypeError(f"`{what}` should be states by name, or (h, c), or nested; got {given!r}")
        kinds = list(dict.fromkeys(name.rsplit(".")[-1] for name in names))  # h0, c0
        parts = list(given)
        stacked = [cast("Array", p) for p in parts if getattr(p, "ndim", 0) == 3]
        if len(stacked) == len(parts) == len(kinds):
            given = dict(zip(kinds, stacked))
        else:
            flat = list(_flat(tuple(parts)))
            if len(flat) != len(names):
                raise ValueError(f"`{what}` should hold {', '.join(names)}; got {len(flat)} arrays")
            given = dict(zip(names, flat))
    given = {name: _wide(f"{what} {name}", value, unit) for name, value in given.items() if value is not None}
    for kind in {name.rsplit(".")[-1] for name in names}:
        below = [name for name in names if name.rsplit(".")[-1] == kind]
        if kind in given and given[kind].ndim == 3 and len(given[kind]) == len(below):
            given |= dict(zip(below, given.pop(kind)))
    for name in given:
        if columns and given[name].ndim == 2:
            given[name] = given[name].T
        if name not in names:
            raise KeyError(f"`{what}` should hold {', '.join(names)}; got {name!r}")
        if given[name].shape != (B, widths[name]):
            raise ValueError(f"`{what}` {name} should be (B, H) = {(B, widths[name])}; got {given[name].shape}")
    return {name: given.get(name, np.zeros((B, widths[name]))) for name in names}


def _dropout(
    masks: Mapping[str, Array], between: Mapping[str, int], case: Case, given: Arranged, unit: float
) -> dict[str, np.ndarray]:
    """The masks, each in the shape of what it multiplies, its axes turned likewise. between: the widths of layers."""
    shapes = {"x": case.x.shape, "y": case.dy.shape} | {k: (*case.x.shape[:2], width) for k, width in between.items()}
    axes = dict.fromkeys(between, _axes_over_time(given)) | {"x": given.x_axes, "y": given.axes}
    answer: dict[str, np.ndarray] = {}
    for name, value in ((str(key), value) for key, value in masks.items()):  # 0 and "0" are one layer
        if name not in shapes:
            known = " or ".join([*shapes][:2]) + "".join(f", or {k} (what layer {k} gives)" for k in between)
            raise KeyError(f"`dropout` should hold masks of {known}; got {name!r}")
        if name in answer:
            raise ValueError(f"`dropout` should hold one mask of layer {name}; got two, whose keys both read {name!r}")
        value = np.asarray(_host(value))
        mask = _wide(f"dropout[{name!r}]", value.astype(float) if value.dtype == bool else value, unit)
        mask = mask.transpose(axes[name]) if mask.ndim == 3 == len(axes[name]) else mask
        if mask.shape not in (shapes[name], shapes[name][-2:]):
            got = mask.shape or "one number"
            raise ValueError(f"`dropout[{name!r}]` should be {shapes[name]} or {shapes[name][-2:]}; got {got}")
        scales = np.unique(mask[mask != 0])
        if len(scales) > 1 or np.any(scales < 0):
            raise ValueError(
                f"`dropout[{name!r}]` should hold zeros and one scale, 1 / (1 - p); got {len(scales)} other numbers, "
                f"{scales.min():g} to {scales.max():g} (the values after dropout, not the mask?)"
            )
        answer[name] = np.broadcast_to(mask, shapes[name])
    return answer


def _with_dropout(model: Layer, masks: Mapping[str, np.ndarray], none: Mapping[str, np.ndarray]) -> Layer:
    """The stack with these masks between its layers; none: ones, for the layers that have no mask."""
    if not none.keys() & masks.keys():
        return model
    scales = tuple(masks.get(k, ones) for k, ones in none.items())
    of_y = [masks["y"]] if masks.get("y", np.ones(0)).shape == scales[-1].shape else []
    return DroppedStack(_layers(model), (*scales, *of_y))


def _layers(model: Layer) -> tuple[Layer, ...]:
    return model.layers if isinstance(model, Stack) else (model,)


def _gradients(case: Case, grads: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """The gradients given, by the names that an answer has; and which of them were turned."""
    shapes = {name: value.shape for name, value in case.weights.items()}
    shapes |= {"x": case.x.shape} | {name: value.shape for name, value in case.state.items()}
    got: dict[str, np.ndarray] = {}
    transposed = []
    for name, value in grads.items():
        stacked = [key for key in case.state if key.rsplit(".")[-1] == name]
        if stacked and value.ndim == 3 and len(value) == len(stacked):
            got |= dict(zip(stacked, value))
            continue
        if name not in shapes:
            raise KeyError(f"`grads` should have keys of {', '.join(shapes)}; got {name!r}")
        if value.shape != shapes[name] and value.T.shape == shapes[name]:
            transposed.append(name)
            value = value.T
        if value.shape != shapes[name]:
            raise ValueError(f"`grads[{name!r}]` should be {shapes[name]}, as its value is; got {value.shape}")
        got[name] = value
    for name, value in got.items():
        if name in case.state and value.shape != case.state[name].shape:
            raise ValueError(f"`grads[{name!r}]` should be {case.state[name].shape}; got {value.shape}")
    return got, tuple(transposed)


def _flat(tree: State | Array | None) -> Iterator[Array]:
    if isinstance(tree, tuple | list):
        for part in tree:
            yield from _flat(part)
    elif tree is not None:
        yield tree


def _width(part: Recurrent) -> int:
    """The numbers of h."""
    return part.cell.width or part.hidden_size


def _top(layer: Layer, name: str = "") -> dict[str, Recurrent]:
    """The layer, or the two directions, whose outputs come out."""
    inside = list(layer.parts.items())[-1:] if isinstance(layer, Stack) else layer.parts.items()
    found = {k: leaf for key, part in inside for k, leaf in _top(part, dotted(name, key)).items()}
    return {name: layer} if isinstance(layer, Recurrent) else found
