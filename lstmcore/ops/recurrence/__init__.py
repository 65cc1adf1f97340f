"""Many steps, at several speeds: the engines, and choosing one.

engine.py says what an engine is. It is chosen by the type of the arrays, or by an explicit argument; there is no global
switch.
"""

from collections.abc import Mapping
from types import MappingProxyType

from lstmcore.arrays import Array, library_name
from lstmcore.ops.cells import Cell
from lstmcore.ops.cpu.compiler import HOW, has_compiler
from lstmcore.ops.recurrence import reference
from lstmcore.ops.recurrence.cache import Cache
from lstmcore.ops.recurrence.cpu.fused import FusedCpu, fused_cpu, fused_cpu_bf16
from lstmcore.ops.recurrence.engine import Engine, EngineName, PairedEngine
from lstmcore.ops.recurrence.gpu.fused import fused_gpu, fused_gpu_tf32

SHIPPED: tuple[Engine, ...] = (reference, fused_cpu, fused_cpu_bf16, fused_gpu, fused_gpu_tf32)
ENGINES: dict[str, Engine] = {engine.NAME: engine for engine in SHIPPED}
NO_OPTIONS: Mapping[str, object] = MappingProxyType({})
# Tried in this order; products of less precision have to be asked for.
UNASKED: tuple[Engine, ...] = (fused_gpu, fused_cpu, reference)


def choose(engine: EngineName, cell: Cell, array: Array, options: Mapping[str, object] = NO_OPTIONS) -> Engine:
    """The engine that runs `cell` on arrays like `array`.

    `engine`: a name of `ENGINES`; None for the fastest that supports the cell and the dtype; or an engine itself.
    `options`: of the cell, for the words of a refusal.
    Raises ValueError for an unknown name and for a named engine that cannot run this.
    """
    if engine is None:
        return next(e for e in UNASKED if _runs(e, cell, array))
    if not isinstance(engine, str):
        return engine
    if engine not in ENGINES:
        raise ValueError(f"`engine` should be one of {', '.join(map(repr, ENGINES))}, or None; got {engine!r}")
    if isinstance(ENGINES[engine], FusedCpu) and not has_compiler():
        raise ValueError(f"engine {engine!r} needs Numba, which cannot be imported: {HOW}, or leave `engine` out")
    if not _runs(ENGINES[engine], cell, array):
        said = "".join(f", {name}={value!r}" for name, value in options.items()).removeprefix(", ")
        others = [e.NAME for e in SHIPPED if e in UNASKED and _runs(e, cell, array)]
        instead = "nor can any other engine"
        if others:
            instead = (
                f"{' and '.join(map(repr, others))} can: leave `engine` out, or take model.to(engine={others[-1]!r})"
            )
        raise ValueError(
            f"engine {engine!r} cannot run the cell {cell.name!r}{f' with {said}' if said else ''} in {array.dtype} on "
            f"arrays of {library_name(array)}; {instead}"
        )
    return ENGINES[engine]


def _runs(engine: Engine, cell: Cell, array: Array) -> bool:
    fits = engine.LIBRARY in (None, library_name(array)) and engine.supports(cell, array.dtype)
    return fits and (not isinstance(engine, FusedCpu) or has_compiler())


__all__ = ["ENGINES", "Cache", "Engine", "EngineName", "PairedEngine", "choose"]
