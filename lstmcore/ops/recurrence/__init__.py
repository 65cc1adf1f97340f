"""Many steps, at several speeds: the engines, and choosing one.

An engine has four functions, `supports`, `forward`, `predict` and `backward`, its NAME, and the array LIBRARY that it
is for (None: any): a module, or an object where there is something to set. One that can run both directions of a layer
at once has `forward_all`, `predict_all` and `backward_all`, too (docs/design.md, section 3). An engine is chosen by the
type of the arrays, or by an explicit argument; there is no global switch.
"""

from types import ModuleType
from typing import Any

from lstmcore.arrays import library_name
from lstmcore.ops.cells import Cell
from lstmcore.ops.recurrence import reference
from lstmcore.ops.recurrence.cache import Cache
from lstmcore.ops.recurrence.cpu import fused as fused_cpu
from lstmcore.ops.recurrence.gpu.fused import fused_gpu, fused_gpu_tf32

ENGINES: dict[str, Any] = {e.NAME: e for e in (reference, fused_cpu, fused_gpu, fused_gpu_tf32)}
UNASKED = (fused_gpu, fused_cpu, reference)  # in this order where none is named; what computes in TF32 is asked for
Engine = str | ModuleType | Any | None  # a name, None for the best there is, or an object with the four functions


def choose(engine: Engine, cell: Cell, array: Any) -> Any:
    """The engine that runs `cell` on arrays like `array`.

    `engine`: a name of `ENGINES`; None for the fastest that supports the cell and the dtype; or any object with an
    engine's four functions. Raises ValueError for an unknown name and for a named engine that cannot run this.
    """
    if engine is None:
        return next(e for e in UNASKED if _runs(e, cell, array))
    if not isinstance(engine, str):
        return engine
    if engine not in ENGINES:
        raise ValueError(f"`engine` should be one of {', '.join(map(repr, ENGINES))}, or None; got {engine!r}")
    if not _runs(ENGINES[engine], cell, array):
        raise ValueError(
            f"engine {engine!r} cannot run the cell {cell.name!r} in {array.dtype} on arrays of {library_name(array)}; "
            "leave `engine` out"
        )
    return ENGINES[engine]


def _runs(engine: Any, cell: Cell, array: Any) -> bool:
    return engine.LIBRARY in (None, library_name(array)) and engine.supports(cell, array.dtype)


__all__ = ["ENGINES", "Cache", "Engine", "choose"]
