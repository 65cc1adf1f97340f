"""The engines that the suite runs on, and how arrays and layers get there and back."""

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

from lstmcore.ops.cells import CELLS
from lstmcore.ops.recurrence import choose


class Engine(NamedTuple):
    """Where a test runs: an engine of lstmcore, and the array library that its arrays belong to."""

    name: str
    engine: str
    library: str

    def place(self, layer: Any) -> Any:
        """The layer's twin on this engine and in this array library."""
        return layer.to(engine=self.engine, array=self.library)

    def array(self, tree: Any) -> Any:
        """A host array, or a tuple of such (None stays None), in this array library."""
        return _each(importlib.import_module(self.library).asarray, tree)

    def host(self, tree: Any) -> Any:
        """The way back: arrays in dicts and tuples as NumPy arrays."""
        return _each(lambda value: value.get() if hasattr(value, "get") else np.asarray(value), tree)

    def skip_if_unsupported(self, *cells: str, dtype: str = "float64") -> None:
        """Some engines run some cells only: they say so, and the test says so too."""
        reason = self._refusal(cells, dtype)
        if reason is not None:
            pytest.skip(reason)

    def supports(self, *cells: str, dtype: str = "float64") -> bool:
        """True if this engine runs all these cells."""
        return self._refusal(cells, dtype) is None

    def _refusal(self, cells: tuple[str, ...], dtype: str) -> str | None:
        for cell in cells:
            try:
                choose(self.engine, CELLS[cell], self.array(np.zeros(1, dtype)))
            except ValueError as error:
                return str(error)
        return None


def _each(function: Callable, tree: Any) -> Any:
    if isinstance(tree, dict):
        return {name: _each(function, value) for name, value in tree.items()}
    if isinstance(tree, tuple):
        return tuple(_each(function, value) for value in tree)
    return None if tree is None else function(tree)


REFERENCE = Engine("reference", "reference", "numpy")
ALL_ENGINES = (
    REFERENCE,
    Engine("fused-cpu", "fused-cpu", "numpy"),
    Engine("reference on CuPy", "reference", "cupy"),
    Engine("fused-gpu", "fused-gpu", "cupy"),
)
