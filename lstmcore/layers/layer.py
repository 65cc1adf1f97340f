"""The one contract of every layer, container and model."""

import copy
import inspect
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, Self, TypeAlias, TypeVar

import numpy as np

from lstmcore import hints
from lstmcore.arrays import Array, Dtype, Plain, State, dtype_name, namespace, to_library
from lstmcore.layers.params import Params, joined
from lstmcore.ops.recurrence import EngineName

Rng: TypeAlias = np.random.Generator | None  # what draws dropout masks; None in evaluation
Model = TypeVar("Model", bound="Layer")

SIZES = ("input_size", "hidden_size", "output_size", "classes")


class Layer(Protocol):
    """What every layer can do. Arrays are time-major: x (T, B, I), y (T, B, O), mask (T, B) bool, true on real steps.

    A layer of one's own inherits this and states `params`, `forward` and `backward`; a container, its `parts` too.
    A layer without state returns None as its state; a container returns a tuple with one entry per part, and its cache
    has `parts`, the caches of the parts in the same order. Every cache has `owner`, the layer.
    """

    params: Params  # of a container: its own, and those of its parts (`joined`)
    parts: Mapping[str, "Layer"] = MappingProxyType({})  # by name; a layer without parts is a leaf (tree.py)
    flipped: Collection[str] = ()  # the names of the parts that read time from its end
    states: tuple[str, ...] = ()  # the names of the arrays of a leaf's state

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "__init__" in vars(cls):
            type.__setattr__(cls, "__init__", hints.hinted(cls.__init__))

    if not TYPE_CHECKING:  # type checkers know what exists

        def __getattr__(self, name: str) -> NoReturn:
            raise hints.missing(type(self).__name__, name, hints.LAYERS)

        def __call__(self, *_: object, **__: object) -> NoReturn:
            raise TypeError(f"{type(self).__name__} is no function: {hints.CALL}")

    def __setattr__(self, name: str, value: object) -> None:
        """Raises AttributeError for a size: the parameters have fixed it."""
        if name in SIZES and name in vars(self):
            raise AttributeError(
                f"`{name}` of {self!r} cannot be changed: its parameters have that size (build another layer)"
            )
        super().__setattr__(name, value)

    def forward(
        self, x: Array, state: State | None = None, mask: Array | None = None, rng: Rng = None, reuse: Any = None
    ) -> tuple[Array, State | None, Any]:
        """x -> y, final state, cache.

        state: the initial state; None means zeros. rng: None means evaluation, a generator draws dropout masks.
        reuse: a cache of this layer that is no longer needed; its buffers are overwritten where they fit.
        """

    def backward(
        self, dy: Array | None, cache: Any, dstate: State | None = None
    ) -> tuple[Array | None, State | None, dict[str, Array]]:
        """dy, the gradient of y -> dx, gradient of the initial state, gradients with the keys of `params`.

        dy: None means that nothing comes back from the outputs, as in an encoder that is used through its state.

        dstate: the gradient of the final state; None means zeros.
        """

    def predict(self, x: Array, state: State | None = None, mask: Array | None = None) -> tuple[Array, State | None]:
        """x -> y, final state, in evaluation and with no cache kept."""
        y, state, _ = self.forward(x, state, mask)
        return y, state

    def step(self, x: Array, state: State | None = None) -> tuple[Array, State | None]:
        """One step of a stream: x (B, I), state -> y (B, O), the next state."""
        return self.predict(x, state)

    def config(self) -> Plain:
        """What `lstmcore.layers.from_config` needs to build a layer like this one; plain data, JSON-able.

        As it stands here: the arguments of the constructor, each kept as an attribute of that name, but for `seed` and
        `engine`; the dtype is that of the parameters. Raises AttributeError for an argument that is not kept.
        """
        names = [name for name in inspect.signature(type(self)).parameters if name not in ("seed", "engine")]
        return {"kind": type(self).__name__} | {name: _plain(self, name) for name in names}

    def __repr__(self) -> str:
        """What builds a layer like this one, with the defaults left out, as far as it keeps its arguments; else its
        class and place in memory."""
        said = []
        for name, argument in inspect.signature(type(self)).parameters.items():
            if argument.kind in (argument.VAR_POSITIONAL, argument.VAR_KEYWORD):
                continue
            value = getattr(self, name, argument.default)
            if inspect.ismethod(value) and value.__self__ is self:  # of that name, and not what was given
                value = argument.default
            if value is argument.empty:
                return object.__repr__(self)
            value = list(value) if isinstance(value, tuple) else value
            if argument.default is argument.empty and argument.kind is not argument.KEYWORD_ONLY:
                said.append(repr(value))
            elif repr(value) != repr(argument.default) and name != "engine":
                said.append(f"{name}={value!r}")
        return f"{type(self).__name__}({', '.join(said)})"

    def rebuilt(self, parts: Mapping[str, "Layer"]) -> Self:
        """The same container around other parts; parameters of its own are shared. Its attributes that are parts, or
        lists, tuples or dicts of parts, are replaced by the new ones."""
        new = {id(part): parts[name] for name, part in self.parts.items()}
        twin = copy.copy(self)
        vars(twin).update({name: _swapped(value, new) for name, value in vars(twin).items()} if new else {})
        twin.params = joined(parts, own_params(self))
        return twin

    @hints.hinted
    def to(self, dtype: Dtype | None = None, engine: EngineName = None, array: str | None = None) -> Self:
        """A twin with its own copy of the parameters: in another dtype, on another engine or array library.

        What is None stays as it is. Raises ValueError for unknown names, ImportError where CuPy is not installed.
        """
        twin = self.rebuilt({name: part.to(dtype, engine, array) for name, part in self.parts.items()})
        twin.params = joined(twin.parts, {name: converted(a, dtype, array) for name, a in own_params(self).items()})
        if engine is not None and hasattr(self, "engine"):
            vars(twin)["engine"] = engine
        return twin


def zero_grads(layer: Layer) -> dict[str, Array]:
    """The gradients of the parameters where nothing comes back from the outputs."""
    return {name: namespace(w).zeros_like(w) for name, w in layer.params.items()}


def own_params(layer: Layer) -> dict[str, Array]:
    """The parameters of a layer that are not those of its parts."""
    return {name: a for name, a in layer.params.items() if name.split(".")[0] not in layer.parts}


def _plain(layer: Layer, name: str) -> object:
    """An argument of the layer's constructor as plain data: a layer as its configuration."""
    if name == "dtype":
        return next(dtype_name(a.dtype) for a in layer.params.values())
    value = getattr(layer, name)
    if isinstance(value, list | tuple):
        return [part.config() if hasattr(part, "config") else part for part in value]
    return value.config() if hasattr(value, "config") else value


def _swapped(value: object, new: Mapping[int, Layer]) -> object:
    """The value with other layers in it, given by the identity of the old ones."""
    if type(value) is dict:
        return {name: _swapped(part, new) for name, part in value.items()}
    if isinstance(value, list | tuple) and type(value) in (list, tuple):
        return type(value)(_swapped(part, new) for part in value)
    return new.get(id(value), value)


def converted(value: Array, dtype: Dtype | None = None, array: str | None = None) -> Array:
    """A copy of an array in another dtype and array library."""
    value = value.astype(value.dtype if dtype is None else check_dtype(dtype), copy=True)
    return value if array is None else to_library(value, array)


def check_dtype(dtype: Dtype) -> np.dtype:
    """The dtype of a layer's parameters: float32, float64, or complex128 for a complex-step twin."""
    try:
        checked = np.dtype(dtype)
    except TypeError as error:
        hint = f" ({hints.ON_GPU})" if dtype in ("cuda", "gpu", "cpu") else ""
        hint = f" (a number of layers? {hints.STACK})" if type(dtype) is int else hint
        raise TypeError(f'`dtype` should be "float32" or "float64"; got {dtype!r}{hint}') from error
    if checked.name not in ("float32", "float64", "complex64", "complex128"):
        raise TypeError(f'`dtype` should be "float32" or "float64"; got {checked.name!r}')
    return np.dtype(checked.name)  # in the byte order of this machine


def to_gpu(model: Model) -> Model:
    """A twin of the model with its parameters on the GPU, as CuPy arrays. Raises ImportError without CuPy."""
    return model.to(array="cupy")


def to_cpu(model: Model) -> Model:
    """A twin of the model with its parameters on the host, as NumPy arrays."""
    return model.to(array="numpy")
