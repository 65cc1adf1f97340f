"""Other people's layers: their weight layouts, and the way to and from lstmcore's."""

from lstmcore.interop.convert import from_lstmcore, structure_of, to_lstmcore
from lstmcore.interop.layouts import LAYOUTS, Layout

__all__ = ["LAYOUTS", "Layout", "from_lstmcore", "structure_of", "to_lstmcore"]
