"""The weights of a layer in the order in which the loop's products read them: see ops/cpu/panels.py.

Backward that is W_ih and W_hh transposed, one behind the other. Forward, units may be cut into groups, of which a
thread works on one after the other, and a table says, panel by panel, which columns of which matrix give which part of
`a`. Narrow layers whose units do not fill their vectors have their blocks joined: a row of `a` holds them one behind
the other without a gap, and they are cut into panels as if they were one wide block. 4 x 24 columns fill six vectors,
four blocks by themselves eight.

Packing is done anew in every call, since the weights may have changed, and costs a hundredth to a twentieth of it. The
tasks of a call do it together before they begin.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from lstmcore.ops.cells import Cell
from lstmcore.ops.cpu.barrier import together
from lstmcore.ops.cpu.factors import factors
from lstmcore.ops.cpu.jitable import jitable
from lstmcore.ops.cpu.memory import address, vectors
from lstmcore.ops.cpu.panels import packing, panel_count, panel_range

JOINED = 128  # units at most: what a product gives should still be in the cache when the gate functions come

GROUPS = np.dtype([(name, np.int64) for name in (
    "first", "end",  # units
    "input_first", "input_end",  # panels of W_ih, or of the bias alone: every number of a row of `a` once
    "recurrent_first", "recurrent_end",  # panels of W_hh
)])  # fmt: skip
PANELS = np.dtype([(name, np.int64) for name in (
    "start",  # in the packed weights, in vectors; those of an input panel begin with the bias
    "depth",  # rows of the matrix
    "column",  # of the matrix
    "bias",  # first number of the bias; -1: a panel of W_hh
    "block", "place",  # in `a`: of which block, how many numbers behind its first one
    "columns",
)])  # fmt: skip


class Layout(NamedTuple):
    """The weights of the forward loop."""

    groups: np.ndarray
    panels: np.ndarray
    joined: bool
    numbers: int  # in the packed weights


def forward_layout(cell: Cell, I: int, H: int, kind: str, parts: int) -> Layout:
    """How the units and the weights, factors of this kind, are cut on `parts` threads."""
    K, lanes, words = len(cell.gates), vectors(factors(kind).dtype).lanes, factors(kind).words
    joined = parts == 1 and H <= JOINED and H % lanes > 0
    count = 1 if joined else panel_count(H, lanes, parts)
    groups = np.zeros(count, GROUPS)
    panels: list[tuple[int, ...]] = []
    edges = [g * -(-H // lanes) // count * lanes for g in range(count)] + [H]
    unfed = tuple(k for k in range(K) if k not in cell.input_blocks)
    start = 0

    def cut(blocks, left, units, depth, recurrent):
        """The panels of the matrix that feeds `blocks`, for some units."""
        nonlocal start
        first_panel = len(panels)
        for first, many, before in runs(blocks) if joined else [(k, 1, place) for place, k in enumerate(blocks)]:
            N = many * units
            for p in range(panel_count(N, lanes, 1)):
                vector, width = panel_range(p, N, lanes, panel_count(N, lanes, 1))
                done = vector * lanes
                panels.append((
                    start, depth, before * H + left + done, -1 if recurrent else first * H + left + done,
                    first, done, min(width * lanes, N - done),
                ))  # fmt: skip
                start += (words(depth) + (not recurrent)) * width
        return first_panel, len(panels)

    for g in range(count):
        left, units = edges[g], edges[g + 1] - edges[g]
        first, _ = cut(cell.input_blocks, left, units, I, False)
        _, end = cut(unfed, left, units, 0, False)
        groups[g] = left, left + units, first, end, 0, 0
    for g in range(count):  # behind the others, so that what every step reads lies together
        left, units = edges[g], edges[g + 1] - edges[g]
        groups[g]["recurrent_first"], groups[g]["recurrent_end"] = cut(cell.recurrent_blocks, left, units, H, True)
    return Layout(groups, np.array(panels, PANELS), joined, start * lanes)


def runs(blocks: tuple[int, ...]) -> tuple[tuple[int, int, int], ...]:
    """Neighbouring blocks joined: (first block, how many, how many blocks of the weight matrix come before)."""
    found: list[tuple[int, int, int]] = []
    for place, k in enumerate(blocks):
        if found and sum(found[-1][:2]) == k:
            first, count, before = found[-1]
            found[-1] = (first, count + 1, before)
        else:
            found.append((k, 1, place))
    return tuple(found)


@jitable
def line(address):
    """The next start of a cache line of 64 bytes: a vector across two lines is fetched twice."""
    return (address + 63) // 64 * 64


@jitable
def backward_places(packed, I, depth, lanes, size):
    """Where W_ih, of whose transpose each column is `depth` numbers, and W_hh begin in the packed weights of the
    backward loop."""
    W_ih = line(packed)
    return W_ih, W_ih + -(-I // lanes) * lanes * depth * size


def pack_forward(cell: Cell, kind: str) -> Callable:
    """The compiled pack(panels, counters, W_ih, W_hh, bias, packed): the weights of the forward loop, by all tasks."""
    v = vectors(factors(kind).dtype)
    lanes, size = v.lanes, v.size
    pack, pack_bias = packing(kind).pack, packing(factors(kind).dtype).pack

    @jitable
    def pack_panel(p, panels, W_ih, W_hh, bias, packed):
        panel = panels[p]
        out = line(address(packed)) + panel.start * lanes * size
        width = (panel.columns + lanes - 1) // lanes
        W = W_hh
        if panel.bias >= 0:
            pack_bias(out, address(bias) + panel.bias * size, 0, 1, panel.columns, 0, width)
            out += width * lanes * size
            W = W_ih
        source = address(W) + panel.column * size
        pack(out, source, W.shape[1] * size, panel.depth, panel.columns, 0, width)

    return together(pack_panel)


def pack_backward(cell: Cell, kind: str) -> Callable:
    """The compiled pack(panels of both, counters, W_ih, W_hh, packed, panels of W_ih, of W_hh): the transposes of W_ih
    and W_hh for the backward loop, by all tasks. Of factors in pairs, every block begins with a word of its own.
    """
    input_count = len(cell.input_blocks)
    v = vectors(factors(kind).dtype)
    lanes, size = v.lanes, v.size
    words, pack_transposed, paired = packing(kind).words, packing(kind).pack_transposed, factors(kind).per_word > 1

    @jitable
    def pack_panel(p, W_ih, W_hh, packed, input_panels, unit_panels):
        inputs = W_ih.shape[0] if input_panels > 0 else 0  # without panels of their own, its rows stand below W_hh's
        H = W_ih.shape[1] // input_count
        ih, hh = backward_places(address(packed), inputs, input_count * words(H), lanes, size)
        W, place, panels = W_ih, ih, input_panels
        if p >= input_panels:
            W, place, panels, p = W_hh, hh, unit_panels, p - input_panels
        N, columns = W.shape
        each = H if paired else columns  # of which the words are packed one behind the other
        u, width = panel_range(p, N, lanes, panels)
        start = place + u * (columns // each) * words(each) * lanes * size
        for first in range(0, columns, each):
            pack_transposed(start, address(W) + first * size, columns * size, each, N, u, width)
            start += words(each) * width * lanes * size

    return together(pack_panel)
