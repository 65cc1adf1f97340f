"""The product of matrices, as one tile that lives in registers, and rows of such tiles.

A tile is a few rows by a few vectors of the result. Its sums stay in registers while k runs over the whole inner
dimension: each step loads one vector per column and one number per row, and multiplies every pair. Six rows by four
vectors make 24 independent sums, enough to keep both arithmetic units busy through the latency of an addition, and with
the four vectors of B they fit 32 registers. Where there are 16 it is six rows by two vectors.
Narrower tiles are taller, up to twelve rows, for as many sums: half as many tiles have to start and end.

The loop is written as LLVM vector instructions because a compiler, given the same loop in Python, spills the sums.
Every smaller tile down to one by one has a body of its own, so there is no padding and no remainder loop.

Every sum starts at zero, runs over k in order, and meets `init` last. So the result does not depend on how rows and
columns were cut into tiles, and a long sum that arrives in blocks rounds block by block.
"""

import functools
from collections.abc import Callable

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from lstmcore.ops.cpu.factors import factors
from lstmcore.ops.cpu.jitable import jitable
from lstmcore.ops.cpu.kernel import compile_called
from lstmcore.ops.cpu.memory import vectors
from lstmcore.ops.cpu.target import target
from lstmcore.ops.cpu.vector import INT64, ask_for, at, llvm_type, prefetch, spread

SUMS = 24 if target().registers == 32 else 12  # vectors in registers
TILE_ROWS = 12
FAR = 4096  # bytes from one row to the next: a page


def panel_vectors() -> int:
    """How many vectors wide a tile is at most; a panel of packed weights is as wide."""
    return SUMS // 6


@jitable
def tile_rows(width):
    """How many rows a tile of `width` vectors has at most."""
    return min(TILE_ROWS, SUMS // width)


@functools.cache
def product(kind: str) -> Callable:
    """The compiled `out = init + A @ B` of factors (factors.py), where B is one panel of vectors.

    product(rows, columns, depth, A, a_row, a_step, B, b_step, init, init_row, out, out_row, ahead): `rows` rows of the
    result with `columns` numbers each, at most panel_vectors() vectors, summed over `depth` steps of k. All else is
    bytes: A[m, k] is the number at A + m a_row + k a_step, B[k] the vectors at B + k b_step, and rows of init and out
    are init_row and out_row apart. `out` may be `init`; init_row = 0 gives every row the same start. Of B the last
    vector is read whole, of init and out only `columns` numbers are touched.

    While the first tiles are summed they ask for what lies at `ahead`, as many bytes as B, one cache line per step of
    k: the next panel of weights too many for the cache arrives while this one is in use.
    """
    tile, v = _tile(kind), vectors(factors(kind).dtype)
    lanes, size = v.lanes, v.size
    lines = lanes * size / 64  # cache lines of one vector

    def product(rows, columns, depth, A, a_row, a_step, B, b_step, init, init_row, out, out_row, ahead):
        width = (columns + lanes - 1) // lanes
        most = tile_rows(width)
        tiles = (rows + most - 1) // most
        for i in range(tiles):  # rows in tiles of nearly equal height; B stays in the cache from one to the next
            first = i * rows // tiles
            height = (i + 1) * rows // tiles - first
            wanted = ahead + i * depth * 64 if i < width * lines else B
            if init_row > FAR:  # rows that lie in different pages: asked for now, they are there when the sum is
                for m in range(first, first + height):
                    for byte in range(0, columns * size, 64):
                        ask_for(init + m * init_row + byte)
            tile(
                height, width, columns - (width - 1) * lanes, depth,
                A + first * a_row, a_row, a_step, B, b_step, wanted,
                init + first * init_row, init_row, out + first * out_row, out_row,
            )  # fmt: skip

    return compile_called(product, f"product-{kind}", types.void(*[types.intp] * 13))


def _tile(kind: str) -> Callable:
    """One tile of `width` vectors (1 to panel_vectors()) by `height` rows (at least 1, at most tile_rows(width)), of
    whose last vector `last` lanes count; arguments as in `product`.
    """
    v, multiply_add = vectors(factors(kind).dtype), factors(kind).multiply_add

    @intrinsic
    def tile(typing, height, width, last, depth, A, a_row, a_step, B, b_step, ahead, init, init_row, out, out_row):
        def generate(context, builder, signature, operands):
            height, width, *rest = operands
            end = builder.append_basic_block("end")
            case = builder.add(builder.mul(height, INT64(panel_vectors() + 1)), width)
            switch = builder.switch(case, end)
            for columns in range(1, panel_vectors() + 1):
                for rows in range(1, tile_rows(columns) + 1):
                    body = builder.append_basic_block(f"tile_{rows}_{columns}")
                    switch.add_case(INT64(rows * (panel_vectors() + 1) + columns), body)
                    builder.position_at_end(body)
                    _tile_body(builder, v, multiply_add, rows, columns, *rest)
                    builder.branch(end)
            builder.position_at_end(end)
            return context.get_dummy_value()

        return types.void(*[types.intp] * 14), generate

    return tile


def _tile_body(
    builder, v, multiply_add, rows, columns,
    last, depth, A, a_row, a_step, B, b_step, ahead, init, init_row, out, out_row,
):  # fmt: skip
    """Writes the instructions of one tile of a fixed size."""
    wide, size = llvm_type(v.type), v.size
    scalar = wide.element

    def row_starts(base, distance):
        return [builder.add(base, builder.mul(distance, INT64(m))) for m in range(rows)]

    def column(base, j):
        return builder.add(base, INT64(j * v.lanes * size))

    a_rows = row_starts(A, a_row)
    with cgutils.for_range(builder, depth, intp=INT64) as loop:
        body = builder.block
        builder.position_after(loop.index)
        sums = [[builder.phi(wide) for _ in range(columns)] for _ in range(rows)]
        builder.position_at_end(body)
        b = builder.add(B, builder.mul(loop.index, b_step))
        offset = builder.mul(loop.index, a_step)
        prefetch(builder, builder.add(ahead, builder.mul(loop.index, INT64(64))))
        b_vectors = [builder.load(at(builder, column(b, j), wide), align=size) for j in range(columns)]
        following = []
        for m in range(rows):
            number = builder.load(at(builder, builder.add(a_rows[m], offset), scalar), align=size)
            a_vector = spread(builder, number, wide)
            following.append([multiply_add(builder, a_vector, b_vectors[j], sums[m][j]) for j in range(columns)])
    (_, before), (_, again) = loop.index.incomings
    for m in range(rows):
        for total, next_total in zip(sums[m], following[m]):
            total.add_incoming(ir.Constant(wide, None), before)
            total.add_incoming(next_total, again)

    def finish(j, read, write):
        for m, (start, end) in enumerate(zip(row_starts(init, init_row), row_starts(out, out_row))):
            write(column(end, j), builder.fadd(read(column(start, j)), sums[m][j]))

    def read(address):
        return builder.load(at(builder, address, wide), align=size)

    def write(address, total):
        builder.store(total, at(builder, address, wide), align=size)

    for j in range(columns - 1):
        finish(j, read, write)
    whole = builder.icmp_signed("==", last, INT64(v.lanes))
    with builder.if_else(whole) as (then, otherwise):
        with then:
            finish(columns - 1, read, write)
        with otherwise:  # what lies beside the result may be anything, and stays
            finish(
                columns - 1,
                lambda address: v.read(builder, address, last),
                lambda address, total: v.write(builder, address, last, total),
            )
