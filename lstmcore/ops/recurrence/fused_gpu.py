"""The fused engine for GPUs: compiled CUDA kernels for the LSTM's loop over time, over CuPy arrays.

This file computes nothing: it asks dispatch_gpu.py which kernel family fits, hands the call on, and falls back where a
kernel cannot run. The families: small_gpu.py (one launch per sequence, weights in registers), persistent_gpu.py (the
same over several multiprocessors, which talk) and pointwise_gpu.py (two launches per step, any size). Their text lies
in cuda/.
"""

import functools
import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from lstmcore.arrays import Array, dtype_name
from lstmcore.ops.cells import Cell, lstm
from lstmcore.ops.recurrence import reference
from lstmcore.ops.recurrence.cache import Cache
from lstmcore.ops.recurrence.dispatch_gpu import TABLE, Call, families
from lstmcore.ops.recurrence.launch import LaunchError, Machine

PRECISIONS = ("ieee", "tf32")


class FusedGpu:
    """An engine over the arrays of one library, on the machine that `machine()` gives.

    precision: "ieee" computes in float32 as it is; "tf32" permits products of float32 numbers whose factors are rounded
    to 11 bits, in the kernels that can use them and in the products around them.
    """

    def __init__(self, library: str, machine: Callable[[], Machine], precision: str = "ieee"):
        if precision not in PRECISIONS:
            raise ValueError(f"`precision` should be one of {', '.join(map(repr, PRECISIONS))}; got {precision!r}")
        self.NAME = "fused-gpu" if precision == "ieee" else f"fused-gpu-{precision}"
        self.LIBRARY, self.machine, self.precision = library, machine, precision

    def supports(self, cell: Cell, dtype: object) -> bool:
        """The LSTM, in float32 and float64."""
        return cell is lstm and dtype_name(dtype) in ("float32", "float64")

    def forward(
        self,
        cell: Cell,
        x: Array,  # (T, B, I)
        params: Mapping[str, Array],
        state0: tuple[Array, ...],  # (B, H) each
        mask: Array | None,  # (T, B) bool
        reuse: Cache | None = None,
    ) -> Cache:
        """All steps, with everything kept that `backward` needs. Buffers of `reuse` are overwritten where they fit.

        The cache's `private` names the kernel family that ran.
        """
        machine = self._ready()
        for family in self._families(machine, cell, x, state0):
            own = reuse if reuse is not None and reuse.private == family.NAME else None
            try:
                with self._products(machine):
                    cache = family.forward(machine, cell, x, params, state0, mask, own)
            except LaunchError as error:
                _tell(family.NAME, str(error))
            else:
                return cache._replace(engine=self.NAME, private=family.NAME)
        return reference.forward(cell, x, params, state0, mask)

    def predict(
        self, cell: Cell, x: Array, params: Mapping[str, Array], state0: tuple[Array, ...], mask: Array | None
    ) -> tuple[Array, tuple[Array, ...]]:
        """All steps, with nothing kept but the outputs: y (T, B, H), zero at masked steps, and the final state."""
        machine = self._ready()
        for family in self._families(machine, cell, x, state0):
            try:
                with self._products(machine):
                    return family.predict(machine, cell, x, params, state0, mask)
            except LaunchError as error:
                _tell(family.NAME, str(error))
        return reference.predict(cell, x, params, state0, mask)

    def backward(
        self,
        cell: Cell,
        dy: Array | None,  # (T, B, H); None: nothing reaches the outputs
        dstate: tuple[Array, ...],  # (B, H) each: the gradients of the final state
        params: Mapping[str, Array],
        cache: Cache,
    ) -> tuple[Array, tuple[Array, ...], dict[str, Array]]:
        """Undoes `forward` by the family that ran it: dx (T, B, I), dstate0, and the gradient of every parameter."""
        machine = self._ready()
        for family in FAMILIES:
            if cache.private == family.NAME:
                try:
                    with self._products(machine):
                        return family.backward(machine, cell, dy, dstate, params, cache)
                except LaunchError as error:
                    _tell(f"{family.NAME}, backward", str(error))
        return reference.backward(cell, dy, dstate, params, cache)

    def _ready(self) -> Machine:
        """The machine. Raises RuntimeError if a kernel of an earlier call broke since anybody looked."""
        machine = self.machine()
        if machine.alarm_raised():
            raise RuntimeError(
                "an LSTM kernel that ran before gave up, and its results are NaN: one of its blocks waited too long "
                "for another. They must all run at once; a debugger, or several programs on one GPU, can prevent it"
            )
        return machine

    def _products(self, machine: Machine) -> AbstractContextManager[None]:
        return machine.tf32_products() if self.precision == "tf32" else nullcontext()

    def _families(self, machine: Machine, cell: Cell, x: Array, state0: tuple[Array, ...]) -> list[Any]:
        if not self.supports(cell, x.dtype):
            return []
        _, B, I = x.shape
        return families(Call(machine, dtype_name(x.dtype), self.precision, B, I, state0[0].shape[-1]))


FAMILIES = tuple({row.family.NAME: row.family for row in TABLE}.values())


@functools.cache  # once for each reason, however many steps a training has
def _tell(what: str, why: str) -> None:
    warnings.warn(f"the GPU kernel {what!r} cannot run, and a slower one does: {why}", RuntimeWarning, stacklevel=4)


def _gpu() -> Machine:
    from lstmcore.ops.recurrence.launch_gpu import current_machine

    return current_machine()


fused_gpu = FusedGpu("cupy", _gpu)
fused_gpu_tf32 = FusedGpu("cupy", _gpu, "tf32")
