"""The weight gradients of a chunk of steps: dW_ih, db, dW_hh += (x, 1, h_prev)^T da, in compiled code.

What the weights were multiplied with, the factors x, 1 and h_prev of a row, is gathered side by side; so all three
gradients are one product. It is summed in blocks of DEPTH rows. If rows are long, these lie in more pages of
memory than the processor finds at once: then the factors lie in blocks of some columns, and da is packed, panel by
panel. Factors that stand in pairs (ops/cpu/factors.py) are always packed so, a block of x, 1 and h_prev as well, and
twice as many rows are summed at once.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from lstmcore.ops.cells import Cell
from lstmcore.ops.cpu.factors import factors as factors_of
from lstmcore.ops.cpu.jitable import jitable
from lstmcore.ops.cpu.memory import vectors
from lstmcore.ops.cpu.panels import packing, panel_range
from lstmcore.ops.cpu.tile import product as product_of
from lstmcore.ops.recurrence.cpu.scratch import DEPTH, PAGED, WIDTH

MANY = 128  # rows of a weight gradient from which packing da pays: it is then read that many times


class Contract(NamedTuple):
    """layout: columns of a block of the factors, distances of its rows and from one block to the next."""

    gather: Callable  # (factors of a row, layout, x of a row, I, h_prev of a row, H)
    add: Callable  # (sums, I, H, rows, factors, layout, da, its row, memory for panels, for pairs, part, parts)


def contract(cell: Cell, kind: str) -> Contract:
    """The compiled functions of one cell and kind of factors. Addresses and distances are in bytes."""
    K, feeds = len(cell.gates), fed_alike(cell)
    dtype, per_word = factors_of(kind).dtype, factors_of(kind).per_word
    paired, most = per_word > 1, DEPTH * per_word
    v = vectors(dtype)
    lanes, size, store_some, constant = v.lanes, v.size, v.store_some, v.constant
    one = np.dtype(dtype).type(1)
    copy, words, pack, product = packing(kind).copy, packing(kind).words, packing(kind).pack, product_of(kind)

    @jitable
    def append(place, column, source, count, columns, block):
        """`count` numbers to a row that lies in blocks of `columns` numbers; where the next one belongs."""
        done = 0
        while done < count:
            piece = min(count - done, columns - column)
            copy(place + column * size, source + done * size, piece)
            done, column = done + piece, column + piece
            if column == columns:
                place, column = place + block, 0
        return place, column

    @jitable
    def gather(place, layout, x, I, h_prev, H):
        columns, _, block = layout
        if columns == I + 1 + H:
            copy(place, x, I)
            store_some(place + I * size, 1, constant(one))
            copy(place + (I + 1) * size, h_prev, H)
        else:
            place, column = append(place, 0, x, I, columns, block)
            store_some(place + column * size, 1, constant(one))
            place, column = (place, column + 1) if column + 1 < columns else (place + block, 0)
            append(place, column, h_prev, H, columns, block)

    @jitable
    def add(sums, I, H, rows, factors, layout, da, da_row, panel, pairs, part, parts):
        """The sums (I + 1 + H, K, H) get what `rows` rows of da give; part `part` of `parts` of their columns."""
        factor_columns, factor_row, factor_block = layout
        M, sums_row = I + 1 + H, K * H * size
        packed = paired or (M >= MANY and da_row > PAGED)
        panel_size = DEPTH * WIDTH * lanes * size if factor_columns < M else 0  # 0: each is read once, and overwritten
        for q in range(0, rows, most):
            depth = min(most, rows - q)
            for first, count, with_x, with_h in feeds:
                m_first, m_end = 0 if with_x else I, M if with_h else I + 1  # and the sum for a bias
                N = count * H
                panels = (-(-N // lanes) + WIDTH * parts - 1) // (WIDTH * parts) * parts
                p_first, p_end = part * panels // parts, (part + 1) * panels // parts
                da_here = da + q * da_row + first * H * size
                m = m_first
                while m < m_end:  # rows outside: a block of the factors stays in the cache for all columns
                    block, column = m // factor_columns, m % factor_columns
                    height = min(m_end - m, factor_columns - column)
                    left, left_step = factors + block * factor_block + q * factor_row + column * size, factor_row
                    if paired:
                        width = (height + lanes - 1) // lanes
                        pack(pairs, left, factor_row, depth, height, 0, width)
                        left, left_step = pairs, width * lanes * size
                    for p in range(p_first, p_end):
                        u, width = panel_range(p, N, lanes, panels)
                        columns = min(width * lanes, N - u * lanes)
                        here = sums + m * sums_row + (first * H + u * lanes) * size
                        there, distance = da_here + u * lanes * size, da_row
                        if packed:
                            place, distance = panel + (p - p_first) * panel_size, width * lanes * size
                            if m == m_first:
                                pack(place, there, da_row, depth, columns, 0, width)
                            there = place
                        product(
                            height, columns, words(depth), left, size, left_step,
                            there, distance, here, sums_row, here, sums_row, there,
                        )  # fmt: skip
                    m += height

    return Contract(gather, add)


def fed_alike(cell: Cell) -> tuple[tuple[int, int, bool, bool], ...]:
    """Neighbouring blocks with the same operands: (first block, how many, whether x feeds them, whether h does)."""
    found: list[tuple[int, int, bool, bool]] = []
    for k in range(len(cell.gates)):
        fed = k in cell.input_blocks, k in cell.recurrent_blocks
        if found and found[-1][2:] == fed:
            found[-1] = (found[-1][0], found[-1][1] + 1, *fed)
        else:
            found.append((k, 1, *fed))
    return tuple(found)
