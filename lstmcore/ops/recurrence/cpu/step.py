"""One step of the loop for many rows in compiled code: forward, and its undoing right below it.

The mathematics is the cell's own text, over vectors of units in place of arrays. This file says where its operands lie.
The rows of a step are walked over as if they were one (ops/cpu/walk.py): a vector holds `here` units of row q
and `there` units of row q + 1, whose addresses are called `_next`. So 24 units cost one and a half vectors, not two.

Shapes: B batch, H units, K blocks, S states. numbers[q] is the place of row q in the batch. Units `first` and following
are computed. Addresses and distances are in bytes.
"""

from collections.abc import Callable

import numpy as np

from lstmcore.ops.cells import Cell
from lstmcore.ops.cpu.jitable import inlined, jitable
from lstmcore.ops.cpu.maths import vector_maths
from lstmcore.ops.cpu.memory import vectors
from lstmcore.ops.cpu.walk import walk


def step_forward(cell: Cell, dtype: str) -> Callable:
    """The compiled step(first row, end, units, numbers, places, distances, first, H).

    places: `a` (of the units from `first` on), the states before and after the step, and (B, K, H) gates and (B, H) y,
    or 0 for what is not wanted. distances: of the rows and of the blocks of `a`, of one state from the next.
    """
    K, S, P = len(cell.gates), len(cell.states), len(cell.previous)  # the step reads the last P states before it
    v = vectors(dtype)
    size, load_across, store_across = v.size, v.load_across, v.store_across
    compute = inlined(cell.make_step(vector_maths(dtype))[0])

    @inlined
    def step_forward(q, unit, here, there, numbers, places, distances, first, H):
        a, before, after, gates, y = places
        a_row, a_block, state_size = distances
        b, b_next, column, column_next = numbers[q], numbers[q + (there > 0)], first + unit, first - here
        state, state_next = (b * H + column) * size, (b_next * H + column_next) * size
        old, old_next = before + (S - P) * state_size + state, before + (S - P) * state_size + state_next
        a_here, a_next = a + q * a_row + unit * size, a + (q + 1) * a_row - here * size
        blocks = load_across(K, a_here, a_next, a_block, here, there)
        previous = load_across(P, old, old_next, state_size, here, there)
        result = compute(*(blocks + previous))
        store_across(result[K:], after + state, after + state_next, state_size, here, there)
        if gates:
            gate, gate_next = (b * K * H + column) * size, (b_next * K * H + column_next) * size
            store_across(result[:K], gates + gate, gates + gate_next, H * size, here, there)
        if y:
            store_across((result[K],), y + state, y + state_next, 0, here, there)

    return walk(dtype, step_forward)


def step_backward(cell: Cell, dtype: str) -> Callable:
    """The compiled step(first row, end, units, numbers, places, distances, first, B, H), which undoes step_forward.

    places: the gradients of the states (S, B, H), which are read and, but for h's, replaced by those of the states
    before; dy, gates (B, K, H), the states before the step; da (of all units), and dh_prev as far as the step itself
    gives it. distances: of the rows of dy, from one step of the states to the next, from one state to the next, of the
    rows of da and dh_prev.
    """
    K, S = len(cell.gates), len(cell.states)
    P, C = len(cell.previous), len(cell.current)  # the last P states before the step, and the last C after it
    h_is_previous = "h" in cell.previous
    v = vectors(dtype)
    size, load_across, store_across, constant = v.size, v.load_across, v.store_across, v.constant
    zero = np.dtype(dtype).type(0)
    compute = inlined(cell.make_step(vector_maths(dtype))[1])

    @jitable
    def split(dprevious):
        """The gradients of the states that the step read: h's, zero if it read no h; and those of the other states."""
        if h_is_previous:
            return dprevious[:1], dprevious[1:]
        return (constant(zero),), dprevious

    @inlined
    def step_backward(q, unit, here, there, numbers, places, distances, first, B, H):
        dstate, dy, gates, before, da, dh_prev = places
        dy_row, state_slot, state_size, da_row, dh_row = distances
        b, b_next = numbers[q], numbers[q + (there > 0)]
        place, place_next = (first + unit) * size, (first - here) * size
        state, state_next = b * H * size + place, b_next * H * size + place_next
        gate, gate_next = b * K * H * size + place, b_next * K * H * size + place_next
        old, new = before + (S - P) * state_size, before + state_slot + (S - C) * state_size
        dstates = load_across(S, dstate + state, dstate + state_next, B * H * size, here, there)
        dys = load_across(1, dy + b * dy_row + place, dy + b_next * dy_row + place_next, 0, here, there)
        kept = load_across(K, gates + gate, gates + gate_next, H * size, here, there)
        previous = load_across(P, old + state, old + state_next, state_size, here, there)
        current = load_across(C, new + state, new + state_next, state_size, here, there)
        result = compute(*((dstates[0] + dys[0],) + dstates[1:] + kept + previous + current))
        da_here, da_next = da + q * da_row + place, da + (q + 1) * da_row + place_next
        store_across(result[:K], da_here, da_next, H * size, here, there)
        dh, others = split(result[K:])
        dh_here, dh_next = dh_prev + q * dh_row + place, dh_prev + (q + 1) * dh_row + place_next
        store_across(dh, dh_here, dh_next, 0, here, there)
        other = dstate + B * H * size
        store_across(others, other + state, other + state_next, B * H * size, here, there)

    return walk(dtype, step_backward)
