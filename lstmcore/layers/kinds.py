"""The kinds of layers: what can be built from a configuration, and what it tells about a model not yet built.

A configuration is plain data (`Layer.config`): the kind of the layer and the arguments of its constructor, parts as
configurations. The kind is the name of the class, which `register` adds to the table.
"""

import functools
import inspect
from collections.abc import Iterator
from typing import TypeGuard, TypeVar, overload

from lstmcore.arrays import Plain
from lstmcore.layers.activation import ReLU, Sigmoid, Softmax, Tanh
from lstmcore.layers.batch_first import BatchFirst
from lstmcore.layers.bidirectional import Bidirectional
from lstmcore.layers.dropout import Dropout
from lstmcore.layers.embedding import Embedding
from lstmcore.layers.initialise import Seed
from lstmcore.layers.last import Last
from lstmcore.layers.layer import Layer
from lstmcore.layers.learned_state import LearnedState
from lstmcore.layers.linear import Linear
from lstmcore.layers.recurrent import Recurrent, of_cell
from lstmcore.layers.recurrent_dropout import RecurrentDropout
from lstmcore.layers.residual import Residual
from lstmcore.layers.reversed import Reversed
from lstmcore.layers.stack import Stack
from lstmcore.layers.tree import dotted
from lstmcore.ops.cells import CELLS, Cell
from lstmcore.ops.recurrence import EngineName

Kind = TypeVar("Kind", bound=type)
Told = TypeVar("Told")

RECURRENT: tuple[type[Recurrent], ...] = tuple(map(of_cell, CELLS.values()))
SHIPPED: tuple[type, ...] = (
    *RECURRENT, Bidirectional, Reversed, BatchFirst, LearnedState, RecurrentDropout, Residual, Stack,
    Linear, Embedding, Dropout, Tanh, Sigmoid, ReLU, Softmax, Last,
)  # fmt: skip
KINDS = {kind.__name__: kind for kind in SHIPPED}
DEEPEST = 100  # containers in containers


class UnknownKind(ValueError):
    """A configuration that names an unknown kind of layer."""


@overload
def register(kind: Kind) -> Kind: ...
@overload
def register(kind: Cell) -> type[Recurrent]: ...
def register(kind: type | Cell) -> type:
    """Lets `load` build layers of one's own. Returns the class, so that it can be a decorator: `@lc.register`.

    kind: a class that keeps the contract of `Layer`, found in files by its name; or a `Cell`, which gives the class of
    its layers: `MGU = lc.register(mgu)`, then `MGU(input_size, hidden_size)`. A class that is defined once more (a
    notebook's cell, run again) takes the place of the old one. Call it before `load`, in every program that loads.

    A class may tell with a static method `shapes(options)`, given the arguments of its constructor, what parameters it
    has ({name: shape}), and with `state_sizes(options)` the widths of its state's arrays: then a file is compared with
    them before anything is built.

    Raises TypeError for what is neither, ValueError for a name that is taken.
    """
    if isinstance(kind, Cell):
        kind = of_cell(kind)
    if not isinstance(kind, type) or not all(callable(getattr(kind, name, None)) for name in ("forward", "backward")):
        raise TypeError(f"`register` should get a class of layers or a Cell; got {kind!r:.80} (a layer? its class)")
    there = KINDS.get(kind.__name__, kind)
    if there in SHIPPED or (there.__module__, there.__qualname__) != (kind.__module__, kind.__qualname__):
        raise ValueError(
            f"the kind {kind.__name__!r} is there, as {there.__module__}.{there.__qualname__}: rename yours"
        )
    KINDS[kind.__name__] = kind
    return kind


def from_config(config: Plain, engine: EngineName = None, seed: Seed = None) -> Layer:
    """A layer like the one whose `config()` this is, with fresh parameters.

    Raises ValueError for a kind that does not exist and for options that do not fit it.
    """
    if not is_config(config):
        raise ValueError(f"`config` should be a dict with a kind, as layer.config() gives; got {config!r:.80}")
    for _, part in configs(config):  # all of them, before the first is built
        kind_of(part)
    return _built(config, {"engine": engine, "seed": seed})


def _built(config: Plain, given: Plain) -> Layer:
    kind = kind_of(config)
    options = {name: _decoded(value, given) for name, value in config.items() if name != "kind"}
    try:
        return kind(**options, **{name: value for name, value in given.items() if name in _arguments(kind)})
    except (KeyError, TypeError) as error:
        name = config["kind"]
        raise ValueError(f"`config` does not describe a layer of this version: kind {name!r}, {error}") from error


def _decoded(value: object, given: Plain) -> object:
    if isinstance(value, list):
        return [_decoded(part, given) for part in value]
    return _built(value, given) if is_config(value) else value


@functools.cache
def _arguments(kind: type) -> frozenset[str]:
    return frozenset(inspect.signature(kind).parameters)


# ---- what a configuration says -----------------------------------------------------------------------------------


def is_config(value: object) -> TypeGuard[Plain]:
    return isinstance(value, dict) and "kind" in value


def kind_of(config: Plain) -> type:
    """The class that a configuration names. Raises UnknownKind."""
    kind = config["kind"]
    if not isinstance(kind, str) or kind not in KINDS:
        raise UnknownKind(
            f"no kind {kind!r} here (a layer or cell of one's own: call lc.register before; or a later version's)"
        )
    return KINDS[kind]


def inner(config: Plain) -> dict[str, Plain]:
    """The configurations of a container's parts: an argument's name is that of its part, a list gives "0", "1", ..."""
    found = {name: value for name, value in config.items() if is_config(value)}
    lists = [value for value in config.values() if isinstance(value, list)]
    return found | {str(k): part for value in lists for k, part in enumerate(value) if is_config(part)}


def configs(config: Plain, name: str = "") -> Iterator[tuple[str, Plain]]:
    """(name, configuration) of a layer and of all that is in it. Raises ValueError where they are nested too deep."""
    if name.count(".") >= DEEPEST:
        raise ValueError(f"layers are nested more than {DEEPEST} deep")
    yield name, config
    for key, part in inner(config).items():
        yield from configs(part, dotted(name, key))


def own_shapes(config: Plain) -> dict[str, tuple[int, ...]] | None:
    """The parameters that a layer of this configuration has beside those of its parts; None if its kind does not tell.

    Raises KeyError or TypeError for options that its kind does not have.
    """
    return _told(config, "shapes", {})


def own_state_sizes(config: Plain) -> tuple[int, ...] | None:
    """The widths of the arrays of its state, likewise."""
    return _told(config, "state_sizes", ())


def _told(config: Plain, what: str, nothing: Told) -> Told | None:
    kind = kind_of(config)
    if hasattr(kind, what):
        return getattr(kind, what)(config)
    return nothing if kind in SHIPPED else None
