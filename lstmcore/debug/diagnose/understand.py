"""Whatever arrays somebody has, read as a layout: names, orientation, gate order, axes.

Shapes settle most of it: (4H, I) is (I, 4H) transposed, (H, 1) a bias, four matrices a gate each. What they leave open
(rows of h above those of x or below, batch first, the order of the gates) gives several readings, the likeliest first.
Forward outputs or right gradients prove one of them; nobody is called wrong for the way he keeps his arrays.
"""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import permutations, product
from typing import NamedTuple

import numpy as np

from lstmcore.interop import LAYOUTS, Layout, to_lstmcore
from lstmcore.interop.layouts import Part
from lstmcore.ops.cells import CELLS

Arrays = dict[str, np.ndarray]
ALIASES = {"pytorch": "torch", "tensorflow": "keras", "tensorflow1": "tf1"}
WORDS = {"forget": "f", "input": "i", "output": "o", "candidate": "g", "cand": "g", "cell": "g",
         "update": "z", "reset": "r", "hidden": "h"}  # fmt: skip
LETTERS = {"lstm": {"i": "i", "f": "f", "g": "g", "c": "g", "a": "g", "o": "o"},
           "gru": {"z": "z", "r": "r", "n": "n", "h": "n", "c": "n", "g": "n"}}  # fmt: skip
OWN = "a program of its own"


class Arranged(NamedTuple):
    """The arrays as a layout has them, and what had to be found out."""

    layout: str | Layout
    cell: str | None
    x: np.ndarray
    dy: np.ndarray
    weights: Arrays
    grads: Arrays
    axes: tuple[int, ...]  # where the axes of dy came from: other arrays of its shape are turned likewise
    notes: tuple[str, ...] = ()  # in words, where it was guessed
    open_order: bool = False  # the names do not tell the order of the gates


def arrangements(
    weights: Arrays, x: np.ndarray, dy: np.ndarray, grads: Arrays, layout: str | Layout, cell: str | None
) -> Iterator[Arranged]:
    """Every reading of these arrays, as they stand first."""
    layout = ALIASES.get(layout, layout) if isinstance(layout, str) else layout
    path = _path(weights)
    weights = {key.removeprefix(path): a for key, a in weights.items()}
    grads = {key.removeprefix(path): a for key, a in grads.items()}
    known = LAYOUTS.get(layout) if isinstance(layout, str) else layout
    grads = _same_names(grads, weights)
    if known is None or not _fits(weights, known):
        weights, grads = _flat_biases(weights), _flat_biases(grads)
    notes: tuple[str, ...] = ()
    named, I, H = False, x.shape[-1], dy.shape[-1]
    orders: tuple[tuple[Arrays, Arrays, str], ...] = ((weights, grads, ""),)
    if known is not None and _all_named(weights, known):
        turned = _turned(weights, known, cell)
        if turned is not known:
            layout, notes = turned, ("matrices are (out, in)" if _out_first(turned) else "matrices are (in, out)",)
    elif known is not None or layout == "gates":
        rows = {name: _turned(weights, row, cell) for name, row in LAYOUTS.items() if _all_named(weights, row)}
        rows.pop("tf1", None)  # who says nothing of it is not taken to add 1 to the forget gate
        other = next((name for name, row in rows.items() if _fits(weights, row)), None)
        if other is not None:
            layout, named, notes = rows[other], True, (f"the names are those of layout {other!r}",)
        else:
            found = _program(weights, x.shape, dy.shape)
            if found is not None:
                layout, cell, named, I, H = found
                orders = tuple(_rows_of_h(weights, grads, layout, cell, H))
                named = not named
    for (ours, theirs, how), axes in product(orders, _axes(x, dy, I, H)):
        xs, dys = axes
        moved = {**theirs, "x": theirs["x"].transpose(xs)} if _alike(theirs, "x", x, xs) else theirs
        said = (*notes, *([how] if how else []), *_said(xs, dys, x, dy))
        yield Arranged(layout, cell, _along(x, xs), _along(dy, dys), ours, moved, dys, said, named)


def _path(weights: Arrays) -> str:
    """The path that all names begin with: "encoder.lstm."; a layer's number and a direction are no part of it."""
    shared = os.path.commonprefix(list(weights)) if len(weights) > 1 else ""  # noqa: RUF071  cut at a separator below
    path = shared[: max(shared.rfind("."), shared.rfind("/")) + 1]
    return "" if re.search(r"(^|[./_])(\d+|fw|bw|forward|backward|\w+_\d+)[./]", path) else path


def _same_names(grads: Arrays, weights: Arrays) -> Arrays:
    """Gradients under the names of what they are gradients of: dW, d_W, grad_W, W_grad, W.grad."""
    names = {*weights, "x", "h0", "c0"}
    answer = {}
    for key, value in grads.items():
        forms = (
            key,
            re.sub(r"^d_?(?=.)", "", key),
            re.sub(r"^(grad|g)_?(?=.)", "", key),
            re.sub(r"[._]grad$", "", key),
        )
        answer[next((form for form in forms if form in names), key)] = value
    return answer


def _flat_biases(arrays: Arrays) -> Arrays:
    """Biases that are columns or rows, as vectors."""
    return {
        key: a.reshape(-1) if a.ndim == 2 and 1 in a.shape and re.match(r"(.*[._/])?d?b", key.lower()) else a
        for key, a in arrays.items()
    }


def _all_named(weights: Arrays, layout: Layout) -> bool:
    return any(all(any(_is(key, part.key) for part in parts) for key in weights) for parts in layout.cells.values())


def _fits(weights: Arrays, layout: Layout) -> bool:
    for cell in layout.cells:
        with suppress(KeyError, ValueError):
            return bool(to_lstmcore(weights, layout, cell))
    return False


def _is(key: str, part: str) -> bool:
    """Whether an array of some layer and direction is this part of a layout."""
    return key == part or key.endswith((f".{part}", f"/{part}")) or key.startswith(f"{part}_l")


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
    return layout if cells == dict(layout.cells) else layout._replace(cells=cells)


def _out_first(layout: str | Layout) -> bool:
    return isinstance(layout, Layout) and any(p.out_first for parts in layout.cells.values() for p in parts)


def _program(weights: Arrays, x: tuple[int, ...], dy: tuple[int, ...]) -> tuple[Layout, str, bool, int, int] | None:
    """The layout of one layer under names of somebody's own, its cell, whether names tell the gates, I and H.

    Roles by shape: H is one of the sizes of dy, I one of x.
    """
    for H, I in product(dict.fromkeys(dy[::-1]), dict.fromkeys(x[::-1])):
        for per_gate, K in ((True, 1), (False, 4), (False, 3), (False, 1)):
            for cell in LETTERS if per_gate else [{4: "lstm", 3: "gru", 1: "rnn"}[K]]:
                found = _parts(weights, I, H, K, cell, per_gate)
                if found is not None:
                    return Layout(OWN, {cell: found}), cell, per_gate or K == 1, I, H
    return None


def _parts(weights: Arrays, I: int, H: int, K: int, cell: str, per_gate: bool) -> tuple[Part, ...] | None:
    parts = []
    for key, a in weights.items():
        gate = _gate(key, cell) if per_gate else None
        if per_gate and gate is None:
            return None
        blocks = gate or {"lstm": "ifgo", "gru": "rzn", "rnn": "n"}[cell]
        if a.shape == (K * H,):
            parts.append(Part(key, "b", blocks))
            continue
        fitting = [
            (of, out_first)
            for of, rows in (("xh", I + H), ("x", I), ("h", H))
            for out_first, shape in ((True, (K * H, rows)), (False, (rows, K * H)))
            if a.shape == shape
        ]
        if not fitting:
            return None
        kinds = {of for of, _ in fitting}
        of = fitting[0][0] if len(kinds) == 1 else "h" if _speaks_of_h(key) else "x"
        out_first = next(out for kind, out in fitting if kind == of)
        parts.append(Part(key, of, blocks.replace("n", "m") if of == "h" and cell == "gru" else blocks, out_first))
    turned = {p.out_first for p in parts if p.of != "b" and weights[p.key].shape[0] != weights[p.key].shape[1]}
    if len(turned) == 1:  # square ones are kept as the others are
        parts = [p._replace(out_first=turned.copy().pop()) if p.of != "b" else p for p in parts]
    if len({len(p.of) for p in parts if p.of != "b"}) > 1:
        return None  # over [x, h] are all of them, or none
    needed = set(product("xh", CELLS[cell].gates)) - {("x", "m"), ("h", "n")} if cell == "gru" else None
    have = {(of, g) for p in parts if p.of != "b" for of in p.of for g in p.blocks}
    return tuple(parts) if have == (needed or set(product("xh", CELLS[cell].gates))) else None


def _gate(key: str, cell: str) -> str | None:
    """The gate that a name speaks of: Wf, W_f, Wxf, W_hf, U_f, bf, b_f, W_forget, w_ii."""
    name = key.lower()
    for word, letter in WORDS.items():
        name = name.replace(word, letter)
    found = re.fullmatch(r"(?:w(?:eights?)?|u|r|v|b(?:ias)?|kernel)_?([xhi])?_?([a-z])_?([xh])?", name)
    return LETTERS[cell].get(found[2]) if found else None


def _speaks_of_h(key: str) -> bool:
    """Of two matrices of one shape, the one that multiplies h: Whh, W_hf, Uf, R, recurrent_kernel."""
    return bool(re.match(r"(u|r|.*hh|w(eights?)?_?h|.*rec|.*_h|.*hid)", key.lower()))


def _rows_of_h(
    weights: Arrays, grads: Arrays, layout: Layout, cell: str, H: int
) -> Iterator[tuple[Arrays, Arrays, str]]:
    """The matrices over [x; h], and then those over [h; x] brought into that order."""
    joint = [part for part in layout.cells[cell] if part.of == "xh"]
    if not joint:
        yield weights, grads, ""
        return

    def moved(arrays: Arrays) -> Arrays:
        axes = {part.key: int(part.out_first) for part in joint}
        turned = {k: a.shape != weights[k].shape for k, a in arrays.items() if k in axes}  # a gradient may be
        return {k: np.roll(a, -H, axes[k] ^ turned[k]) if k in axes else a for k, a in arrays.items()}

    yield moved(weights), moved(grads), "matrices over [h, x]"
    yield weights, grads, "matrices over [x, h]"


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
