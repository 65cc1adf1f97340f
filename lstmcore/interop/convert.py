"""Weights and gradients between the layouts of the table: cut into blocks, and joined again."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType

import numpy as np

from lstmcore.arrays import Plain
from lstmcore.interop.host import on_host
from lstmcore.interop.layouts import LAYOUTS, Layout, Part, Structure
from lstmcore.interop.why import check_order, tidy, why
from lstmcore.ops import gates
from lstmcore.ops.cells import CELLS, variant

NO_OPTIONS: Mapping[str, object] = MappingProxyType({})
Blocks = dict[tuple[str, str], list[tuple[str, np.ndarray]]]  # ("x", "i") -> [(key, its copy of the block), ...]


def to_lstmcore(
    weights: Mapping[str, object],
    layout: str | Layout,
    cell: str = "lstm",
    *,
    gradients: bool = False,
    bidirectional: bool | None = None,
    dtype: str | None = None,
    options: Mapping[str, object] = NO_OPTIONS,
) -> tuple[Plain, dict[str, np.ndarray]]:
    """Weights, or gradients, of any layout -> (config, params), both as lstmcore's.

    `lstmcore.layers.from_config(config)` builds the layer, container or stack that params belong to. A path that all
    names begin with is left out, and torch's cells are layers. Biases that are not there are zero. bidirectional:
    needed only where keys and shapes leave it open (Chainer with I = H). dtype: what to read them into, "float32" or
    "float64"; float16 and bfloat16 are not read without it. options: of the lstmcore layer (peepholes=True,
    reset="before", bias=False), which say what the arrays are for. Raises KeyError for an unknown layout or cell and
    for arrays that are missing or too many, with the feature that they belong to; ValueError for shapes that do not
    fit and for biases that prove another order of gates; TypeError for what are no floating-point numbers.
    """
    _parts(_layout(layout), cell)
    layout, own = with_options(_layout(layout), cell, options), own_layout(cell, options)
    arrays = on_host(weights, dtype)
    if not any(_matching(arrays, layout, cell)):
        arrays = tidy(arrays)
    structure = structure_of(arrays, layout, cell, bidirectional)
    if not gradients:
        check_order(arrays, layout, cell)
    params: dict[str, np.ndarray] = {}
    sizes = {}
    for k, d in structure.places():
        blocks = _cut(arrays, layout, structure, k, d)
        like = blocks[next(key for key in blocks if key[0] == "h")][0][1]
        sizes[k, d] = len(blocks[next(key for key in blocks if key[0] == "x")][0][1]), like.shape[-1]
        if options.get("reset") == "before":  # both biases of the candidate add up
            both = blocks.pop(("b", "n"), []) + blocks.pop(("b", "m"), [])
            blocks |= {("b", "n"): both} if both else {}
        for part in own.cells[cell]:
            copies = [blocks.get((part.of, g), [("", np.zeros_like(like[0]))]) for g in part.blocks]
            name = own.name(structure, k, d, part.key)
            pick = [c[0][1] if gradients else _sum(c) for c in copies]
            params[name] = np.concatenate(pick, axis=-1)
            if part.of == "b" and "f" in part.blocks and layout.forget_bias and not gradients:
                gates.split(params[name], len(part.blocks))[part.blocks.index("f")] += layout.forget_bias
            if gradients and any(len(c) > 1 for c in copies):
                second = [c[1] for c in copies if len(c) > 1]
                params[f"{name} ({', '.join(dict.fromkeys(k for k, _ in second))})"] = np.concatenate(
                    [value for _, value in second]
                )
    return _config(structure, sizes, params, options), params


def from_lstmcore(
    params: Mapping[str, object],
    layout: str | Layout,
    cell: str = "lstm",
    *,
    gradients: bool = False,
    options: Mapping[str, object] | None = None,
) -> dict[str, np.ndarray]:
    """lstmcore's weights, or gradients, in another layout; the way back of `to_lstmcore`.

    options: of the layer; None: what the names tell (peepholes, a projection, a GRU's reset gate before the product, no
    biases).

    Raises KeyError for an unknown layout, ValueError for a structure that the layout does not have.
    """
    arrays = on_host(params)
    options = _told(arrays, cell) if options is None else options
    _parts(_layout(layout), cell)
    layout, own = with_options(_layout(layout), cell, options), own_layout(cell, options)
    parts = layout.cells[cell]
    structure = structure_of(arrays, own, cell, None)
    if structure.towers and not layout.has_towers:
        raise ValueError("this layout has no two independent towers, only stacks of bidirectional layers")
    answer: dict[str, list[np.ndarray]] = {}  # one array, or with `direction_axis` one for each direction
    for k, d in structure.places():
        blocks = _cut(arrays, own, structure, k, d)
        _fill(blocks, options, gradients)
        used: set[tuple[str, str]] = set()
        for part in parts:
            if part.of == "b" and not any(of == "b" for of, _ in blocks):
                continue  # a layer without biases
            value = _join(part, blocks, used, gradients, 0.0 if gradients else layout.forget_bias)
            name = layout.name(structure, k, d, part.key)
            answer.setdefault(name, []).append(value)
    return {key: np.stack(values) if layout.direction_axis else values[-1] for key, values in answer.items()}


def own_layout(cell: str, options: Mapping[str, object]) -> Layout:
    """The row of lstmcore, as a cell of these options has it."""
    made = variant(CELLS[cell], **options)
    named = [made.gates[k] for k in made.recurrent_blocks]
    parts = [
        Part("W_ih", "x", "".join(made.gates[k] for k in made.input_blocks)),
        Part("W_hh", "h", "".join(named)),
        # a GRU's W_hn, where the reset gate comes before the product, and an LSTM's W_hr
        *(Part(name, "r", "r") if name == "W_hr" else Part(name, "h", "m") for name in made.weights),
    ]
    for name, blocks in made.biases.items():
        letters = "".join(made.gates[k].removeprefix("p_") for k in blocks)
        parts.append(Part(name, "p" if name == "p" else "b", letters))
    return LAYOUTS["lstmcore"]._replace(cells={cell: tuple(parts)})


def with_options(layout: Layout, cell: str, options: Mapping[str, object]) -> Layout:
    """A row as a cell of these options has it: with peepholes, and one bias where the system has one for it."""
    if layout.source == LAYOUTS["lstmcore"].source:
        return own_layout(cell, options)
    parts = layout.cells[cell]
    for option, more in (("peepholes", layout.peepholes), ("proj_size", layout.projection)):
        if options.get(option):
            if not more:
                raise ValueError(f"this layout has no {option}")
            parts = (*parts, *more)
    if options.get("reset") == "before" and layout.before is not None:
        parts = tuple(layout.before if part.of == "b" else part for part in parts)
    return layout if parts == layout.cells[cell] else layout._replace(cells={**layout.cells, cell: parts})


def _told(arrays: Mapping[str, np.ndarray], cell: str) -> Plain:
    """The options that the names of parameters tell."""
    names = {key.rpartition(".")[2] for key in arrays}
    told: Plain = {"peepholes": True} if "p" in names else {}
    told |= next(({"proj_size": value.shape[-1]} for key, value in arrays.items() if key.endswith("W_hr")), {})
    told |= {"reset": "before"} if "W_hn" in names else {}
    return told | ({"bias": False} if "W_hh" in names and "b" not in names else {})


def _fill(blocks: Blocks, options: Mapping[str, object], gradients: bool) -> None:
    """The blocks that other systems have and the cell lacks: those of a coupled gate are zero, and a second bias of
    the candidate is zero beside the first, or has its gradient."""
    gone = str(options.get("coupled") or "")
    for of, like in (("x", "g"), ("h", "g"), ("b", "g"), ("p", "o")):
        if gone and (of, like) in blocks:
            blocks[of, gone] = [("", np.zeros_like(blocks[of, like][0][1]))]
    if options.get("reset") == "before" and ("b", "n") in blocks:
        n = blocks["b", "n"][0][1]
        blocks["b", "m"] = [("", n if gradients else np.zeros_like(n))]


def structure_of(
    arrays: Mapping[str, np.ndarray], layout: Layout, cell: str, bidirectional: bool | None = None
) -> Structure:
    """Layers and directions, told from keys and shapes. KeyError if nothing fits, ValueError if two things do."""
    found = [s for s in _matching(arrays, layout, cell) if bidirectional in (None, s.directions == 2)]
    if not found:
        got = ", ".join(f"{key} {value.shape}" for key, value in arrays.items())
        names = [layout.name(Structure(cell), 0, 0, part.key) for part in _parts(layout, cell)]
        reason = why(arrays, layout, cell, lambda *given: any(_matching(*given))) or _gaps(arrays, layout, cell)
        raise KeyError(
            f"the weights should hold {', '.join(names)} (one layer), or the like for stacks and directions, "
            f"with shapes that fit each other; got {got or 'nothing'}{'. ' + reason if reason else ''}"
        )
    if len(found) > 1:
        raise ValueError("these keys and shapes fit two layers as well as two directions: pass bidirectional=")
    return found[0]


def _layout(layout: str | Layout) -> Layout:
    if isinstance(layout, Layout):
        return layout
    if layout not in LAYOUTS:
        raise KeyError(f"`layout` should be one of {', '.join(LAYOUTS)}; got {layout!r}")
    return LAYOUTS[layout]


def _parts(layout: Layout, cell: str) -> tuple[Part, ...]:
    if cell not in layout.cells:
        raise KeyError(f"`cell` should be one of {', '.join(layout.cells)} in this layout; got {cell!r}")
    return layout.cells[cell]


def _matching(arrays: Mapping[str, np.ndarray], layout: Layout, cell: str) -> Iterator[Structure]:
    """Every structure whose names and shapes these are."""
    return (structure for structure in _structures(arrays, layout, cell) if _fits(arrays, layout, structure))


def _gaps(arrays: Mapping[str, np.ndarray], layout: Layout, cell: str) -> str:
    """What the nearest structure has besides, and what it has not, where most of it is there."""
    found: list[tuple[list[str], list[str]]] = []
    for layers in range(1, len(arrays) + 1):
        for directions, stacked in ((1, layers > 1), (2, layers > 1), (1, True), (2, True)):
            s = Structure(cell, layers, directions, stacked)
            parts = {layout.name(s, k, d, p.key): p for k, d in s.places() for p in _parts(layout, cell)}
            gone = [name for name, part in parts.items() if part.of not in ("b", "p") and name not in arrays]
            found.append((gone, [name for name in arrays if name not in parts]))
    gone, more = min(found, key=lambda pair: len(pair[0]) + len(pair[1]))
    if not gone + more or len(gone) + len(more) >= len(arrays):
        return ""
    return "; ".join([f"{', '.join(gone)} missing"] * bool(gone) + [f"{', '.join(more)} is no part of it"] * bool(more))


def _structures(arrays: Mapping[str, np.ndarray], layout: Layout, cell: str) -> Iterator[Structure]:
    """Every structure whose matrices are exactly those that are there."""
    matrices = [part.key for part in _parts(layout, cell) if part.of not in ("b", "p")]
    every = [part.key for part in _parts(layout, cell)]
    seen = set()
    for layers in range(1, len(arrays) + 1):
        for directions in (1, 2):
            places = layers * (1 if layout.direction_axis else directions)
            if not places * len(matrices) <= len(arrays) <= places * len(every):
                continue
            for stacked in (False, True) if layers == 1 else (True,):
                for towers in (False, True) if directions == 2 and stacked else (False,):
                    s = Structure(cell, layers, directions, stacked, towers)
                    needed = {layout.name(s, k, d, key) for k, d in s.places() for key in matrices}
                    allowed = {layout.name(s, k, d, key) for k, d in s.places() for key in every}
                    if needed <= set(arrays) <= allowed and (frozenset(allowed), directions) not in seen:
                        seen.add((frozenset(allowed), directions))
                        yield s


def _fits(arrays: Mapping[str, np.ndarray], layout: Layout, structure: Structure) -> bool:
    """Every layer reads what the layer below gives, and every array has one H."""
    gives: dict[tuple[int, int], int] = {}
    reads: set[int] = set()
    if layout.direction_axis and any(len(value) != structure.directions for value in arrays.values()):
        return False
    for k, d in structure.places():
        widths: set[int] = set()
        heights: dict[str, set[int]] = {}
        try:
            blocks = _cut(arrays, layout, structure, k, d)
        except ValueError:
            return False
        projection = blocks.pop(("r", "r"), None)
        for (of, _), copies in blocks.items():
            widths |= {value.shape[-1] for _, value in copies}
            if of not in ("b", "p"):
                heights.setdefault(of, set()).update(value.shape[0] for _, value in copies)
        if len(widths) != 1 or len(heights["x"]) != 1:
            return False
        H = widths.pop()
        rows, gives[k, d] = projection[0][1].shape if projection else (H, H)
        if rows != H or heights["h"] != {gives[k, d]}:
            return False
        below = [gives[k - 1, e] for e in range(structure.directions) if not structure.towers or e == d] if k else []
        if heights["x"] != ({sum(below)} if k else reads or heights["x"]):
            return False
        reads = reads or heights["x"]
    return True


def _cut(arrays: Mapping[str, np.ndarray], layout: Layout, structure: Structure, layer: int, direction: int) -> Blocks:
    """All blocks of one layer and direction: matrices (in, H), biases (H,). Raises ValueError if they do not divide."""
    blocks: Blocks = {}
    for part in _parts(layout, structure.cell):
        key = layout.name(structure, layer, direction, part.key)
        if key not in arrays:
            continue  # a layer without biases
        value = arrays[key][direction] if layout.direction_axis else arrays[key]
        vector = part.of in ("b", "p")
        value = value.reshape(-1) if vector else value.T if part.out_first else value
        K = len(part.blocks)
        if value.ndim != (1 if vector else 2) or value.shape[-1] % K:
            raise ValueError(f"`{key}` should be {_letters(part)}; got {arrays[key].shape}")
        H = value.shape[-1] // K
        cut = value.reshape(*value.shape[:-1], H, K) if part.by_unit else value.reshape(*value.shape[:-1], K, H)
        for j, g in enumerate(part.blocks):
            block = cut[..., j] if part.by_unit else cut[..., j, :]
            if part.of == "xh":
                blocks.setdefault(("x", g), []).append((key, block[:-H]))
                of_h = "m" if (structure.cell, g) == ("gru", "n") else g
                blocks.setdefault(("h", of_h), []).append((key, block[-H:]))
            else:
                blocks.setdefault((part.of, g), []).append((key, block))
    return blocks


def _join(part: Part, blocks: Blocks, used: set[tuple[str, str]], gradients: bool, forget_bias: float) -> np.ndarray:
    """One array out of lstmcore's blocks. A block that went into an array before is a second summed bias."""
    columns = []
    for g in part.blocks:
        kinds = ("x", "h") if part.of == "xh" else (part.of,)
        named = [(kind, "m" if (kind, g) not in blocks else g) for kind in kinds]  # what h gives to a GRU's candidate
        block = np.concatenate([blocks[name][0][1] for name in named])
        if part.of == "b":
            if ("b", g) in used and not gradients:
                block = np.zeros_like(block)
            elif g == "f":
                block = block - np.asarray(forget_bias, block.dtype)
            used.add(("b", g))
        columns.append(block)
    value = np.stack(columns, axis=-1 if part.by_unit else -2)
    value = value.reshape(*value.shape[:-2], -1)
    if part.of == "b":
        return value.reshape(part.rows, -1) if part.rows else value
    return np.ascontiguousarray(value.T) if part.out_first else value


def _sum(copies: list[tuple[str, np.ndarray]]) -> np.ndarray:
    return sum((value for _, value in copies[1:]), start=copies[0][1])


def _letters(part: Part) -> str:
    K = f"{len(part.blocks) if len(part.blocks) > 1 else ''}H"
    rows = {"x": "I", "h": "H", "xh": "I+H"}.get(part.of, "")
    if part.of == "r":
        return "(P, H)" if part.out_first else "(H, P)"
    return f"({K},)" if part.of in ("b", "p") else f"({K}, {rows})" if part.out_first else f"({rows}, {K})"


def _config(
    structure: Structure,
    sizes: Mapping[tuple[int, int], tuple[int, int]],
    params: Mapping[str, np.ndarray],
    options: Mapping[str, object],
) -> Plain:
    """What `lstmcore.layers.from_config` builds."""
    dtype = str(next(iter(params.values())).dtype)

    def layer(k: int, d: int) -> Plain:
        I, H = sizes[k, d]
        kind = CELLS[structure.cell].name.upper()
        return {"kind": kind, "input_size": I, "hidden_size": H, "dtype": dtype, "return_sequences": True, **options}

    def both(fw: Plain, bw: Plain) -> Plain:
        return {"kind": "Bidirectional", "fw": fw, "bw": bw, "merge": "concat"}

    def stack(layers: list[Plain]) -> Plain:
        return {"kind": "Stack", "layers": layers} if structure.stacked else layers[0]

    numbers = range(structure.layers)
    if structure.towers:
        return both(stack([layer(k, 0) for k in numbers]), stack([layer(k, 1) for k in numbers]))
    if structure.directions == 2:
        return stack([both(layer(k, 0), layer(k, 1)) for k in numbers])
    return stack([layer(k, 0) for k in numbers])
