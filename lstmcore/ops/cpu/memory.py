"""Vectors and memory: how compiled code reads and writes them, whole or in part.

Memory is named by its address in bytes. A row that ends in the middle of a vector is read and written with `load_some`
and `store_some`, which touch its first `count` lanes and nothing behind them.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from lstmcore.ops.cpu.target import target
from lstmcore.ops.cpu.vector import INT32, INT64, Vector, at, llvm_type, spread


@intrinsic
def address(typing, array):
    """Where the first number of an array lies, as an int64; NumPy's own `ctypes.data` makes floats of sums with it."""

    def generate(context, builder, signature, operands):
        return builder.ptrtoint(context.make_array(array)(context, builder, operands[0]).data, INT64)

    return types.intp(array), generate


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
    """The vectors of "float32" or "float64", as long as a register."""
    size = np.dtype(dtype).itemsize
    lanes = target().register_bytes // size
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
