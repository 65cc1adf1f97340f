"""A walk over the columns of many rows, vector by vector, as if all rows were one.

Where a row ends within a vector, the next row fills the other lanes: two rows of 24 are three vectors, not four. Rows
shorter than a vector take one each.
"""

from collections.abc import Callable

from lstmcore.ops.cpu.jitable import jitable
from lstmcore.ops.cpu.memory import vectors


def walk(dtype: str, visit: Callable) -> Callable:
    """The compiled walk(first row, end, columns, *rest): visit(row, column, here, there, *rest) for every vector.

    `here` lanes belong to row `row` from `column` on, and `there` lanes behind them to the start of the next row.
    `visit` should be inlined, for most vectors lie whole within a row.
    """
    lanes = vectors(dtype).lanes

    @jitable
    def walk(first, end, columns, *rest):
        column = 0
        for row in range(first, end):
            while column + lanes <= columns:
                visit(row, column, lanes, 0, *rest)
                column += lanes
            here, there = columns - column, 0
            if here > 0:
                if columns > lanes and row + 1 < end:
                    there = lanes - here
                visit(row, column, here, there, *rest)
            column = there

    return walk
