"""Other people's layers: their weight layouts, and the way to and from lstmcore's."""

from lstmcore.interop.convert import from_lstmcore, structure_of, to_lstmcore
from lstmcore.interop.layouts import LAYOUTS, Layout
from lstmcore.interop.read import from_torch, read
from lstmcore.interop.write.keras_model import to_keras
from lstmcore.interop.write.onnx_graph import to_onnx
from lstmcore.interop.write.torch_source import to_torch

__all__ = [
    "LAYOUTS",
    "Layout",
    "from_lstmcore",
    "from_torch",
    "read",
    "structure_of",
    "to_keras",
    "to_lstmcore",
    "to_onnx",
    "to_torch",
]
