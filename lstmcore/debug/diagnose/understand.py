"""The arrays of a program, read as a layout: names, orientation, gate order, axes.

Shapes settle most of it: (4H, I) is (I, 4H) transposed, (H, 1) a bias, four matrices a gate each. What they leave open
(rows of h above those of x or below, batch first, the order of the gates) gives several readings, the likeliest first.
Forward outputs or right gradients prove one of them; nobody is called wrong for the way he keeps his arrays.
"""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import permutations, product
from typing import NamedTuple

import numpy as np

from lstmcore.arrays import Plain
from lstmcore.debug.diagnose.program import BEFORE, NO_GAINS, PLAIN, Own, in_words, programs
from lstmcore.debug.diagnose.several import several
from lstmcore.interop import LAYOUTS, Layout, to_lstmcore

Arrays = dict[str, np.ndarray]
ALIASES = {"pytorch": "torch", "tensorflow": "keras", "tensorflow1": "tf1"}


class Arranged(NamedTuple):
    """The arrays as a layout has them, and what had to be found out."""

    layout: str | Layout
    cell: str | None
    x: np.ndarray
    dy: np.ndarray
    weights: Arrays
    grads: Arrays
    x_axes: tuple[int, ...]  # where the axes of x came from, and of dy: other arrays of their shape are turned likewise
    axes: tuple[int, ...]
    notes: tuple[str, ...] = ()  # in words, where it was guessed
    open_order: bool = False  # the names do not tell the order of the gates
    options: Mapping[str, object] = PLAIN  # of the cell
    function: str = ""  # in words, where these make it another function
    gains: Mapping[str, str] = NO_GAINS  # of layer normalisation
    way: int = 0  # those of one number differ in nothing but the axes of x and dy


def arrangements(
    weights: Arrays, x: np.ndarray, dy: np.ndarray, grads: Arrays, layout: str | Layout, cell: str | None
) -> Iterator[Arranged]:
    """Every reading of these arrays, as they stand first."""
    layout = ALIASES.get(layout, layout) if isinstance(layout, str) else layout
    path = _path(weights)
    weights = {key.removeprefix(path): a for key, a in weights.items()}
    grads = {key.removeprefix(path): a for key, a in grads.items()}
    known = LAYOUTS.get(layout) if isinstance(layout, str) else layout
    if known is not None and (cells := _of_cells(weights, known)) is not known:
        known = layout = cells
    grads = _same_names(grads, weights)
    if known is None or not _fits(weights, known):
        weights, grads = _flat_biases(weights), _flat_biases(grads)
    notes: tuple[str, ...] = ()
    own = [Own(layout, cell, False, x.shape[-1], dy.shape[-1], weights, grads)]
    if known is not None and _all_named(weights, known):
        turned = _turned(weights, known, cell)
        if turned is not known:
            notes = ("matrices are (out, in)" if _out_first(turned) else "matrices are (in, out)",)
            own = [own[0]._replace(layout=turned)]
        options = _options(weights, known)
        own = [own[0]._replace(options=options, function=in_words(options))]
        if cell in (None, "gru") and "gru" in known.cells and _fits(weights, turned, "gru"):
            own += [own[0]._replace(cell="gru", options={"reset": "before"}, function=BEFORE)]
    elif known is not None or layout == "gates":
        rows = {
            name: _turned(weights, _of_cells(weights, row), cell)
            for name, row in LAYOUTS.items()
            if _all_named(weights, row)
        }
        rows.pop("tf1", None)  # a program that does not mention it is not taken to add 1 to the forget gate
        other = next((name for name, row in rows.items() if _fits(weights, row)), None)
        if other is not None:
            notes = (f"the names are those of layout {other!r}",)
            own = [own[0]._replace(layout=rows[other], open_order=True)]
            own += [o for o in programs(weights, grads, x.shape, dy.shape) if o.cell == "gru" and cell in (None, "gru")]
        else:
            found = list(programs(weights, grads, x.shape, dy.shape))
            own = found or list(several(weights, grads, x.shape, dy.shape)) or own
    ways = [(k, one, axes) for k, one in enumerate(own) for axes in _axes(x, dy, one.I, one.H)]
    for k, o, (xs, dys) in sorted(ways, key=lambda way: way[2][0] != way[2][1]):  # turned alike first, in every way
        moved = {**o.grads, "x": o.grads["x"].transpose(xs)} if _alike(o.grads, "x", x, xs) else o.grads
        said = (*notes, *([o.how] if o.how else []), *_said(xs, dys, x, dy))
        yield Arranged(
            o.layout, o.cell, _along(x, xs), _along(dy, dys), o.weights, moved, xs, dys, said, o.open_order, o.options,
            o.function, o.gains, k,
        )  # fmt: skip


def _path(weights: Arrays) -> str:
    """The path that all names begin with: "encoder.lstm."; a layer's number and a direction are no part of it."""
    shared = os.path.commonprefix(list(weights)) if len(weights) > 1 else ""  # noqa: RUF071  cut at a separator below
    path = shared[: max(shared.rfind("."), shared.rfind("/")) + 1]
    return "" if re.search(r"(^|[./_])(\d+|fw|bw|forward|backward|\w+_\d+)[./]", path) else path


def _same_names(grads: Arrays, weights: Arrays) -> Arrays:
    """Gradients under the names of what they are gradients of: dW, d_W, grad_W, W_grad, W.grad, W_diff, gate.dW."""
    names = {*weights, "x", "h0", "c0"}
    answer = {}
    for key, value in grads.items():
        forms = (
            key,
            re.sub(r"(^|[./])d_?(?=[^./]+$)", r"\1", key),
            re.sub(r"(^|[./])(grad|g|diff|delta)_?(?=[^./]+$)", r"\1", key),
            re.sub(r"[._]?(grad|gradient|diff|delta)$", "", key),
        )
        answer[next((form for form in forms if form in names), key)] = value
    return answer


def _flat_biases(arrays: Arrays) -> Arrays:
    """Vectors that are columns or rows, as vectors."""
    return {
        key: a.reshape(-1)
        if a.ndim == 2
        and 1 in a.shape
        and re.match(r"(.*[._/])?d?[bpv]|.*(peep|bias|gamma|beta|gain|norm)", key.lower())
        else a
        for key, a in arrays.items()
    }


def _all_named(weights: Arrays, layout: Layout) -> bool:
    more = (*layout.peepholes, *layout.projection)
    return any(
        all(any(_is(key, part.key) for part in (*parts, *more)) for key in weights) for parts in layout.cells.values()
    )


def _options(weights: Arrays, layout: Layout) -> Plain:
    """What the names of a layout tell of the cell: peepholes, a projection."""
    found: Plain = {}
    if any(_is(key, part.key) for part in layout.peepholes for key in weights):
        found["peepholes"] = True
    for part in layout.projection:
        widths = [a.shape[0 if part.out_first else -1] for key, a in weights.items() if _is(key, part.key)]
        found |= {"proj_size": widths[0]} if widths else {}
    return found


def _fits(weights: Arrays, layout: Layout, *cells: str) -> bool:
    for cell in cells or layout.cells:
        with suppress(KeyError, ValueError):
            return bool(to_lstmcore(weights, layout, cell))
    return False


def _is(key: str, part: str) -> bool:
    """Whether an array of some layer and direction is this part of a layout."""
    return key == part or key.endswith((f".{part}", f"/{part}")) or key.startswith(f"{part}_l")


def _of_cells(weights: Arrays, layout: Layout) -> Layout:
    """The layout with names that have no number of a layer, where these have none: those of torch's cells."""
    bare = {part.key for parts in layout.cells.values() for part in parts}
    return layout._replace(key="{path}{key}") if "{layer}" in layout.key and bare.issuperset(weights) else layout


def _turned(weights: Arrays, layout: Layout, cell: str | None) -> Layout:
    """The layout with its matrices the other way round, where the shapes of the recurrent ones say so."""
    cells = {}
    for name, parts in layout.cells.items():
        turn = False
        for part in parts:
            for key, a in weights.items():
                if part.of == "h" and _is(key, part.key) and len(part.blocks) > 1 and a.ndim == 2:
                    rows, columns = a.shape[::-1] if part.out_first else a.shape
                    turn |= rows == len(part.blocks) * columns
        cells[name] = tuple(p._replace(out_first=not p.out_first) if turn and p.of != "b" else p for p in parts)
    return layout if cells == dict(layout.cells) else layout._replace(source=f"{layout.source}, turned", cells=cells)


def _out_first(layout: str | Layout) -> bool:
    return isinstance(layout, Layout) and any(p.out_first for parts in layout.cells.values() for p in parts)


def _axes(x: np.ndarray, dy: np.ndarray, I: int, H: int) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Orders of the axes of x and dy in which both are time first; as they stand, then swapped alike, then others."""
    plain = tuple(range(x.ndim)), tuple(range(dy.ndim))
    if x.shape[-1] == I and dy.shape[-1] == H:
        yield plain
    if x.ndim == dy.ndim == 3:
        ways = list(permutations(range(3)))
        for xs, dys in sorted(product(ways, ways), key=lambda pair: pair[0] != pair[1]):  # the likely first
            same = [x.shape[a] for a in xs[:2]] == [dy.shape[a] for a in dys[:2]]
            if same and x.shape[xs[2]] == I and dy.shape[dys[2]] == H and (xs, dys) != plain:
                yield xs, dys
    elif x.ndim == 3 and dy.ndim == 2 and x.shape[0] == dy.shape[0]:
        yield (1, 0, 2), plain[1]


def _along(a: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    return a.transpose(axes)


def _alike(grads: Arrays, key: str, like: np.ndarray, axes: tuple[int, ...]) -> bool:
    return key in grads and grads[key].shape == like.shape and axes != tuple(range(like.ndim))


def _said(xs: tuple[int, ...], dys: tuple[int, ...], x: np.ndarray, dy: np.ndarray) -> Iterator[str]:
    for name, axes, array, last in (("x", xs, x, "I"), ("dy", dys, dy, "H")):
        if axes != tuple(range(array.ndim)):
            letters = dict(zip(axes, ("T", "B", last)))
            yield f"{name} is ({', '.join(letters[k] for k in range(array.ndim))})"
