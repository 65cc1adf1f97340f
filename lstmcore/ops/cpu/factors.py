"""What the factors of a product are: numbers of the dtype of its sums, or pairs of bfloat16 numbers, a pair to a word.

bfloat16 is the upper half of float32: the same exponents, 8 bits of precision in place of 24. A word of 32 bits holds
the factors of two neighbouring k, the first one in its lower half, and the product's loop takes half as many steps; its
sums are float32. Factors are rounded to the nearest, halves to even, so each by at most 2^-8 of itself; from
2^128 - 2^119 on, about 3.396e38, they become infinite.

Where the processor multiplies such pairs (AVX512_BF16) that is one instruction, and numbers below 2^-126, the smallest
normal one, count as zero there, factors and sums (Intel, Architecture Instruction Set Extensions Programming Reference,
VDPBF16PS and VCVTNEPS2BF16). Everywhere else shifts and two multiplications do it, which keep those numbers: slower
than float32, but right.

Words travel as float32 numbers do, in the same vectors: nobody but `multiply_add` looks at what is in them.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

from llvmlite import ir
from numba.core import cgutils

from lstmcore.ops.cpu.target import multiplies_bfloat16
from lstmcore.ops.cpu.vector import INT32, fuse


class Factors(NamedTuple):
    """How products see their factors."""

    dtype: str  # of the sums, and of what factors are made from
    per_word: int  # how many neighbouring k stand in one number of that dtype
    multiply_add: Callable  # as instructions: (builder, a, b, sum) -> sum + a * b, over all k of a word
    join: Callable  # likewise: (builder, vectors, one per k of a word) -> words, lane by lane
    fold: Callable  # likewise: (builder, as many vectors, that follow each other) -> their numbers as words

    def words(self, depth: int) -> int:
        """How many numbers hold the factors of `depth` steps of k."""
        return -(-depth // self.per_word)


@functools.cache
def factors(name: str) -> Factors:
    """The factors "float32" and "float64", and "bfloat16" of float32 numbers."""
    if name != "bfloat16":
        return Factors(name, 1, fuse, _itself, _itself)
    native = multiplies_bfloat16()
    multiply_add = _multiply_add_native if native else _multiply_add
    return Factors("float32", 2, multiply_add, *(functools.partial(_paired, native, way) for way in (_join, _fold)))


def _itself(builder: ir.IRBuilder, parts: list[ir.Value]) -> ir.Value:
    (only,) = parts
    return only


class BFloat(ir.Type):
    """LLVM's name for bfloat16, which llvmlite does not have."""

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BFloat)

    def __hash__(self) -> int:
        return hash(BFloat)


def _multiply_add_native(builder: ir.IRBuilder, a: ir.Value, b: ir.Value, total: ir.Value) -> ir.Value:
    wide, pairs = total.type, ir.VectorType(BFloat(), 2 * total.type.count)
    type_ = ir.FunctionType(wide, [wide, pairs, pairs])
    function = cgutils.get_or_insert_function(builder.module, type_, "llvm.x86.avx512bf16.dpbf16ps.512")
    return builder.call(function, [total, builder.bitcast(a, pairs), builder.bitcast(b, pairs)])


def _multiply_add(builder: ir.IRBuilder, a: ir.Value, b: ir.Value, total: ir.Value) -> ir.Value:
    """In the order of the instruction: the upper halves first."""
    wide, words = total.type, ir.VectorType(INT32, total.type.count)

    def halves(pair: ir.Value) -> tuple[ir.Value, ir.Value]:
        bits = builder.bitcast(pair, words)
        upper = builder.and_(bits, ir.Constant(words, [0xFFFF0000] * words.count))
        lower = builder.shl(bits, ir.Constant(words, [16] * words.count))
        return builder.bitcast(upper, wide), builder.bitcast(lower, wide)

    for factors_of_k in zip(halves(a), halves(b)):
        total = fuse(builder, *factors_of_k, total)
    return total


def _paired(native: bool, way: Callable, builder: ir.IRBuilder, parts: list[ir.Value]) -> ir.Value:
    """Two vectors of float32 numbers, rounded, as words."""
    lanes = parts[0].type.count
    rounded = [(_round_native if native else _round)(builder, part) for part in parts]
    return builder.bitcast(way(builder, rounded, lanes), parts[0].type)


def _join(builder: ir.IRBuilder, rounded: list[ir.Value], lanes: int) -> ir.Value:
    numbers = [lanes * (i % 2) + i // 2 for i in range(2 * lanes)]
    return builder.shuffle_vector(*rounded, ir.Constant(ir.VectorType(INT32, 2 * lanes), numbers))


def _fold(builder: ir.IRBuilder, rounded: list[ir.Value], lanes: int) -> ir.Value:
    numbers = list(range(2 * lanes))
    return builder.shuffle_vector(*rounded, ir.Constant(ir.VectorType(INT32, 2 * lanes), numbers))


def _round_native(builder: ir.IRBuilder, a: ir.Value) -> ir.Value:
    return builder.fptrunc(a, ir.VectorType(BFloat(), a.type.count))


def _round(builder: ir.IRBuilder, a: ir.Value) -> ir.Value:
    """The upper halves as integers. Adding 0x7FFF, and 1 if the upper half is odd, carries into it where it should;
    NaN, whose lower half may be all that makes it one, becomes a quiet NaN before."""
    words, halves = ir.VectorType(INT32, a.type.count), ir.VectorType(ir.IntType(16), a.type.count)

    def everywhere(value: int) -> ir.Constant:
        return ir.Constant(words, [value] * words.count)

    bits = builder.bitcast(a, words)
    odd = builder.and_(builder.lshr(bits, everywhere(16)), everywhere(1))
    carried = builder.add(bits, builder.add(odd, everywhere(0x7FFF)))
    chosen = builder.select(builder.fcmp_unordered("uno", a, a), builder.or_(bits, everywhere(0x400000)), carried)
    return builder.trunc(builder.lshr(chosen, everywhere(16)), halves)
