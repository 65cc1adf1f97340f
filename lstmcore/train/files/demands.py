"""What a model's configuration demands of the arrays in a file, without building the model."""

import re
from typing import Any

from lstmcore.ops.cells import CELLS
from lstmcore.train.files.sealed import CHECKPOINT, Damaged, Kind, Shapes


def check(kind: Kind, config: dict[str, Any], found: Shapes) -> None:
    """Compares every array of a file that belongs to the model with its configuration; raises Damaged.

    In a model's file these are all. In a checkpoint (checkpoint.py) they are

        model.W          the parameters, each of them once
        opt.W.slot       what the optimizer remembers of them: as the parameter
        ... .params.W    a copy of some of them, as a callback keeps it: as the parameter
        carried.0.1      the state that is carried on, (B, H) as `state_sizes` has it, with one B
    """
    try:
        expected, sizes = parameter_shapes(config), state_sizes(config)
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Damaged(f"its configuration describes no model of this version ({error})") from error
    if kind is not CHECKPOINT:
        _compare(expected, found)
        return
    _compare({f"model.{name}": value for name, value in expected.items()}, _part(found, "model."))
    for name, value in found.items():
        owner = re.match(r"opt\.memory\.(.+)\.[^.]+$", name) or re.search(r"\.params\.(.+)$", name)
        if owner:
            _compare({name: expected.get(owner[1])}, {name: value})
    carried = _part(found, "carried")
    if carried:
        (shape, dtype), floats = next(iter(carried.values())), {dtype for _, dtype in expected.values()}
        rows = {f"carried{place}": ((shape[0] if shape else 0, H), dtype) for place, H in sizes.items()}
        _compare(rows, carried if dtype in floats else {})


def parameter_shapes(config: dict[str, Any]) -> Shapes:
    """The parameters that a layer of this configuration has.

    Raises KeyError, TypeError or AttributeError for what is no configuration.
    """
    kind = config["kind"]
    if kind.lower() in CELLS:
        shapes = CELLS[kind.lower()].shapes(config["input_size"], config["hidden_size"])
    elif kind == "Linear":
        shapes = {"W": (config["input_size"], config["output_size"])}
        shapes |= {"b": (config["output_size"],)} if config["bias"] else {}
    elif kind == "Embedding":
        shapes = {"W": (config["classes"], config["output_size"])}
    elif kind in ("Stack", "Bidirectional"):
        parts = {name: parameter_shapes(part) for name, part in _parts(config).items()}
        return {f"{part}.{name}": value for part, shapes in parts.items() for name, value in shapes.items()}
    elif kind in ("Tanh", "Dropout", "Last"):
        return {}
    else:
        raise KeyError(f"no kind {kind!r} (written by a later version?)")
    return {name: (shape, config["dtype"]) for name, shape in shapes.items()}


def state_sizes(config: dict[str, Any], place: str = "") -> dict[str, int]:
    """H of each array (B, H) of the state, by its place in the tuples of tuples: {".0.1": H} is state[0][1]."""
    kind = config["kind"]
    if kind.lower() in CELLS:
        return {f"{place}.{k}": config["hidden_size"] for k in range(len(CELLS[kind.lower()].states))}
    parts = enumerate(_parts(config).values()) if kind in ("Stack", "Bidirectional") else ()
    return {name: H for k, part in parts for name, H in state_sizes(part, f"{place}.{k}").items()}


def _parts(config: dict[str, Any]) -> dict[str, Any]:
    """The configurations of a container's parts by their names."""
    if config["kind"] == "Stack":
        return {str(k): part for k, part in enumerate(config["layers"])}
    return {name: config[name] for name in ("fw", "bw")}


def _part(found: Shapes, prefix: str) -> Shapes:
    return {name: value for name, value in found.items() if name.startswith(prefix)}


def _compare(expected: dict[str, Any], found: dict[str, Any]) -> None:
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            words = [f"{v[1]} {v[0]}" if v else "absent" for v in (expected.get(name), found.get(name))]
            raise Damaged(f"{name} should be {words[0]} by its configuration; it is {words[1]}")
