"""Matrices in the order in which the product tile reads them.

A matrix of N columns is cut into panels a few vectors wide; within a panel the rows lie one behind the other, so that
the tile walks through memory in one direction. Lanes beyond column N hold zeros. The panel that starts at vector v of a
matrix of `depth` rows begins v * depth vectors into the packed memory; where factors stand in pairs, v * words(depth),
and the factor beside a last one without a partner is zero.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from lstmcore.ops.cpu.factors import factors
from lstmcore.ops.cpu.jitable import jitable
from lstmcore.ops.cpu.memory import vectors
from lstmcore.ops.cpu.tile import panel_vectors
from lstmcore.ops.cpu.vector import INT64


def panel_count(N: int, lanes: int, parts: int) -> int:
    """How many panels N columns are cut into: as few as can be, and equally many for each of `parts` threads."""
    return -(-N // (lanes * panel_vectors() * parts)) * parts


@jitable
def panel_range(p, N, lanes, panels):
    """Panel p of `panels` over N columns: its first vector, and how many it has."""
    V = -(-N // lanes)
    return p * V // panels, (p + 1) * V // panels - p * V // panels


class Packing(NamedTuple):
    copy: Callable  # (out, source, count): `count` numbers from one place to another
    clear: Callable  # (out, count): zeros
    words: Callable  # (depth): how many numbers hold the factors of `depth` steps of k
    as_factors: Callable  # (out, source, count): a row of numbers as factors of as many k
    pack: Callable  # (out, source, source_row, depth, columns, vector, width): one panel of a matrix
    pack_transposed: Callable  # the same of the transpose: (out, source, source_row, depth, columns, vector, width)


@functools.cache
def packing(kind: str) -> Packing:
    """The packing functions of factors (factors.py), to be called from kernels. Addresses and rows are in bytes."""
    dtype, per_word = factors(kind).dtype, factors(kind).per_word
    v = vectors(dtype)
    lanes, size, load, store, load_some, store_some = v.lanes, v.size, v.load, v.store, v.load_some, v.store_some
    constant, zero = v.constant, np.dtype(dtype).type(0)
    beside, below, transpose = _readers(kind)

    @jitable
    def copy(out, source, count):
        done = 0
        while done + lanes <= count:
            store(out + done * size, load(source + done * size))
            done += lanes
        if done < count:
            store_some(out + done * size, count - done, load_some(source + done * size, count - done))

    @jitable
    def clear(out, count):
        done = 0
        while done + lanes <= count:
            store(out + done * size, constant(zero))
            done += lanes
        if done < count:
            store_some(out + done * size, count - done, constant(zero))

    @jitable
    def words(depth):
        return (depth + per_word - 1) // per_word

    @jitable
    def as_factors(out, source, count):
        for done in range(0, words(count), lanes):
            place = source + done * per_word * size
            store_some(out + done * size, words(count) - done, beside(place, count - done * per_word))

    @jitable
    def pack(out, source, source_row, depth, columns, vector, width):
        for k in range(0, depth, per_word):
            for j in range(vector, vector + width):
                here = source + k * source_row + j * lanes * size
                store(out, below(here, source_row, depth - k, columns - j * lanes))
                out += lanes * size

    @jitable
    def pack_transposed(out, source, source_row, depth, columns, vector, width):
        for k in range(0, words(depth), lanes):  # squares along the rows of the source
            for j in range(vector, vector + width):
                transpose(
                    source + j * lanes * source_row + k * per_word * size,
                    source_row,
                    min(lanes, columns - j * lanes),
                    depth - k * per_word,
                    out + (k * width + j - vector) * lanes * size,
                    width * lanes * size,
                )

    return Packing(copy, clear, words, copy if per_word == 1 else as_factors, pack, pack_transposed)


def _readers(kind: str) -> tuple[Callable, Callable, Callable]:
    """How factors are made from a matrix, a word for each lane: from `count` numbers that follow each other,
    beside(source, count); from those of a column that lie in `rows` rows one below the other, as many as fit a word,
    below(source, source_row, rows, count). What lies outside counts as zero and is not read.

    And transpose(source, source_row, rows, columns, out, out_row): up to lanes x lanes words, in registers. Each of the
    log2(lanes) rounds interleaves the first half of the vectors with the second. What there is of the source are `rows`
    rows and `columns` numbers; rows of the result beyond them are not written.
    """
    f = factors(kind)
    v, per_word = vectors(f.dtype), f.per_word
    lanes, size = v.lanes, v.size
    low = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [lanes * (i % 2) + i // 2 for i in range(lanes)])
    high = ir.Constant(low.type, [lanes * (i % 2) + (i + lanes) // 2 for i in range(lanes)])

    def present(builder, i, count):
        return builder.icmp_signed("<", INT64(i), count)

    def read_beside(builder, source, count):
        parts = [
            v.read(builder, builder.add(source, INT64(i * lanes * size)), builder.sub(count, INT64(i * lanes)))
            for i in range(per_word)
        ]
        return f.fold(builder, parts)

    @intrinsic
    def beside(typing, source, count):
        def generate(context, builder, signature, operands):
            return read_beside(builder, *operands)

        return v.type(types.intp, types.intp), generate

    @intrinsic
    def below(typing, source, source_row, rows, count):
        def generate(context, builder, signature, operands):
            source, source_row, rows, count = operands
            parts = [v.read(builder, source, count)]
            for i in range(1, per_word):
                here = builder.add(source, builder.mul(source_row, INT64(i)))
                parts.append(v.read(builder, here, builder.select(present(builder, i, rows), count, INT64(0))))
            return f.join(builder, parts)

        return v.type(*[types.intp] * 4), generate

    @intrinsic
    def transpose(typing, source, source_row, rows, columns, out, out_row):
        def generate(context, builder, signature, operands):
            source, source_row, rows, columns, out, out_row = operands
            square = [
                read_beside(
                    builder,
                    builder.add(source, builder.mul(source_row, INT64(i))),
                    builder.select(present(builder, i, rows), columns, INT64(0)),
                )
                for i in range(lanes)
            ]
            for _ in range(lanes.bit_length() - 1):
                pairs = list(zip(square[: lanes // 2], square[lanes // 2 :]))
                square = [builder.shuffle_vector(a, b, half) for a, b in pairs for half in (low, high)]
            for i, row in enumerate(square):
                with builder.if_then(present(builder, i * per_word, columns)):
                    v.write(builder, builder.add(out, builder.mul(out_row, INT64(i))), INT64(lanes), row)
            return context.get_dummy_value()

        return types.void(*[types.intp] * 6), generate

    return beside, below, transpose
