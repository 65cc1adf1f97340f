"""Matrices in the order in which the product tile reads them.

A matrix of N columns is cut into panels a few vectors wide; within a panel the rows lie one behind the other, so that
the tile walks through memory in one direction. Lanes beyond column N hold zeros. The panel that starts at vector v of a
matrix of `depth` rows begins v * depth vectors into the packed memory.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

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
    pack: Callable  # (out, source, source_row, depth, columns, vector, width): one panel of a matrix
    pack_transposed: Callable  # the same of the transpose: (out, source, source_row, depth, columns, vector, width)


@functools.cache
def packing(dtype: str) -> Packing:
    """The packing functions of "float32" or "float64", to be called from kernels. Addresses and rows are in bytes."""
    v = vectors(dtype)
    lanes, size, load, store, load_some, store_some = v.lanes, v.size, v.load, v.store, v.load_some, v.store_some
    constant, zero, transpose = v.constant, np.dtype(dtype).type(0), _transpose(dtype)

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
    def pack(out, source, source_row, depth, columns, vector, width):
        for k in range(depth):
            for j in range(vector, vector + width):
                store(out, load_some(source + k * source_row + j * lanes * size, columns - j * lanes))
                out += lanes * size

    @jitable
    def pack_transposed(out, source, source_row, depth, columns, vector, width):
        for k in range(0, depth, lanes):  # squares along the rows of the source
            for j in range(vector, vector + width):
                transpose(
                    source + j * lanes * source_row + k * size,
                    source_row,
                    min(lanes, columns - j * lanes),
                    min(lanes, depth - k),
                    out + (k * width + j - vector) * lanes * size,
                    width * lanes * size,
                )

    return Packing(copy, clear, pack, pack_transposed)


def _transpose(dtype: str) -> Callable:
    """transpose(source, source_row, rows, columns, out, out_row): up to lanes x lanes numbers, in registers.

    Each of the log2(lanes) rounds interleaves the first half of the vectors with the second. Rows of the source beyond
    `rows` count as zero and are not read; rows of the result beyond `columns` are not written.
    """
    v = vectors(dtype)
    lanes = v.lanes
    low = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [lanes * (i % 2) + i // 2 for i in range(lanes)])
    high = ir.Constant(low.type, [lanes * (i % 2) + (i + lanes) // 2 for i in range(lanes)])

    @intrinsic
    def transpose(typing, source, source_row, rows, columns, out, out_row):
        def generate(context, builder, signature, operands):
            source, source_row, rows, columns, out, out_row = operands

            def present(i, count):
                return builder.icmp_signed("<", INT64(i), count)

            square = [
                v.read(
                    builder,
                    builder.add(source, builder.mul(source_row, INT64(i))),
                    builder.select(present(i, rows), columns, INT64(0)),
                )
                for i in range(lanes)
            ]
            for _ in range(lanes.bit_length() - 1):
                pairs = list(zip(square[: lanes // 2], square[lanes // 2 :]))
                square = [builder.shuffle_vector(a, b, half) for a, b in pairs for half in (low, high)]
            for i, row in enumerate(square):
                with builder.if_then(present(i, columns)):
                    v.write(builder, builder.add(out, builder.mul(out_row, INT64(i))), INT64(lanes), row)
            return context.get_dummy_value()

        return types.void(*[types.intp] * 6), generate

    return transpose
