"""A vector of floats as a value of compiled code: as many lanes as one register of this machine holds.

Numba compiles scalar Python, and whether LLVM then makes vector instructions of it is a matter of luck. Here the
vector is a type of its own: `a * b + c` over two of them is one instruction per operation, on any machine. The text
of a cell's step, written for arrays, runs over these values unchanged.

Memory is named by its address in bytes. A row that ends in the middle of a vector is read and written with `load_some`
and `store_some`, which touch its first `count` lanes and nothing behind them.
"""

import functools
import operator
from collections.abc import Callable
from typing import NamedTuple

import llvmlite.binding as llvm
import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.typing.templates import AbstractTemplate, infer_global
from numba.extending import intrinsic, lower_builtin, models, register_model

INT32, INT64 = ir.IntType(32), ir.IntType(64)


@functools.cache
def register_bytes() -> int:
    """Bytes in one vector register of the host: 64 (AVX-512), 32 (AVX2 with FMA) or 16 (every other machine)."""
    features = llvm.get_host_cpu_features()
    if features.get("avx512f"):
        return 64
    return 32 if features.get("avx2") and features.get("fma") else 16


class Vector(types.Type):
    """Numba's name for `lanes` floats of one dtype in a register."""

    def __init__(self, scalar: types.Float, lanes: int):
        self.scalar, self.lanes = scalar, lanes
        super().__init__(name=f"vector({lanes} x {scalar})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, vector):
        super().__init__(manager, vector, llvm_type(vector))


def llvm_type(vector: Vector) -> ir.VectorType:
    """The vector as LLVM writes it."""
    scalar = ir.FloatType() if vector.scalar is types.float32 else ir.DoubleType()
    return ir.VectorType(scalar, vector.lanes)


def spread(builder: ir.IRBuilder, scalar: ir.Value, vector: ir.VectorType) -> ir.Value:
    """One scalar in every lane."""
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, INT32(0))
    lanes = ir.Constant(ir.VectorType(INT32, vector.count), [0] * vector.count)
    return builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), lanes)


def at(builder: ir.IRBuilder, address: ir.Value, type_: ir.Type) -> ir.Value:
    """An address in bytes as a pointer to `type_`."""
    return builder.inttoptr(address, type_.as_pointer())


def fuse(builder: ir.IRBuilder, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
    """a * b + c, rounded once where the machine can."""
    return _call(builder, "fmuladd", a, b, c)


def prefetch(builder: ir.IRBuilder, address: ir.Value) -> None:
    """Asks for the cache line at `address`, into the second level; reads nothing, so any address will do."""
    pointer = ir.IntType(8).as_pointer()
    type_ = ir.FunctionType(ir.VoidType(), [pointer, INT32, INT32, INT32])
    function = cgutils.get_or_insert_function(builder.module, type_, "llvm.prefetch.p0")
    builder.call(function, [builder.inttoptr(address, pointer), INT32(0), INT32(2), INT32(1)])  # to read, level 2, data


def _call(builder: ir.IRBuilder, name: str, *operands: ir.Value) -> ir.Value:
    """One of LLVM's lane by lane functions, such as fabs."""
    vector = operands[0].type
    suffix = f"v{vector.count}f{32 if isinstance(vector.element, ir.FloatType) else 64}"
    type_ = ir.FunctionType(vector, [vector] * len(operands))
    return builder.call(cgutils.get_or_insert_function(builder.module, type_, f"llvm.{name}.{suffix}"), operands)


# Arithmetic: vector with vector, or vector with a number of the same dtype, which is spread over all lanes.


def _arithmetic(symbol: Callable, instruction: str) -> None:
    @infer_global(symbol)
    class Typing(AbstractTemplate):
        def generic(self, args, kws):
            found = [a for a in args if isinstance(a, Vector)]
            if found and all(a in (found[0], found[0].scalar) for a in args):
                return found[0](*args)
            return None

    @lower_builtin(symbol, Vector, Vector)
    @lower_builtin(symbol, Vector, types.Float)
    @lower_builtin(symbol, types.Float, Vector)
    def generate(context, builder, signature, operands):
        wide = [
            operand if isinstance(type_, Vector) else spread(builder, operand, llvm_type(signature.return_type))
            for operand, type_ in zip(operands, signature.args)
        ]
        return getattr(builder, instruction)(*wide, flags=("contract",))


for _symbol, _instruction in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
):
    _arithmetic(_symbol, _instruction)


@infer_global(operator.neg)
class _Negation(AbstractTemplate):
    def generic(self, args, kws):
        return args[0](*args) if isinstance(args[0], Vector) else None


@lower_builtin(operator.neg, Vector)
def _negate(context, builder, signature, operands):
    return builder.fneg(operands[0])


@intrinsic
def multiply_add(typing, a, b, c):
    """a * b + c of three vectors, rounded once where the machine can."""
    return a(a, a, a), lambda context, builder, signature, operands: fuse(builder, *operands)


@intrinsic
def absolute(typing, a):
    """|a|; NaN stays NaN."""
    return a(a), lambda context, builder, signature, operands: _call(builder, "fabs", *operands)


@intrinsic
def with_sign(typing, a, sign):
    """|a| with the sign of `sign`."""
    return a(a, a), lambda context, builder, signature, operands: _call(builder, "copysign", *operands)


@intrinsic
def where_less(typing, a, b, yes, no):
    """Lane by lane: `yes` where a < b, else `no`; a NaN is not less than anything."""

    def generate(context, builder, signature, operands):
        less = builder.fcmp_ordered("<", operands[0], operands[1])
        return builder.select(less, operands[2], operands[3])

    return a(a, a, a, a), generate


def rounder(dtype: str) -> float:
    """1.5 * 2^(bits of the mantissa): a number added to it is rounded to a whole one, which stands in its lowest
    bits.
    """
    return 1.5 * 2.0 ** np.finfo(dtype).nmant


@intrinsic(prefer_literal=True)
def power_of_two(typing, rounded, shift):
    """2^(n + shift), where `rounded` is n + rounder, and 2^(n + shift) a normal number; else anything at all."""
    if not isinstance(shift, types.IntegerLiteral):
        return None
    bits, mantissa, bias = (32, 23, 127) if rounded.scalar is types.float32 else (64, 52, 1023)

    def generate(context, builder, signature, operands):
        integers = ir.VectorType(ir.IntType(bits), rounded.lanes)

        def everywhere(value):
            return ir.Constant(integers, [value] * rounded.lanes)

        # Shifted into the exponent's place, only n is left.
        exponent = builder.shl(builder.bitcast(operands[0], integers), everywhere(mantissa))
        exponent = builder.add(exponent, everywhere((bias + shift.literal_value) << mantissa))
        return builder.bitcast(exponent, llvm_type(rounded))

    return rounded(rounded, shift), generate


class Vectors(NamedTuple):
    """The vectors of one dtype, and how compiled code reads and writes them. Addresses and distances are in bytes."""

    type: Vector
    lanes: int
    size: int  # bytes of one scalar
    constant: Callable  # (scalar) -> vector
    load: Callable  # (address) -> vector
    store: Callable  # (address, vector)
    load_some: Callable  # (address, count) -> vector whose other lanes are zero
    load_padded: Callable  # (address, count, scalar) -> vector whose other lanes hold the scalar
    store_some: Callable  # (address, count, vector)
    keep_some: Callable  # (vector, count) -> its first lanes, zero in the others
    load_each: Callable  # (count of vectors, address, distance, lanes read of each) -> tuple of vectors
    store_each: Callable  # (tuple of vectors, address, distance, lanes written of each)
    # The same across the end of a row: `here` lanes at `address`; if `there` are not 0, all others at `following`,
    # which is where lane 0 would lie.
    load_across: Callable  # (count of vectors, address, following, distance, here, there) -> tuple of vectors
    store_across: Callable  # (tuple of vectors, address, following, distance, here, there)
    read: Callable  # load_some as instructions: (builder, address, count) -> value
    write: Callable  # store_some as instructions: (builder, address, count, value)


@functools.cache
def vectors(dtype: str) -> Vectors:
    """The vectors of "float32" or "float64" on this machine."""
    size = np.dtype(dtype).itemsize
    lanes = register_bytes() // size
    vector = Vector(numba.from_dtype(np.dtype(dtype)), lanes)
    wide = llvm_type(vector)
    mask, zeros = ir.VectorType(ir.IntType(1), lanes), ir.Constant(wide, None)
    suffix = f"v{lanes}f{8 * size}.p0"

    def chosen(builder, relation, count):
        """The mask of the first `count` lanes ("<"), or of all others (">="); no count is too large."""
        few = builder.select(builder.icmp_signed("<", count, INT64(lanes)), count, INT64(lanes))
        numbers = ir.Constant(ir.VectorType(INT32, lanes), list(range(lanes)))
        return builder.icmp_signed(relation, numbers, spread(builder, builder.trunc(few, INT32), numbers.type))

    def read(builder, address, count, relation="<", others=zeros):
        type_ = ir.FunctionType(wide, [wide.as_pointer(), INT32, mask, wide])
        function = cgutils.get_or_insert_function(builder.module, type_, f"llvm.masked.load.{suffix}")
        lanes_read = chosen(builder, relation, count)
        return builder.call(function, [at(builder, address, wide), INT32(size), lanes_read, others])

    def write(builder, address, count, value, relation="<"):
        type_ = ir.FunctionType(ir.VoidType(), [wide, wide.as_pointer(), INT32, mask])
        function = cgutils.get_or_insert_function(builder.module, type_, f"llvm.masked.store.{suffix}")
        lanes_written = chosen(builder, relation, count)
        builder.call(function, [value, at(builder, address, wide), INT32(size), lanes_written])

    @intrinsic
    def constant(typing, value):
        return vector(vector.scalar), lambda context, builder, signature, operands: spread(builder, operands[0], wide)

    @intrinsic
    def load(typing, address):
        def generate(context, builder, signature, operands):
            return builder.load(at(builder, operands[0], wide), align=size)

        return vector(types.intp), generate

    @intrinsic
    def store(typing, address, value):
        def generate(context, builder, signature, operands):
            builder.store(operands[1], at(builder, operands[0], wide), align=size)
            return context.get_dummy_value()

        return types.void(types.intp, vector), generate

    @intrinsic
    def load_some(typing, address, count):
        def generate(context, builder, signature, operands):
            return read(builder, *operands)

        return vector(types.intp, types.intp), generate

    @intrinsic
    def load_padded(typing, address, count, value):
        def generate(context, builder, signature, operands):
            address, count, value = operands
            return read(builder, address, count, others=spread(builder, value, wide))

        return vector(types.intp, types.intp, vector.scalar), generate

    @intrinsic
    def store_some(typing, address, count, value):
        def generate(context, builder, signature, operands):
            write(builder, *operands)
            return context.get_dummy_value()

        return types.void(types.intp, types.intp, vector), generate

    @intrinsic
    def keep_some(typing, value, count):
        def generate(context, builder, signature, operands):
            return builder.select(chosen(builder, "<", operands[1]), operands[0], zeros)

        return vector(vector, types.intp), generate

    @intrinsic(prefer_literal=True)
    def load_each(typing, number, address, distance, count):
        if not isinstance(number, types.IntegerLiteral):
            return None
        result = types.UniTuple(vector, number.literal_value)  # type: ignore[attr-defined]

        def generate(context, builder, signature, operands):
            _, address, distance, count = operands
            values = [
                read(builder, builder.add(address, builder.mul(distance, INT64(j))), count)
                for j in range(number.literal_value)
            ]
            return context.make_tuple(builder, result, values)

        return result(number, types.intp, types.intp, types.intp), generate

    @intrinsic
    def store_each(typing, values, address, distance, count):
        def generate(context, builder, signature, operands):
            group, address, distance, count = operands
            for j, value in enumerate(cgutils.unpack_tuple(builder, group)):
                write(builder, builder.add(address, builder.mul(distance, INT64(j))), count, value)
            return context.get_dummy_value()

        return types.void(values, types.intp, types.intp, types.intp), generate

    @intrinsic(prefer_literal=True)
    def load_across(typing, number, address, following, distance, here, there):
        if not isinstance(number, types.IntegerLiteral):
            return None
        result = types.UniTuple(vector, number.literal_value)  # type: ignore[attr-defined]

        def generate(context, builder, signature, operands):
            _, address, following, distance, here, there = operands
            steps = [builder.mul(distance, INT64(j)) for j in range(number.literal_value)]
            values = [read(builder, builder.add(address, step), here) for step in steps]
            slots = [cgutils.alloca_once_value(builder, value) for value in values]
            for slot, value in zip(slots, values):
                builder.store(value, slot)
            with builder.if_then(builder.icmp_signed(">", there, INT64(0))):
                for slot, value, step in zip(slots, values, steps):
                    builder.store(read(builder, builder.add(following, step), here, ">=", value), slot)
            return context.make_tuple(builder, result, [builder.load(slot) for slot in slots])

        return result(number, *[types.intp] * 5), generate

    @intrinsic
    def store_across(typing, values, address, following, distance, here, there):
        def generate(context, builder, signature, operands):
            group, address, following, distance, here, there = operands
            pairs = [
                (value, builder.mul(distance, INT64(j))) for j, value in enumerate(cgutils.unpack_tuple(builder, group))
            ]
            for value, step in pairs:
                write(builder, builder.add(address, step), here, value)
            with builder.if_then(builder.icmp_signed(">", there, INT64(0))):
                for value, step in pairs:
                    write(builder, builder.add(following, step), here, value, ">=")
            return context.get_dummy_value()

        return types.void(values, *[types.intp] * 5), generate

    return Vectors(
        vector, lanes, size, constant, load, store, load_some, load_padded, store_some, keep_some,
        load_each, store_each, load_across, store_across, read, write,
    )  # fmt: skip
