"""The fused engine for GPUs: compiled CUDA kernels for the LSTM's loop over time, over CuPy arrays.

This file computes nothing: it asks dispatch.py which kernel family fits, hands the call on, and falls back where a
kernel cannot run. The families: small.py (one launch per sequence, weights in registers), persistent.py (the
same over several multiprocessors, which talk) and pointwise.py (two launches per step, any size). Their text lies
in ops/gpu/. The first two run both directions of a bidirectional layer in one launch.
"""

import functools
import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext

from lstmcore.arrays import Array, dtype_name
from lstmcore.ops.cells import Cell, lstm
from lstmcore.ops.gpu.launch import LaunchError, Machine
from lstmcore.ops.recurrence import reference
from lstmcore.ops.recurrence.cache import Cache
from lstmcore.ops.recurrence.directions import Backward, Forward, Gradients
from lstmcore.ops.recurrence.gpu.dispatch import TABLE, Call, Family, families

PRECISIONS = ("ieee", "tf32")


class FusedGpu:
    """An engine over the arrays of one library, on the machine that `machine()` gives.

    precision: "ieee" computes in float32 as it is; "tf32" permits products of float32 numbers whose factors are rounded
    to 11 bits, in the kernels that can use them and in the products around them.
    """

    machine: Callable[[], Machine]

    def __init__(self, library: str, machine: Callable[[], Machine], precision: str = "ieee"):
        if precision not in PRECISIONS:
            raise ValueError(f"`precision` should be one of {', '.join(map(repr, PRECISIONS))}; got {precision!r}")
        self.NAME = "fused-gpu" if precision == "ieee" else f"fused-gpu-{precision}"
        self.LIBRARY, self.machine, self.precision = library, machine, precision

    def supports(self, cell: Cell, dtype: object) -> bool:
        """The LSTM, in float32 and float64."""
        return cell == lstm and dtype_name(dtype) in ("float32", "float64")

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
        return self.forward_all(cell, (Forward(x, params, state0, mask, reuse),))[0]

    def predict(
        self, cell: Cell, x: Array, params: Mapping[str, Array], state0: tuple[Array, ...], mask: Array | None
    ) -> tuple[Array, tuple[Array, ...]]:
        """All steps, with nothing kept but the outputs: y (T, B, H), zero at masked steps, and the final state."""
        return self.predict_all(cell, (Forward(x, params, state0, mask),))[0]

    def backward(
        self,
        cell: Cell,
        dy: Array | None,  # (T, B, H); None: nothing reaches the outputs
        dstate: tuple[Array, ...],  # (B, H) each: the gradients of the final state
        params: Mapping[str, Array],
        cache: Cache,
    ) -> Gradients:
        """Undoes `forward` by the family that ran it: dx (T, B, I), dstate0, and the gradient of every parameter."""
        return self.backward_all(cell, (Backward(dy, dstate, params, cache),))[0]

    def forward_all(self, cell: Cell, directions: tuple[Forward, ...]) -> tuple[Cache, ...]:
        """`forward` of one direction or of two of the same sizes; two at once where the kernels can."""
        machine = self.ready()
        for family in self._families(machine, cell, directions[0]):
            try:
                with self._products(machine):
                    caches = family.forward(machine, cell, tuple(_own(d, family) for d in directions))
            except LaunchError as error:
                _tell(family.NAME, str(error))
            else:
                return tuple(cache._replace(engine=self.NAME, private=family.NAME) for cache in caches)
        return tuple(reference.forward(cell, *d[:4]) for d in directions)

    def predict_all(self, cell: Cell, directions: tuple[Forward, ...]) -> tuple[tuple[Array, tuple[Array, ...]], ...]:
        """`predict` likewise."""
        machine = self.ready()
        for family in self._families(machine, cell, directions[0]):
            try:
                with self._products(machine):
                    return family.predict(machine, cell, directions)
            except LaunchError as error:
                _tell(family.NAME, str(error))
        return tuple(reference.predict(cell, *d[:4]) for d in directions)

    def backward_all(self, cell: Cell, directions: tuple[Backward, ...]) -> tuple[Gradients, ...]:
        """`backward` likewise, of what one call of `forward_all` made."""
        machine = self.ready()
        for family in FAMILIES:
            if all(d.cache.private == family.NAME for d in directions):
                try:
                    with self._products(machine):
                        return family.backward(machine, cell, directions)
                except LaunchError as error:
                    _tell(f"{family.NAME}, backward", str(error))
        return tuple(reference.backward(cell, *d) for d in directions)

    def ready(self) -> Machine:
        """The machine. Raises RuntimeError if a kernel of an earlier call has failed since the last look."""
        machine = self.machine()
        if machine.alarm_raised():
            raise RuntimeError(
                "an LSTM kernel that ran before gave up, and its results are NaN: one of its blocks waited too long "
                "for another. They must all run at once; a debugger, or several programs on one GPU, can prevent it"
            )
        return machine

    def _products(self, machine: Machine) -> AbstractContextManager[None]:
        return machine.tf32_products() if self.precision == "tf32" else nullcontext()

    def _families(self, machine: Machine, cell: Cell, d: Forward) -> list[Family]:
        if not self.supports(cell, d.x.dtype):
            return []
        return families(Call(machine, dtype_name(d.x.dtype), self.precision, *d.sizes[1:]))


def _own(d: Forward, family: Family) -> Forward:
    """With a cache to reuse only if it is the family's own."""
    return d if d.reuse is None or d.reuse.private == family.NAME else d._replace(reuse=None)


FAMILIES = tuple({row.family.NAME: row.family for row in TABLE}.values())


@functools.cache  # once for each reason, however many steps a training has
def _tell(what: str, why: str) -> None:
    warnings.warn(f"the GPU kernel {what!r} cannot run, and a slower one does: {why}", RuntimeWarning, stacklevel=4)


def _gpu() -> Machine:
    from lstmcore.ops.gpu.cupy_machine import current_machine

    return current_machine()


fused_gpu: FusedGpu = FusedGpu("cupy", _gpu)
fused_gpu_tf32: FusedGpu = FusedGpu("cupy", _gpu, "tf32")
