"""Writes the golden pack: python tests/debug/certify/make_pack.py

Equal sources give equal bytes. A case is written only if two derivations that share no code agree about every number:
the scalar oracle (oracle.py, a tape over single numbers) and the complex step of the reference engine.
"""

import hashlib
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

import oracle
from cases import as_lists, reals
from rounding import UNIT_ROUNDOFF

from lstmcore.debug.certify import Golden
from lstmcore.debug.certify.own import answer, layer_of
from lstmcore.debug.certify.pack import FORMAT, HERE, RESULTS, VERSION
from lstmcore.ops.cells import CELLS, variant
from lstmcore.train.files.sealed import to_bytes

STEP = 1e-30  # of the complex step: its square is nothing beside anything that float64 holds

# ---- what goes in ------------------------------------------------------------------------------------------


def draw(role: str, shape: tuple[int, ...], most: int = 128) -> np.ndarray:
    """Numbers k / 128, k a whole number with 0 < |k| <= most, spread by SHA-256 of the role: exact in bfloat16."""
    count = int(np.prod(shape))
    digits = b"".join(hashlib.sha256(f"{role} {n}".encode()).digest() for n in range(count // 16 + 1))
    k = np.frombuffer(digits, "<u2")[:count].astype(int) % (2 * most) - most
    return ((k + (k >= 0)) / 128.0).reshape(shape)


def weights(case: Golden) -> dict[str, np.ndarray]:
    """Block by block, each drawn by its own name: what a twin has too is the same numbers."""
    cell = variant(CELLS[case.cell], **case.options)
    found = {}
    for place in case.places:
        wide = 2 if case.direction == "bidirectional" and case.topology != "towers" else 1
        I = case.I if place.startswith("0") else case.width * wide

        def block(kind: str, gate: str, *shape: int, at: str = f"{case.cell} {place}") -> np.ndarray:
            return draw(f"{at} {kind} {gate.removeprefix('x_').removeprefix('h_')}", shape)

        blocks = {
            "W_ih": [block("W_ih", cell.gates[k], I, case.H) for k in cell.input_blocks],
            "W_hh": [block("W_hh", cell.gates[k], case.width, case.H) for k in cell.recurrent_blocks],
        }
        for name, numbers in cell.biases.items():
            blocks[name] = [block("b", cell.gates[k], case.H) for k in numbers]
        if case.options.get("reset") == "before":  # its one bias of n is the sum of the two, as its twin has them
            blocks["W_hn"] = [block("W_hh", "m", case.H, case.H)]
            if "b" in blocks:
                blocks["b"][2] = blocks["b"][2] + block("b", "m", case.H)
        if "W_hr" in cell.weights:
            blocks["W_hr"] = [block("W_hr", "", case.H, case.width)]
        found |= {f"weights/{place}.{name}": np.concatenate(parts, axis=-1) for name, parts in blocks.items()}
    return found


def inputs(case: Golden, mask: np.ndarray | None) -> dict[str, np.ndarray]:
    T, B = case.T, case.B
    D = 2 if case.direction == "bidirectional" else 1
    arrays = {"x": draw("x", (T, B, case.I), 192), **weights(case)}
    for group, most in (("state0", 96), ("dstate", 128)):
        if group in case.features:
            for place in case.places:
                for name in case.states:
                    shape = (B, case.width if name == "h" else case.H)
                    arrays[f"{group}/{place}.{name}"] = draw(f"{group} {place} {name}", shape, most)
    if "final" not in case.features:
        arrays["dy"] = draw("dy", (T, B, D * case.width), 192)
    if mask is not None:
        arrays["mask"] = mask
    if case.padding == "nan":
        for name in ("x", "dy"):
            arrays[name] = np.where(mask[..., None], arrays[name], np.nan)
    return arrays


# ---- the first derivation: scalars, one at a time ----------------------------------------------------------


def told(case: Golden) -> tuple:
    """The case in the oracle's words."""
    one = 2 if case.direction == "bidirectional" and case.topology != "towers" else 1

    def single(layer: int) -> tuple:
        return (case.cell, case.I if layer == 0 else case.width * one, case.H, case.options)

    def both(layer: int) -> tuple:
        if case.direction == "bidirectional":
            return ("bidirectional", single(layer), single(layer))
        return ("reversed", single(layer)) if case.direction == "reverse" else single(layer)

    every = range(case.layers)
    if case.topology == "towers":
        return ("bidirectional", *[("stack", *map(single, every))] * 2)
    return both(0) if case.layers == 1 else ("stack", *map(both, every))


def address(case: Golden, place: str) -> tuple[int | str, ...]:
    """The way to a place in what the oracle is told."""
    layer, way = place.split(".")
    inside = {"forward": (), "reverse": ("bw",), "bidirectional": (way,)}[case.direction]
    if case.topology == "towers":
        return (way, int(layer))
    return inside if case.layers == 1 else (int(layer), *inside)


def nested(case: Golden, arrays: dict[str, np.ndarray], group: str):
    """States as the oracle nests them; zeros where the case gives none."""
    B, shapes = case.B, {"h": case.width, "c": case.H}
    tree: dict = {}
    for place in case.places:
        leaf = tuple(arrays.get(f"{group}/{place}.{s}", np.zeros((B, shapes[s]))) for s in case.states)
        here, way = tree, ("", *address(case, place))
        for part in way[:-1]:
            here = here.setdefault(part, {})
        here[way[-1]] = leaf

    def tuples(node):
        return tuple(tuples(inner) for inner in node.values()) if isinstance(node, dict) else node

    return tuples(tree)[0]


def by_scalars(case: Golden, arrays: dict[str, np.ndarray]) -> tuple[dict, dict]:
    """Every result, and the bound on its rounding error in units of u."""
    params = {}
    for place in case.places:
        prefix = "".join(f"{part}." for part in address(case, place))
        before = f"weights/{place}."
        params |= {prefix + key.removeprefix(before): a for key, a in arrays.items() if key.startswith(before)}
    mask = arrays.get("mask")
    D = 2 if case.direction == "bidirectional" else 1
    dy = arrays.get("dy", np.zeros((case.T, case.B, D * case.width)))
    if mask is not None:
        dy = np.where(mask[..., None], dy, 0)
    given = (params, arrays["x"], nested(case, arrays, "state0"), mask, dy, nested(case, arrays, "dstate"))
    tree = oracle.answer(told(case), *map(as_lists, given))
    found = []
    for what in ("value", "error"):
        got = reals(tree, what)
        results = {"y": got["y"], "dx": got["dx"]}
        for place in case.places:
            way = address(case, place)
            for group, source in (("state", got["state"]), ("dstate0", got["dstate0"])):
                leaf = source
                for part in way:
                    leaf = leaf[{"fw": 0, "bw": -1}.get(part, part)]
                results |= {f"{group}/{place}.{s}": a for s, a in zip(case.states, leaf, strict=True)}
            prefix = "".join(f"{part}." for part in way)
            names = [key.split(".", 2)[2] for key in arrays if key.startswith(f"weights/{place}.")]
            results |= {f"dweights/{place}.{name}": got["grads"][prefix + name] for name in names}
        found.append(results)
    return found[0], found[1]


# ---- the second derivation: the complex step of the reference engine ---------------------------------------


def by_complex_step(case: Golden) -> dict[str, np.ndarray]:
    """Every result: outputs forward, gradients entry by entry."""
    arrays = {name: np.array(a) for name, a in case.arrays.items() if name.split("/")[0] not in RESULTS}
    layer = layer_of(case, "complex128", "reference")
    seen = answer(replace(case, arrays=arrays), layer, "complex128")
    outputs = {name: a.real for name, a in seen.items() if name.split("/")[0] in ("y", "state")}

    def loss(changed: dict[str, np.ndarray]) -> float:
        moved = replace(case, arrays=changed)
        y, state = forward(moved, layer_of(moved, "complex128", "reference"))
        mask = case.mask
        dy = 0 if case.dy is None else np.where(True if mask is None else mask[..., None], case.dy, 0)
        return (y * dy).sum() + sum((state[f"state/{k}"] * d).sum() for k, d in case.part("dstate").items())

    gradients = {}
    zeros = {f"state0/{place}.{s}": (case.B, case.width if s == "h" else case.H)
             for place in case.places for s in case.states}  # fmt: skip
    start = {name: np.zeros(shape) for name, shape in zeros.items()} | arrays
    for name, a in start.items():
        kind, _, rest = name.partition("/")
        result = {"x": "dx", "state0": f"dstate0/{rest}", "weights": f"dweights/{rest}"}.get(kind)
        if result is None:
            continue
        gradients[result] = np.zeros(a.shape)
        for place in np.ndindex(a.shape):
            if np.isnan(a[place]):
                continue
            moved = a.astype(complex)
            moved[place] += STEP * 1j
            gradients[result][place] = loss(start | {name: moved}).imag / STEP
    return outputs | gradients


def forward(case: Golden, layer) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    found = answer(case, layer, "complex128", backward=False)
    return found.pop("y"), found


# ---- the cases ---------------------------------------------------------------------------------------------

MASKS = {
    "lengths": [2, 4, 1],
}


def plain(name: str, cell: str, features: tuple[str, ...] = ()) -> Golden:
    lengths = next((MASKS[f] for f in features if f in MASKS), None)
    direction = next((f for f in features if f in ("reverse", "bidirectional")), "forward")
    return Golden(name, cell, {}, direction, 1, "", 4, 3, 2, 3, lengths, list(features), {}, {})


def cases() -> list[Golden]:
    found = [
        plain("lstm", "lstm"),
        plain("lstm-lengths", "lstm", ("lengths",)),
        plain("lstm-reverse", "lstm", ("reverse",)),
        replace(plain("lstm-lengths-reverse", "lstm", ("lengths", "reverse")),
                twins={"lengths": "lstm-reverse", "reverse": "lstm-lengths"}),
        plain("gru-state0-dstate-bidirectional", "gru", ("state0", "dstate", "bidirectional")),
    ]  # fmt: skip
    return found


def derived(case: Golden) -> Golden:
    """With inputs, results and tolerances. Raises AssertionError where the two derivations differ."""
    mask = None if case.lengths is None else np.arange(case.T)[:, None] < np.array(case.lengths)
    arrays = inputs(case, mask)
    values, bounds = by_scalars(case, arrays)
    case = replace(case, arrays=arrays | values)
    other = by_complex_step(case)
    assert values.keys() == other.keys(), values.keys() ^ other.keys()
    for name, value in values.items():
        room = bounds[name] * UNIT_ROUNDOFF["float64"] * 2
        assert np.all(np.abs(value - other[name]) <= room), (case.name, name, value, other[name])
    tolerance: dict[str, dict[str, float]] = {}
    for dtype, u in UNIT_ROUNDOFF.items():
        groups: dict[str, float] = {}
        for name, bound in bounds.items():
            group = name.split("/")[0]
            groups[group] = max(groups.get(group, 0.0), float(f"{bound.max() * u * 1.05 + 1e-300:.1e}"))
        tolerance[dtype] = groups
    return replace(case, tolerance=tolerance)


def write(cases: list[Golden], index: Path = HERE) -> None:
    arrays = {f"{case.name}/{name}": a for case in cases for name, a in case.arrays.items()}
    index.with_suffix(".safetensors").write_bytes(to_bytes(arrays, {"format": FORMAT, "version": str(VERSION)}))
    lines = []
    for case in cases:
        told = asdict(replace(case, arrays={}))
        del told["arrays"]
        lines.append(json.dumps(told))
    head = json.dumps({"format": FORMAT, "version": VERSION, "arrays": index.with_suffix(".safetensors").name})
    index.write_text(head[:-1] + ', "cases": [\n' + ",\n".join(lines) + "\n]}\n", encoding="utf-8")


if __name__ == "__main__":
    write([derived(case) for case in cases()])
