"""Writes the golden pack: python tests/golden/make_pack.py

Equal sources give equal bytes. A case is written only if two derivations that share no code agree about every number:
the scalar oracle (oracle.py, a tape over single numbers; at 40 digits, rounded once) and the reference engine, its
gradients by hand, number by number, and by complex step.
"""

import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

import oracle
from cases import as_lists, reals
from golden.arithmetic import Exact, rounded_at_random
from golden.which import MASKS, every_case
from rounding import SECOND_ORDER, UNIT_ROUNDOFF, Real, Undecided

from lstmcore.debug.certify import Golden
from lstmcore.debug.certify.own import answer, layer_of
from lstmcore.debug.certify.pack import FORMAT, HERE, VERSION
from lstmcore.debug.certify.program import told as line_of
from lstmcore.ops.cells import CELLS, variant
from lstmcore.train.files.sealed import to_bytes

SMALL = {"float16": 2.0**-11, "bfloat16": 2.0**-8}  # their unit roundoffs
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
            drawn = draw(f"{at} {kind} {gate.removeprefix('x_').removeprefix('h_')}", shape)
            return drawn / 2 if "long" in case.features else drawn  # rounding dies out over many steps, not the numbers

        blocks = {
            "W_ih": [block("W_ih", cell.gates[k], I, case.H) for k in cell.input_blocks],
            "W_hh": [block("W_hh", cell.gates[k], case.width, case.H) for k in cell.recurrent_blocks],
        }
        for name, numbers in cell.biases.items():
            blocks[name] = [block("b", cell.gates[k], case.H) for k in numbers]
            if "saturated" in case.features:  # closed and open to within 1e-13, on every other unit of every gate
                for k, b in enumerate(blocks[name]):
                    b[::2] = np.array([-30.0, 12.0, 30.0, -12.0])[[k % 4, (k + 1) % 4]]
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
        for name in ("x", "dy") if "dy" in arrays else ("x",):
            arrays[name] = np.where(mask[..., None], arrays[name], np.nan)
    return arrays


# ---- the first derivation: scalars, one at a time ----------------------------------------------------------


def told(case: Golden, more: dict) -> tuple:
    """The case in the oracle's words, with more options."""
    one = 2 if case.direction == "bidirectional" and case.topology != "towers" else 1

    def single(layer: int) -> tuple:
        return (case.cell, case.I if layer == 0 else case.width * one, case.H, case.options | more)

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


def nested(case: Golden, group: str):
    """States as the oracle nests them; zeros where the case gives none."""
    B, shapes = case.B, {"h": case.width, "c": case.H}
    tree: dict = {}
    for place in case.places:
        leaf = tuple(case.arrays.get(f"{group}/{place}.{s}", np.zeros((B, shapes[s]))) for s in case.states)
        here, way = tree, ("", *address(case, place))
        for part in way[:-1]:
            here = here.setdefault(part, {})
        here[way[-1]] = leaf

    def tuples(node):
        return tuple(tuples(inner) for inner in node.values()) if isinstance(node, dict) else node

    return tuples(tree)[0]


def by_scalars(case: Golden, kind: type, what: str, options: dict | None = None) -> dict[str, np.ndarray]:
    """Every result, computed with this kind of numbers: their `value`, or what else they hold."""
    params = {}
    for place in case.places:
        prefix = "".join(f"{part}." for part in address(case, place))
        params |= {prefix + name: w for name, w in case.part("weights", place).items()}
    D = 2 if case.direction == "bidirectional" else 1
    dy = np.zeros((case.T, case.B, D * case.width)) if case.dy is None else case.dy
    if case.mask is not None:
        dy = np.where(case.mask[..., None], dy, 0)
    given = (params, case.x, nested(case, "state0"), case.mask, dy, nested(case, "dstate"))
    tree = oracle.answer(told(case, options or {}), *map(as_lists, given), kind)
    got = reals(tree, what)
    results = {"y": got["y"], "dx": got["dx"]}
    for place in case.places:
        way = address(case, place)
        for group in ("state", "dstate0"):
            leaf = got[group]
            for part in way:
                leaf = leaf[{"fw": 0, "bw": -1}.get(part, part)]
            results |= {f"{group}/{place}.{s}": a for s, a in zip(case.states, leaf, strict=True)}
        prefix = "".join(f"{part}." for part in way)
        results |= {f"dweights/{place}.{name}": got["grads"][prefix + name] for name in case.part("weights", place)}
    return results


# ---- the second derivation: the complex step of the reference engine ---------------------------------------


def by_complex_step(case: Golden, name: str, direction: np.ndarray) -> float:
    """The derivative of the loss along a direction of one input."""
    arrays = dict(case.arrays)
    if name.startswith("state0/") and name not in arrays:  # zeros, all of them
        arrays |= {f"state0/{place}.{s}": np.zeros((case.B, case.width if s == "h" else case.H))
                   for place in case.places for s in case.states}  # fmt: skip
    arrays[name] = arrays[name] + 1j * STEP * direction
    moved = replace(case, arrays=arrays)
    found = answer(moved, layer_of(moved, "complex128", "reference"), "complex128", backward=False)
    dy = 0.0 if case.dy is None else case.dy
    if case.mask is not None:
        dy = np.where(case.mask[..., None], dy, 0)
    loss = (found["y"] * dy).sum() + sum((found[f"state/{key}"] * d).sum() for key, d in case.part("dstate").items())
    return loss.imag / STEP


def check(case: Golden, values: dict[str, np.ndarray], bounds: dict[str, np.ndarray]) -> None:
    """Holds the scalars' results to the reference engine: outputs and gradients number by number, and the gradients'
    sums along two random directions of every input to the complex step. Raises AssertionError."""
    u = UNIT_ROUNDOFF["float64"] * SECOND_ORDER
    hand = answer(case, layer_of(case, "float64", "reference"))
    assert values.keys() == hand.keys(), values.keys() ^ hand.keys()
    for name, value in values.items():
        assert np.all(np.abs(value - hand[name]) <= bounds[name] * u + 1e-290), (case.name, name, value, hand[name])
    for name, gradient in values.items():
        group, _, rest = name.partition("/")
        into = {"dx": "x", "dstate0": f"state0/{rest}", "dweights": f"weights/{rest}"}.get(group)
        if into is None:
            continue
        for seed in "ab":
            direction = draw(f"{seed} direction {name}", gradient.shape)
            if into == "x" and case.mask is not None:
                direction = np.where(case.mask[..., None], direction, 0)
            want = np.sum(np.where(direction == 0, 0, gradient * direction))
            # rounding of a loss's slope: as that of all its terms; and what adding them up here costs
            room = (np.sum(bounds[name] * np.abs(direction)) + gradient.size * np.sum(np.abs(gradient * direction))) * u
            got = by_complex_step(case, into, direction)
            assert abs(got - want) <= room + 1e-290, (case.name, name, got, want, room)


# ---- the cases ---------------------------------------------------------------------------------------------

ROW_OF_NONE = "ONNX does not say what the final state of a row without a step is, where there is an initial one"
CLIP_OF_H = "ONNX does not say whether the clip holds the argument of the last activation too"


def derived(case: Golden) -> Golden:
    """With inputs, results and tolerances. Raises AssertionError where the two derivations differ."""
    mask = next((np.array(MASKS[f], bool) for f in case.features if f in MASKS), None)
    if "long" in case.features and mask is not None:
        mask = np.arange(case.T)[:, None] < np.array(case.lengths)
    case = replace(case, arrays=inputs(case, mask))
    exact = {name: a.astype(float) for name, a in by_scalars(case, Exact, "value").items()}
    bounds = by_scalars(case, Real, "error")
    check(case, exact, bounds)
    tolerance = {dtype: grouped({n: b * u * SECOND_ORDER for n, b in bounds.items()})
                 for dtype, u in sorted(UNIT_ROUNDOFF.items(), reverse=True)}  # fmt: skip
    largest = grouped(exact)
    tolerance = {dtype: told for dtype, told in tolerance.items() if all(told[g] <= 0.5 * largest[g] for g in told)}
    for dtype, u in SMALL.items():
        told = at_random(case, u)
        if told is not None and "float32" in tolerance and all(told[g] <= 0.5 * largest[g] for g in told):
            tolerance[dtype] = told
    ambiguous = {}
    if {"empty", "state0"} <= set(case.features):
        ambiguous = dict.fromkeys(("state", "dstate0"), ROW_OF_NONE)
    if case.cell == "lstm" and "clip_a" in case.options:
        held = grouped({n: a.astype(float) - exact[n] for n, a in
                        by_scalars(case, Exact, "value", {"clip_h": True}).items()})  # fmt: skip
        ambiguous |= {group: CLIP_OF_H for group, change in held.items() if change > 1e-20}
    return replace(case, arrays=case.arrays | exact, tolerance=tolerance, ambiguous=ambiguous)


def grouped(arrays: dict[str, np.ndarray]) -> dict[str, float]:
    """The largest size in each group of results, two digits of it, rounded up."""
    groups: dict[str, float] = {}
    for name, a in arrays.items():
        group = name.split("/")[0]
        groups[group] = max(groups.get(group, 0.0), float(f"{1.05 * np.max(np.abs(a)):.1e}"))
    return groups


def at_random(case: Golden, u: float) -> dict[str, float] | None:
    """Eight standard deviations of each result under random rounding; None where rounding decides on a branch."""
    if "long" in case.features:
        return None
    try:
        spread = by_scalars(case, rounded_at_random(u), "value")
    except Undecided:
        return None
    arrays = {name: np.array(a.tolist(), float) for name, a in spread.items()}
    size = {name: case_size(a) for name, a in arrays.items()}
    return grouped(size)


def case_size(a: np.ndarray) -> np.ndarray:
    return 8.0 * np.sqrt(np.mean((a - a[..., :1]) ** 2, axis=-1))


def write(cases: list[Golden], index: Path = HERE) -> None:
    arrays = {f"{case.name}/{name}": a for case in cases for name, a in case.arrays.items()}
    index.with_suffix(".safetensors").write_bytes(to_bytes(arrays, {"format": FORMAT, "version": str(VERSION)}))
    lines = [line_of(case) for case in cases]
    head = json.dumps({"format": FORMAT, "version": VERSION, "arrays": index.with_suffix(".safetensors").name})
    index.write_text(head[:-1] + ', "cases": [\n' + ",\n".join(lines) + "\n]}\n", encoding="utf-8")


if __name__ == "__main__":
    found = []
    for k, case in enumerate(every_case()):
        found.append(derived(case))
        if k % 50 == 0:
            print(case.name, flush=True)
    write(found)
