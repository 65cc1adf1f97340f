"""Other people's layers: their weight layouts, and the way to and from lstmcore's."""

import importlib
from typing import TYPE_CHECKING

from lstmcore.interop.convert import from_lstmcore, structure_of, to_lstmcore
from lstmcore.interop.layouts import LAYOUTS, Layout
from lstmcore.interop.read import from_torch, read
from lstmcore.interop.write.equinox_cells import to_equinox
from lstmcore.interop.write.keras_model import to_keras
from lstmcore.interop.write.onnx_graph import to_onnx
from lstmcore.interop.write.torch_source import to_torch

if TYPE_CHECKING:
    from lstmcore.interop.write.flax_modules import to_flax, to_linen
else:

    def __getattr__(name: str):
        """What makes modules of Flax is loaded with Flax, when it is first used."""
        if name not in ("to_flax", "to_linen"):
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module("lstmcore.interop.write.flax_modules"), name)


__all__ = [
    "LAYOUTS",
    "Layout",
    "from_lstmcore",
    "from_torch",
    "read",
    "structure_of",
    "to_equinox",
    "to_flax",
    "to_keras",
    "to_linen",
    "to_lstmcore",
    "to_onnx",
    "to_torch",
]
