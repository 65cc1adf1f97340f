"""The loop over time as compiled kernels: forward, and backward right below it.

A call of a kernel is one *task*: it runs all T steps for some rows of the batch (row_first to row_end) and
some units of the layer (part `part` of `parts`). Tasks that share the units of the same rows meet after every step.

Time runs in chunks of a few steps. Within a chunk the real (unmasked) rows of all its steps lie one behind the other in
scratch memory, numbered q. Masked ones are never gathered: padding costs nothing, and NaN in it goes nowhere. Products
over a chunk see enough rows to use the machine well even where the batch is small.

Shapes as everywhere: T time, B batch, I inputs, H units, K blocks, S states. Units come in vectors of `lanes`, and
vectors in panels of up to four; `u` counts vectors. Addresses and distances are in bytes. Numbers in brackets are the
equations of docs/derivation.md.
"""

from collections.abc import Callable

import numpy as np

from lstmcore.ops.cells import Cell
from lstmcore.ops.compiled.barrier_cpu import meet
from lstmcore.ops.compiled.jitable_cpu import jitable
from lstmcore.ops.compiled.maths_cpu import vector_maths
from lstmcore.ops.compiled.panels_cpu import packing, panel_range
from lstmcore.ops.compiled.tile_cpu import product as product_of
from lstmcore.ops.compiled.vector_cpu import vectors
from lstmcore.ops.recurrence.scratch_cpu import DEPTH, backward_scratch, forward_scratch, real_rows
from lstmcore.ops.recurrence.weights_cpu import backward_places, forward_places


def forward(cell: Cell, dtype: str) -> Callable:
    """The kernel that runs all steps of a task."""
    K, S = len(cell.gates), len(cell.states)
    input_count, recurrent_count = len(cell.input_blocks), len(cell.recurrent_blocks)
    recurrent_blocks = cell.recurrent_blocks
    input_place = tuple(cell.input_blocks.index(k) if k in cell.input_blocks else -1 for k in range(K))
    P = len(cell.previous)  # the step reads the last P states of step t - 1
    v = vectors(dtype)
    lanes, size, load_each, store_each, store_some = v.lanes, v.size, v.load_each, v.store_each, v.store_some
    copy, clear, product = packing(dtype).copy, packing(dtype).clear, product_of(dtype)
    step_forward = jitable(dtype)(cell.make_step(vector_maths(dtype))[0])

    def forward(
        x,  # (T, B, I)
        mask,  # (T, B)
        states,  # (S, T+1, B, H): every step is kept; or (S, 2, B, H): the last two. Slot 0 holds the initial state
        gates,  # (T, B, K, H), or (0, B, K, H): not kept
        y,  # (T, B, H), or (0, B, H): not wanted
        x_kept,  # (T, B, I): x with zeros at masked steps; or (0, B, I): not wanted
        clean,  # (T, B): true where gates and x_kept hold zeros already; or (0, B) without x_kept
        packed,  # W_ih, W_hh and bias
        row_first,
        row_end,
        part,
        parts,
        panels,
        chunk,
        counter,  # (1,) where the parts meet
        scratch,
    ):
        T, B, I = x.shape
        _, slots, _, H = states.shape
        V, rows = -(-H // lanes), row_end - row_first
        panel_first, panel_end = part * panels // parts, (part + 1) * panels // parts
        left, right = panel_first * V // panels, panel_end * V // panels  # this part's vectors of units
        numbers, starts = np.empty(rows * chunk, np.int64), np.empty(chunk + 1, np.int64)
        x_row, h_row, x_rows, h_rows, a, _ = forward_scratch(rows, chunk, K, I, H, lanes, size)
        x_rows, h_rows, a = scratch.ctypes.data + x_rows, scratch.ctypes.data + h_rows, scratch.ctypes.data + a
        W_ih, W_hh, bias = forward_places(packed.ctypes.data, I, H, input_count, recurrent_count, lanes, size)
        a_row = (right - left) * lanes * size
        a_block = rows * chunk * a_row
        state_row, state_slot, state_size = H * size, B * H * size, slots * B * H * size
        keep_gates, keep_y, keep_x = gates.shape[0] > 0, y.shape[0] > 0, x_kept.shape[0] > 0

        for t_first in range(0, T, chunk):
            t_end = min(T, t_first + chunk)
            filled = real_rows(mask, row_first, row_end, t_first, t_end, numbers, starts)
            for t in range(t_first, t_end):
                for q in range(starts[t - t_first], starts[t - t_first + 1]):
                    copy(x_rows + q * x_row, x.ctypes.data + t * x.strides[0] + numbers[q] * x.strides[1], I)
                    if keep_x and part == 0:
                        copy(x_kept.ctypes.data + (t * B + numbers[q]) * I * size, x_rows + q * x_row, I)

            # a = x W_ih + b (1), for the rows of all steps of the chunk: each weight is fetched once for many rows.
            for p in range(panel_first, panel_end):
                u, width = panel_range(p, H, lanes, panels)
                for k in range(K):
                    depth = I if input_place[k] >= 0 else 0  # a block without inputs starts from its bias
                    weights = W_ih + (input_count * u + input_place[k] * width) * I * lanes * size
                    product(
                        filled, width, depth, x_rows, x_row, size, weights, width * lanes * size,
                        bias + (k * V + u) * lanes * size, 0,
                        a + k * a_block + (u - left) * lanes * size, a_row,
                    )  # fmt: skip

            for t in range(t_first, t_end):
                q_first, q_end = starts[t - t_first], starts[t - t_first + 1]
                before = states.ctypes.data + t % slots * state_slot
                after = states.ctypes.data + (t + 1) % slots * state_slot
                if q_end - q_first == rows:  # h_prev of the real rows, one behind the other: so it lies if all are real
                    h_prev, h_distance = before + row_first * state_row, state_row
                else:
                    h_prev, h_distance = h_rows, h_row
                    for q in range(q_first, q_end):
                        copy(h_rows + (q - q_first) * h_row, before + numbers[q] * state_row, H)

                # Panels outside, rows inside: the weights of a panel stay in the cache while all rows pass.
                for p in range(panel_first, panel_end):
                    u, width = panel_range(p, H, lanes, panels)
                    for j in range(recurrent_count):  # a += h_prev W_hh (1)
                        here = a + recurrent_blocks[j] * a_block + q_first * a_row + (u - left) * lanes * size
                        weights = W_hh + (recurrent_count * u + j * width) * H * lanes * size
                        product(
                            q_end - q_first, width, H, h_prev, h_distance, size, weights, width * lanes * size,
                            here, a_row, here, a_row,
                        )  # fmt: skip
                    for q in range(q_first, q_end):  # the step, one vector of units at a time, while a is at hand
                        for unit in range(u, u + width):
                            place, count = unit * lanes * size, H - unit * lanes
                            old = before + numbers[q] * state_row + place
                            blocks = load_each(K, a + q * a_row + place - left * lanes * size, a_block, lanes)
                            previous = load_each(P, old + (S - P) * state_size, state_size, count)
                            result = step_forward(*(blocks + previous))
                            store_each(result[K:], after + numbers[q] * state_row + place, state_size, count)
                            if keep_gates:
                                here = gates.ctypes.data + (t * B + numbers[q]) * K * H * size + place
                                store_each(result[:K], here, H * size, count)
                            if keep_y:
                                store_some(y.ctypes.data + (t * B + numbers[q]) * H * size + place, count, result[K])

                if q_end - q_first < rows:  # masked rows carry their state through (23); all else there is zero
                    place, count = left * lanes * size, min(right * lanes, H) - left * lanes
                    for b in range(row_first, row_end):
                        if not mask[t, b]:
                            for s in range(S):
                                here = b * state_row + s * state_size + place
                                copy(after + here, before + here, count)
                            if keep_y:
                                clear(y.ctypes.data + (t * B + b) * H * size + place, count)
                            if keep_x and not clean[t, b]:
                                for k in range(K):
                                    clear(gates.ctypes.data + ((t * B + b) * K + k) * H * size + place, count)
                                if part == 0:
                                    clear(x_kept.ctypes.data + (t * B + b) * I * size, I)
                meet(counter.ctypes.data, parts, t + 1)

    return forward


def backward(cell: Cell, dtype: str) -> Callable:
    """The kernel that undoes all steps of a task, last step first."""
    K, S = len(cell.gates), len(cell.states)
    input_count, recurrent_count = len(cell.input_blocks), len(cell.recurrent_blocks)
    input_runs, recurrent_runs = runs(cell.input_blocks), runs(cell.recurrent_blocks)
    feeds_x = tuple(k in cell.input_blocks for k in range(K))
    feeds_h = tuple(k in cell.recurrent_blocks for k in range(K))
    P, C = len(cell.previous), len(cell.current)  # the last P states of step t - 1, and the last C of step t
    h_is_previous = "h" in cell.previous
    v = vectors(dtype)
    lanes, size, load, store, load_each, store_each = v.lanes, v.size, v.load, v.store, v.load_each, v.store_each
    load_some, store_some, constant = v.load_some, v.store_some, v.constant
    zero, one = np.dtype(dtype).type(0), np.dtype(dtype).type(1)
    copy, clear, product = packing(dtype).copy, packing(dtype).clear, product_of(dtype)
    step_backward = jitable(dtype)(cell.make_step(vector_maths(dtype))[1])

    @jitable(cell.name, dtype)
    def split(dprevious):
        """The gradients of the states that the step read: h's, zero if it read no h; and those of the other states."""
        if h_is_previous:
            return dprevious[0], dprevious[1:]
        return constant(zero), dprevious

    def backward(
        x,  # (T, B, I)
        mask,  # (T, B)
        dy,  # (T, B, H)
        states,  # (S, T+1, B, H)
        gates,  # (T, B, K, H)
        packed,  # W_ih and W_hh, transposed
        dstate,  # (S, B, H): gradients of the final state, in the end those of the initial one
        dx,  # (T, B, I)
        sums,  # (tasks, I + 1 + H, K, V lanes): dW_ih, db and dW_hh, one below the other; zero at first
        shared,  # bytes for da of one chunk, where several parts work on it
        row_first,
        row_end,
        task,  # which of `sums`
        part,
        parts,
        unit_panels,
        input_panels,
        chunk,
        counter,
        scratch,
    ):
        T, B, I = x.shape
        H = states.shape[3]
        V, V_x, M, rows = -(-H // lanes), -(-I // lanes), I + 1 + H, row_end - row_first
        panel_first, panel_end = part * unit_panels // parts, (part + 1) * unit_panels // parts
        left, right = panel_first * V // unit_panels, panel_end * V // unit_panels
        x_panel_first, x_panel_end = part * input_panels // parts, (part + 1) * input_panels // parts
        x_left, x_right = x_panel_first * V_x // input_panels, x_panel_end * V_x // input_panels
        numbers, starts = np.empty(rows * chunk, np.int64), np.empty(chunk + 1, np.int64)
        factor_row, dh_row, da_row, factors, dh_rows, da, panel, _ = backward_scratch(rows, chunk, K, I, H, lanes, size)
        factors, dh_rows, panel = (
            factors + scratch.ctypes.data,
            dh_rows + scratch.ctypes.data,
            panel + scratch.ctypes.data,
        )
        da = shared.ctypes.data if parts > 1 else da + scratch.ctypes.data
        W_ih, W_hh = backward_places(packed.ctypes.data, I, H, input_count, lanes, size)
        state_row, state_slot, state_size = H * size, B * H * size, (T + 1) * B * H * size
        sums_row, sums_block = K * V * lanes * size, V * lanes * size
        meeting = 0

        for t_end in range(T, 0, -chunk):
            t_first = max(0, t_end - chunk)
            filled = real_rows(mask, row_first, row_end, t_first, t_end, numbers, starts)
            for t in range(t_first, t_end):  # what W_ih, b and W_hh were multiplied with: x, 1, h_prev
                for q in range(starts[t - t_first], starts[t - t_first + 1]):
                    here = factors + q * factor_row
                    copy(here, x.ctypes.data + t * x.strides[0] + numbers[q] * x.strides[1], I)
                    store_some(here + I * size, 1, constant(one))
                    copy(here + (I + 1) * size, states.ctypes.data + t * state_slot + numbers[q] * state_row, H)

            for t in range(t_end - 1, t_first - 1, -1):
                q_first, q_end = starts[t - t_first], starts[t - t_first + 1]
                for q in range(q_first, q_end):  # undo the step: dh (with dy) and the other states' gradients give da
                    for unit in range(left, right):
                        place, count = unit * lanes * size, H - unit * lanes
                        dstate_here = dstate.ctypes.data + numbers[q] * state_row + place
                        old = states.ctypes.data + t * state_slot + numbers[q] * state_row + place
                        kept_here = gates.ctypes.data + (t * B + numbers[q]) * K * H * size + place
                        dy_here = dy.ctypes.data + t * dy.strides[0] + numbers[q] * dy.strides[1] + place
                        dstates = load_each(S, dstate_here, B * H * size, count)
                        dh = dstates[0] + load_some(dy_here, count)
                        kept = load_each(K, kept_here, H * size, count)
                        previous = load_each(P, old + (S - P) * state_size, state_size, count)
                        current = load_each(C, old + state_slot + (S - C) * state_size, state_size, count)
                        result = step_backward(*((dh,) + dstates[1:] + kept + previous + current))
                        store_each(result[:K], da + q * da_row + place, H * size, count)
                        dh_prev, others = split(result[K:])
                        store(dh_rows + (q - q_first) * dh_row + place, dh_prev)
                        store_each(others, dstate_here + B * H * size, B * H * size, count)
                meeting += 1
                meet(counter.ctypes.data, parts, meeting)  # da of this step is complete

                for p in range(panel_first, panel_end):  # dh_prev += da W_hh^T (18), neighbouring blocks of da in one
                    u, width = panel_range(p, H, lanes, unit_panels)
                    here = dh_rows + u * lanes * size
                    for first, count, place in recurrent_runs:
                        weights = W_hh + (recurrent_count * u + place * width) * H * lanes * size
                        product(
                            q_end - q_first, width, count * H, da + q_first * da_row + first * H * size, da_row, size,
                            weights, width * lanes * size, here, dh_row, here, dh_row,
                        )  # fmt: skip
                for q in range(q_first, q_end):  # back to its row; a masked row's gradient stays as it came (25)
                    for unit in range(left, right):
                        place, count = unit * lanes * size, H - unit * lanes
                        dh = load(dh_rows + (q - q_first) * dh_row + place)
                        store_some(dstate.ctypes.data + numbers[q] * state_row + place, count, dh)

            # dW_ih, db, dW_hh += (x, 1, h_prev)^T da (19) to (21), in blocks of DEPTH rows.
            for q_first in range(0, filled, DEPTH):
                depth = min(DEPTH, filled - q_first)
                for k in range(K):
                    m_first, m_end = 0 if feeds_x[k] else I, M if feeds_h[k] else I + 1  # every block has a bias
                    for p in range(panel_first, panel_end):
                        u, width = panel_range(p, H, lanes, unit_panels)
                        here = sums.ctypes.data + (task * M + m_first) * sums_row + k * sums_block + u * lanes * size
                        product(
                            m_end - m_first, width, depth,
                            factors + q_first * factor_row + m_first * size, size, factor_row,
                            da + q_first * da_row + (k * H + u * lanes) * size, da_row,
                            here, sums_row, here, sums_row,
                        )  # fmt: skip

            # dx = da W_ih^T (22), for the rows of all steps of the chunk, and to their places.
            for p in range(x_panel_first, x_panel_end):
                u, width = panel_range(p, I, lanes, input_panels)
                dx_row = width * lanes * size
                clear(panel, filled * width * lanes)
                for first, count, place in input_runs:
                    weights = W_ih + (input_count * u + place * width) * H * lanes * size
                    product(
                        filled, width, count * H, da + first * H * size, da_row, size, weights, width * lanes * size,
                        panel, dx_row, panel, dx_row,
                    )  # fmt: skip
                for t in range(t_first, t_end):
                    for q in range(starts[t - t_first], starts[t - t_first + 1]):
                        here = dx.ctypes.data + ((t * B + numbers[q]) * I + u * lanes) * size
                        copy(here, panel + q * dx_row, min(width * lanes, I - u * lanes))
            if filled < rows * (t_end - t_first):  # masked rows: dx is zero
                for t in range(t_first, t_end):
                    for b in range(row_first, row_end):
                        if not mask[t, b]:
                            here = dx.ctypes.data + ((t * B + b) * I + x_left * lanes) * size
                            clear(here, min(x_right * lanes, I) - x_left * lanes)
            meeting += 1
            meet(counter.ctypes.data, parts, meeting)  # nobody needs da of this chunk any more

    return backward


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
