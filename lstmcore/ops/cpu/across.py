"""What goes across the lanes of a vector: their sum, and the largest of them.

Halves meet halves until one number is left, so the order of a sum follows from the machine's vectors alone.
"""

from collections.abc import Callable

from llvmlite import ir
from numba.extending import intrinsic

from lstmcore.ops.cpu.vector import INT32


@intrinsic
def sum_of(typing, a):
    """The sum of all lanes."""

    def add(builder, low, high):
        return builder.fadd(low, high)

    return a.scalar(a), lambda context, builder, signature, operands: _fold(builder, operands[0], add)


@intrinsic
def largest_of(typing, a):
    """The largest of all lanes; a NaN may be passed over."""

    def larger(builder, low, high):
        return builder.select(builder.fcmp_ordered("<", low, high), high, low)

    return a.scalar(a), lambda context, builder, signature, operands: _fold(builder, operands[0], larger)


def _fold(builder: ir.IRBuilder, value: ir.Value, combine: Callable) -> ir.Value:
    """Lane k meets lane k + half of them, again and again."""
    while value.type.count > 1:
        half = value.type.count // 2
        low, high = (
            builder.shuffle_vector(value, value, ir.Constant(ir.VectorType(INT32, half), lanes))
            for lanes in (list(range(half)), list(range(half, 2 * half)))
        )
        value = combine(builder, low, high)
    return builder.extract_element(value, INT32(0))
