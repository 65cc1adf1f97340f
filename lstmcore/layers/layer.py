"""The one contract of every layer, container and model."""

import copy
from typing import Any, Protocol

import numpy as np

from lstmcore.arrays import Array, to_library
from lstmcore.layers.params import Params


class Layer(Protocol):
    """What every layer can do. Arrays are time-major: x (T, B, I), y (T, B, O), mask (T, B) bool, true on real steps.

    A layer without state returns None as its state; a container returns a tuple with one entry per part.
    """

    params: Params

    def forward(
        self,
        x: Array,
        state: Any = None,
        mask: Array | None = None,
        rng: np.random.Generator | None = None,
        reuse: Any = None,
    ) -> tuple[Array, Any, Any]:
        """x -> y, final state, cache.

        state: the initial state; None means zeros. rng: None means evaluation, a generator draws dropout masks.
        reuse: a cache of this layer that is not needed any more; its buffers are overwritten where they fit.
        """
        ...

    def backward(self, dy: Array | None, cache: Any, dstate: Any = None) -> tuple[Array | None, Any, dict[str, Array]]:
        """dy, the gradient of y -> dx, gradient of the initial state, gradients with the keys of `params`.

        dstate: the gradient of the final state; None means zeros.
        """
        ...

    def config(self) -> dict[str, Any]:
        """What `lstmcore.layers.from_config` needs to build a layer like this one; plain data, JSON-able."""
        ...

    def predict(self, x: Array, state: Any = None, mask: Array | None = None) -> tuple[Array, Any]:
        """x -> y, final state, in evaluation and with no cache kept."""
        y, state, _ = self.forward(x, state, mask)
        return y, state

    def step(self, x: Array, state: Any = None) -> tuple[Array, Any]:
        """One step of a stream: x (B, I), state -> y (B, O), the next state."""
        return self.predict(x, state)

    def to(self, dtype: Any = None, engine: Any = None, array: str | None = None) -> Any:
        """A twin with its own copy of the parameters: in another dtype, on another engine or array library.

        What is None stays as it is. Raises ValueError for unknown names, ImportError where CuPy is not installed.
        """
        twin: Any = copy.copy(self)
        if engine is not None and hasattr(self, "engine"):
            twin.engine = engine
        twin.params = Params({name: converted(a, dtype, array) for name, a in self.params.items()})
        return twin


def converted(value: Array, dtype: Any = None, array: str | None = None) -> Array:
    """A copy of an array in another dtype and array library."""
    value = value.astype(value.dtype if dtype is None else check_dtype(dtype), copy=True)
    return value if array is None else to_library(value, array)


def check_dtype(dtype: Any) -> np.dtype:
    """The dtype of a layer's parameters: float32, float64, or complex128 for a complex-step twin."""
    try:
        checked = np.dtype(dtype)
    except TypeError as error:
        raise TypeError(f'`dtype` should be "float32" or "float64"; got {dtype!r}') from error
    if checked.name not in ("float32", "float64", "complex64", "complex128"):
        raise TypeError(f'`dtype` should be "float32" or "float64"; got {checked.name!r}')
    return np.dtype(checked.name)  # in the byte order of this machine


def to_gpu(model: Layer) -> Any:
    """A twin of the model with its parameters on the GPU, as CuPy arrays. Raises ImportError without CuPy."""
    return model.to(array="cupy")


def to_cpu(model: Layer) -> Any:
    """A twin of the model with its parameters on the host, as NumPy arrays."""
    return model.to(array="numpy")
