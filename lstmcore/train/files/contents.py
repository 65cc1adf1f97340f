"""What a file with a model in it says of the model, and whether that, its arrays and this program belong together."""

import json
import re
from collections import Counter
from collections.abc import Collection, Mapping
from typing import TypeVar

from lstmcore.arrays import Array, Plain, dtype_name
from lstmcore.layers import Layer, from_config, kinds
from lstmcore.layers.initialise import UNFILLED
from lstmcore.layers.kinds import KINDS, SHIPPED
from lstmcore.layers.tree import dotted, walk
from lstmcore.train.files.sealed import CHECKPOINT, Damaged, Foreign, Kind, Shapes, as_json

Value = TypeVar("Value")


def texts(config: Plain) -> dict[str, str]:
    """The texts of a file that say what builds the model, and the order of the gates in its weights."""
    return {"config": json.dumps(config), "gates": json.dumps(gates(config))}


def gates(config: Plain) -> dict[str, str]:
    """The gates of the cells in a model: {"LSTM": "i f g o"}."""
    cells = {part["kind"]: getattr(kinds.kind_of(part), "cell", None) for _, part in kinds.configs(config)}
    return {kind: " ".join(cell.gates) for kind, cell in cells.items() if cell is not None}


def shapes_of(arrays: Mapping[str, Array]) -> Shapes:
    return {name: (tuple(a.shape), dtype_name(a.dtype)) for name, a in arrays.items()}


# ---- before a file is written ------------------------------------------------------------------------------------


def check_model(model: Layer) -> None:
    """Raises TypeError, naming the layer, for a model that `load` could not build again.

    Layers of one's own are built once, to see that.
    """
    layers = [*walk(model)]
    for name, layer in layers:
        kind = type(layer)
        if name.count(".") >= kinds.DEEPEST:
            raise TypeError(f"a model should be nested at most {kinds.DEEPEST} deep to be saved; {name} is deeper")
        if KINDS.get(kind.__name__) is not kind:
            raise TypeError(
                f"{_who(name, layer)} cannot be saved, for `load` could not build it: call lc.register({kind.__name__})"
                ", here and in every program that loads it"
            )
    for name, layer in reversed(layers):  # what is inside first
        if type(layer) not in SHIPPED:
            try:
                _check_own(layer)
            except Exception as error:  # whatever a user's constructor may raise
                raise TypeError(f"{_who(name, layer)} cannot be saved: {error}") from error


def _check_own(layer: Layer) -> None:
    """Checks that its configuration is plain data, from which the same parameters come."""
    config, there = layer.config(), shapes_of(layer.params)
    for option, value in config.items():
        try:
            kept = json.loads(json.dumps(value, allow_nan=False)) == value
        except (TypeError, ValueError):
            kept = False
        if not kept:
            raise TypeError(
                f"its option {option} is {value!r:.80}, and a file holds plain data alone: numbers, texts, lists and "
                "dicts by text (a function? give it a name, and keep that)"
            )
    check_parameters(config, there)
    compare(shapes_of(from_config(config, seed=UNFILLED).params), there)


def _who(name: str, layer: Layer) -> str:
    return f"{name} ({type(layer).__name__})" if name else type(layer).__name__


# ---- when a file is read -----------------------------------------------------------------------------------------


def check(kind: Kind, words: Mapping[str, str], found: Shapes) -> None:
    """Compares every array of a file that belongs to the model with its configuration, before anything is built.

    In a model's file these are all. In a checkpoint (checkpoint.py) they are

        model.W          the parameters, each of them once
        opt.W.slot       what the optimizer remembers of them: as the parameter
        ... .params.W    a copy of some of them, as a callback keeps it: as the parameter
        carried.0.1      the state that is carried on, (B, H) as `state_sizes` has it, with one B

    Raises Damaged, or Foreign for kinds and orders of gates that are not those of this program.
    """
    config, order = as_json(words, "config"), as_json(words, "gates")
    parameters = found if kind is not CHECKPOINT else inside(found, "model.")
    try:
        check_parameters(config, parameters)
        here, sizes = gates(config), state_sizes(config)
    except kinds.UnknownKind as error:
        raise Foreign(f"describes no model of this version: {error}") from error
    except Damaged:
        raise
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise Damaged(f"its configuration describes no model of this version ({error})") from error
    if not isinstance(order, dict) or any(order.get(name) != letters for name, letters in here.items()):
        raise Foreign(f"has its gates in the order {words['gates']}; here it is {json.dumps(here)}")
    if kind is not CHECKPOINT:
        return
    for name, value in found.items():
        owner = re.match(r"opt\.memory\.(.+)\.[^.]+$", name) or re.search(r"\.params\.(.+)$", name)
        if owner:
            compare({name: parameters[owner[1]]} if owner[1] in parameters else {}, {name: value})
    carried = {name: value for name, value in found.items() if name.startswith("carried")}
    told = {f"carried{place}": H for place, H in sizes.items()}
    carried = _outside(carried, [place for place, H in told.items() if H is None])
    if carried:
        (shape, dtype), floats = next(iter(carried.values())), {dtype for _, dtype in parameters.values()}
        rows: Shapes = {name: ((shape[0] if shape else 0, H), dtype) for name, H in told.items() if H is not None}
        compare(rows, carried if dtype in floats else {})


def check_parameters(config: Plain, found: Shapes) -> None:
    """Raises Damaged if these are not the parameters of a model of this configuration.

    Where the kind of a layer does not tell its parameters, those of its parts should be there, under whatever name.
    """
    expected, silent = parameter_shapes(config)
    known, there = _outside(expected, silent), _outside(found, silent)
    compare(known, there)
    parts = Counter(value for name, value in expected.items() if name not in known)
    rest = Counter(value for name, value in found.items() if name not in there)
    for (shape, dtype), n in (parts - rest).items():
        raise Damaged(f"{' and '.join(silent)} should have {n} more of {dtype} {shape} by its configuration")


def parameter_shapes(config: Plain) -> tuple[Shapes, list[str]]:
    """The parameters of a model of this configuration; and which of its layers are of a kind that does not tell.

    Raises KeyError, TypeError, AttributeError or ValueError for what is no configuration.
    """
    expected: Shapes = {}
    silent = []
    for name, part in kinds.configs(config):
        told = kinds.own_shapes(part)
        if told is None:
            silent.append(name)
        for key, shape in (told or {}).items():
            if not all(type(n) is int and n > 0 for n in shape):
                raise ValueError(f"{dotted(name, key)} cannot have the shape {shape}")
            expected[dotted(name, key)] = shape, part["dtype"]
    return expected, silent


def state_sizes(config: Plain, place: str = "") -> dict[str, int | None]:
    """H of each array (B, H) of the state, by its place in the tuples of tuples: {".0.1": H} is state[0][1]. None at
    the place of a layer whose kind does not tell."""
    told = kinds.own_state_sizes(config)
    if told is None:
        return {place: None}
    sizes: dict[str, int | None] = {f"{place}.{k}": H for k, H in enumerate(told)}
    for k, part in enumerate(kinds.inner(config).values()):
        sizes |= state_sizes(part, f"{place}.{k}")
    return sizes


def inside(found: Mapping[str, Value], prefix: str) -> dict[str, Value]:
    """What has the prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in found.items() if name.startswith(prefix)}


def _outside(found: Shapes, names: Collection[str]) -> Shapes:
    """What stands under none of the names."""
    under = tuple(f"{name}." for name in names)
    return {} if "" in names else {name: value for name, value in found.items() if not f"{name}.".startswith(under)}


def compare(expected: Shapes, found: Shapes) -> None:
    """Raises Damaged where they differ."""
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            words = [f"{v[1]} {v[0]}" if v else "absent" for v in (expected.get(name), found.get(name))]
            raise Damaged(f"{name} should be {words[0]} by its configuration; it is {words[1]}")
