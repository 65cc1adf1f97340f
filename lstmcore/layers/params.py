"""A layer's parameters: a live mapping whose arrays never change identity."""

import operator
from collections.abc import Iterator, Mapping, MutableMapping, ValuesView
from typing import Any, Protocol

import numpy as np

from lstmcore.arrays import Array, library_name
from lstmcore.shapes import check_layer, check_like

_size = operator.attrgetter("size")


class Params(MutableMapping[str, Array]):
    """name -> the layer's own array. Assigning a key copies into the array; another shape or dtype is refused.

    Keys can be neither added nor removed. A container's Params holds the very arrays of its parts.
    frozen: nobody can write to the arrays; `prepared` is what engines have made of such weights, else None.
    """

    def __init__(self, arrays: dict[str, Array], frozen: bool = False):
        arrays = {name: _fixed(a) for name, a in arrays.items()} if frozen else arrays
        self.prepared: dict[object, Any] | None = {} if frozen else None
        self._arrays, self._shapes = arrays, [a.shape for a in arrays.values()]
        self.sizes: tuple[int, ...] = tuple(map(_size, arrays.values()))

    def check_shapes(self) -> None:
        """Raises ValueError for an array that no longer has its size: compiled code would read beyond its end."""
        if tuple(map(_size, self._arrays.values())) != self.sizes:
            for (name, a), shape in zip(self._arrays.items(), self._shapes):
                if a.shape != shape:
                    raise ValueError(
                        f"parameter {name!r} should be {tuple(shape)}, as the layer was built; it is {tuple(a.shape)} "
                        "(resized or reshaped in place? build a layer of the other size)"
                    )

    def __getitem__(self, name: str) -> Array:
        try:
            return self._arrays[name]
        except KeyError:
            there = ", ".join(self._arrays) or "none"
            raise KeyError(f"no parameter {name!r}; there are {there}") from None

    def __setitem__(self, name: str, value: Array) -> None:
        array = self[name]
        if self.prepared is not None:
            raise TypeError(
                f"parameter {name!r} is frozen: change it in the model that lc.freeze was given, and freeze that again "
                "(model.to() gives a twin that can be changed)"
            )
        check_like(name, value, tuple(array.shape), "the shape of the parameter", array)
        array[...] = value

    def __reduce__(self) -> tuple[object, ...]:
        """Copies, and files of pickle, are frozen too, and are prepared for by themselves."""
        return Params, (self._arrays, self.prepared is not None)

    def __delitem__(self, name: str) -> None:
        raise TypeError(f"parameter {name!r} cannot be removed: the layer needs it")

    def __contains__(self, name: object) -> bool:
        return name in self._arrays

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def values(self) -> ValuesView[Array]:
        return self._arrays.values()  # asked for in every pass

    def __len__(self) -> int:
        return len(self._arrays)

    def __repr__(self) -> str:
        return "Params(" + ", ".join(f"{name} {tuple(a.shape)}" for name, a in self._arrays.items()) + ")"


def _fixed(a: Array) -> Array:
    """A copy in memory that is never written to, that of `bytes`; `a` itself if it lies in such memory."""
    if type(a) is not np.ndarray:
        raise TypeError(f"lc.freeze takes models with NumPy arrays; got one of {library_name(a)} (see lc.to_cpu)")
    return a if type(a.base) is bytes else np.ndarray(a.shape, a.dtype, a.tobytes())


class HasParams(Protocol):
    @property
    def params(self) -> Params: ...


def joined(parts: Mapping[str, HasParams], own: Mapping[str, Array] | None = None) -> Params:
    """A container's parameters: its own, and those of its parts, keys prefixed: {"0": layer} gives "0.W_ih", ...

    Raises TypeError for a part that is no layer.
    """
    for name, part in parts.items():
        check_layer(name, part, "params")
    of_parts = {f"{name}.{key}": a for name, part in parts.items() for key, a in part.params.items()}
    return Params({**(own or {}), **of_parts})
