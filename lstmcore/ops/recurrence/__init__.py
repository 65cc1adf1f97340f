"""Many steps, at several speeds: the engines, and choosing one.

An engine is a module with four functions: `supports`, `forward`, `predict` and `backward`. It is chosen by the type of
the arrays and what is installed, or by an explicit argument; there is no global switch.
"""

from types import ModuleType
from typing import Any

from lstmcore.ops.cells import Cell
from lstmcore.ops.recurrence import reference
from lstmcore.ops.recurrence.cache import Cache

ENGINES = {"reference": reference}
Engine = str | ModuleType | Any | None  # a name, None for the best there is, or an object with the four functions


def choose(engine: Engine, cell: Cell, array: Any) -> Any:
    """The engine that runs `cell` on arrays like `array`.

    `engine`: a name of `ENGINES`; None for the fastest that supports the cell and the dtype; or any object with an
    engine's four functions. Raises ValueError for an unknown name and for a named engine that cannot run this.
    """
    if engine is None:
        return next(e for e in reversed(ENGINES.values()) if e.supports(cell, array.dtype))
    if not isinstance(engine, str):
        return engine
    if engine not in ENGINES:
        raise ValueError(f"`engine` should be one of {', '.join(map(repr, ENGINES))}, or None; got {engine!r}")
    if not ENGINES[engine].supports(cell, array.dtype):
        raise ValueError(f"engine {engine!r} cannot run the cell {cell.name!r} in {array.dtype}; leave `engine` out")
    return ENGINES[engine]


__all__ = ["ENGINES", "Cache", "Engine", "choose"]
