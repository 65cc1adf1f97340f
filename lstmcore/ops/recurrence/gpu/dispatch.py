"""Which kernel family runs an LSTM on a GPU: a table, with the reason for each border.

The first row that fits is tried; one that cannot run on this machine after all leaves it to the next. The last is the
reference engine, which needs no kernel.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from lstmcore.arrays import Array
from lstmcore.ops.cells import Cell
from lstmcore.ops.gpu.launch import Machine
from lstmcore.ops.recurrence.cache import Cache
from lstmcore.ops.recurrence.directions import Backward, Forward, Gradients
from lstmcore.ops.recurrence.gpu import persistent as persistent_gpu
from lstmcore.ops.recurrence.gpu import pointwise as pointwise_gpu
from lstmcore.ops.recurrence.gpu import small as small_gpu


class Call(NamedTuple):
    """What the choice depends on."""

    machine: Machine
    dtype: str  # "float32" or "float64"
    precision: str  # "ieee", or "tf32" where products of float32 numbers may round their factors to 11 bits
    B: int
    I: int
    H: int


class Family(Protocol):
    """Kernels that run an LSTM together: a module or an object. Each function takes one direction, or two at once.

    They raise LaunchError where a kernel cannot run on this machine after all.
    """

    @property
    def NAME(self) -> str: ...

    def forward(self, machine: Machine, cell: Cell, directions: tuple[Forward, ...]) -> tuple[Cache, ...]: ...

    def predict(
        self, machine: Machine, cell: Cell, directions: tuple[Forward, ...]
    ) -> tuple[tuple[Array, tuple[Array, ...]], ...]: ...

    def backward(self, machine: Machine, cell: Cell, directions: tuple[Backward, ...]) -> tuple[Gradients, ...]: ...


class Row(NamedTuple):
    family: Family
    condition: str
    holds: Callable[[Call], bool]
    reason: str


TABLE = (
    Row(
        small_gpu,
        f"float32, H <= {small_gpu.WIDEST}",
        lambda call: call.dtype == "float32" and call.H <= small_gpu.WIDEST,
        "a thread holds the 4 H recurrent weights of its unit in registers, of which it can have 255",
    ),
    Row(
        persistent_gpu.tf32,
        f"float32 with precision tf32, H <= {persistent_gpu.WIDEST}",
        lambda call: call.dtype == "float32" and call.precision == "tf32" and call.H <= persistent_gpu.WIDEST,
        "W_hh fits the registers of a GPU's multiprocessors; a step then costs one exchange between them, no launch",
    ),
    Row(
        persistent_gpu.ieee,
        f"float32, H <= {persistent_gpu.WIDEST}",
        lambda call: call.dtype == "float32" and call.precision == "ieee" and call.H <= persistent_gpu.WIDEST,
        "the same; the multiplications take longer, but they are no more than a product per step would do",
    ),
    Row(pointwise_gpu, "anything else", lambda call: True, "a product and a kernel per step: any size, and float64"),
)


def families(call: Call) -> list[Family]:
    """Those whose row fits, the first choice first."""
    return [row.family for row in TABLE if row.holds(call)]
