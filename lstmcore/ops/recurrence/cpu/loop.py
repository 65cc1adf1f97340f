"""The loop over time as compiled kernels: forward, and backward right below it.

A *task* runs all T steps for some rows of the batch, a tile (row_first to row_end), and some units of the layer (part
`part` of `parts`). Tasks that share the units of the same rows meet after every step.

Time runs in chunks of a few steps. Within a chunk the real (unmasked) rows of all its steps lie one behind the other in
scratch memory, numbered q. Masked ones are never gathered: padding costs nothing, and NaN in it goes nowhere. Products
over a chunk see enough rows to use the machine well even where the batch is small.

Shapes as everywhere: T time, B batch, I inputs, H units, K blocks, S states. Columns come in vectors of `lanes`, and
vectors in panels of up to four. Addresses and distances are in bytes. Numbers in brackets are the equations of
docs/derivation.md.
"""

from collections.abc import Callable

from lstmcore.ops.cells import Cell
from lstmcore.ops.cpu.barrier import meet
from lstmcore.ops.cpu.factors import factors as factors_of
from lstmcore.ops.cpu.jitable import jitable
from lstmcore.ops.cpu.memory import address, vectors
from lstmcore.ops.cpu.panels import packing, panel_range
from lstmcore.ops.cpu.tile import product as product_of
from lstmcore.ops.recurrence.cpu.contract import contract
from lstmcore.ops.recurrence.cpu.scratch import (
    backward_scratch,
    counter_of,
    forward_scratch,
    own_numbers,
    real_rows,
)
from lstmcore.ops.recurrence.cpu.step import step_backward, step_forward
from lstmcore.ops.recurrence.cpu.weights import backward_places, line, pack_backward, pack_forward, runs


@jitable
def turned(i, first, end, t):
    """The i of first to end in the order of step t: forward at even steps, back at odd ones."""
    return first + end - 1 - i if t % 2 else i


def forward(cell: Cell, kind: str) -> Callable:
    """The kernel that runs all steps of a task, with products of this kind of factors (ops/cpu/factors.py)."""
    K, S = len(cell.gates), len(cell.states)
    dtype, paired = factors_of(kind).dtype, factors_of(kind).per_word > 1
    v = vectors(dtype)
    lanes, size = v.lanes, v.size
    copy, clear, words, as_factors, _, _ = packing(kind)
    product, step, pack = product_of(kind), step_forward(cell, dtype), pack_forward(cell, kind)

    def forward(
        x,  # (T, B, I)
        mask,  # (T, B)
        state0,  # S arrays (B, H)
        states,  # (S, T+1, B, H): every step is kept, slot 0 is the initial one; or (S, 2, B, H): the last two
        gates,  # (T, B, K, H), or (0, B, K, H): not kept
        y,  # (T, B, H), or (0, B, H): not wanted
        x_kept,  # (T, B, I): x with zeros at masked steps; or (0, B, I): not wanted
        clean,  # (T, B): true where gates and x_kept hold zeros already; or (0, B) without x_kept
        W_ih,
        W_hh,
        bias,  # of all blocks
        packed,  # memory for the weights as the products read them
        groups,  # of the units
        panels,  # of the packed weights
        unpacked,  # how many of them are still to be packed: all, or none
        joined,  # whether the blocks of a row of `a` are: see weights.py
        edges,  # (tiles + 1,): the first row of each tile, and B
        parts,
        chunk,
        counters,  # zeros, where the tasks meet; and room for what `real_rows` tells: see scratch.py
        task,
        scratch,
    ):
        tile, part = task // parts, task % parts
        row_first, row_end, counter = edges[tile], edges[tile + 1], counter_of(counters, tile)
        T, B, I = x.shape
        _, slots, _, H = states.shape
        rows = row_end - row_first
        group_first, group_end = part * len(groups) // parts, (part + 1) * len(groups) // parts
        left, right = groups[group_first].first, groups[group_end - 1].end  # this part's units
        first_panel, end_panel = groups[group_first].recurrent_first, groups[group_end - 1].recurrent_end
        most = 0
        for g in range(len(groups)):
            most = max(most, groups[g].end - groups[g].first)
        numbers, starts = own_numbers(counters, task, len(edges) - 1, parts, chunk)
        x_row, a_row, a_block, a_group, x_rows, h_rows, a, _ = forward_scratch(
            rows, chunk, group_end - group_first, most, joined, K, I, H, lanes, size
        )
        x_rows, h_rows, a = scratch + x_rows, scratch + h_rows, scratch + a
        weights = line(address(packed))
        state_row, state_slot, state_size = H * size, B * H * size, slots * B * H * size
        keep_gates, keep_y, keep_x = gates.shape[0] > 0, y.shape[0] > 0, x_kept.shape[0] > 0

        pack(unpacked, address(counters), panels, W_ih, W_hh, bias, packed)
        for s in range(S):
            for b in range(row_first, row_end):
                here, given = address(states) + s * state_size + b * state_row, address(state0[s])
                copy(here + left * size, given + b * state0[s].strides[0] + left * size, right - left)
        meet(counter, parts, 1)

        for t_first in range(0, T, chunk):
            t_end = min(T, t_first + chunk)
            filled = real_rows(mask, row_first, row_end, t_first, t_end, numbers, starts)
            for t in range(t_first, t_end):
                for q in range(starts[t - t_first], starts[t - t_first + 1]):
                    x_here = address(x) + t * x.strides[0] + numbers[q] * x.strides[1]
                    as_factors(x_rows + q * x_row, x_here, I)
                    if keep_x and part == 0:
                        copy(address(x_kept) + (t * B + numbers[q]) * I * size, x_here, I)

            # a = x W_ih + b (1), for the rows of all steps of the chunk: each weight is fetched once for many rows.
            for g in range(group_first, group_end):
                for p in range(groups[g].input_first, groups[g].input_end):
                    panel = panels[p]
                    bias, b_row = weights + panel.start * lanes * size, -(-panel.columns // lanes) * lanes * size
                    product(
                        filled, panel.columns, words(panel.depth), x_rows, x_row, size, bias + b_row, b_row, bias, 0,
                        a + (g - group_first) * a_group + panel.block * a_block + panel.place * size, a_row,
                        weights + panels[min(p + 1, len(panels) - 1)].start * lanes * size,
                    )  # fmt: skip

            for t in range(t_first, t_end):
                q_first, q_end = starts[t - t_first], starts[t - t_first + 1]
                before = address(states) + t % slots * state_slot
                after = address(states) + (t + 1) % slots * state_slot
                kept = address(gates) + t * B * K * state_row if keep_gates else 0
                shown = address(y) + t * B * state_row if keep_y else 0
                # h_prev of the real rows, one behind the other: so it lies if all are real.
                if q_end - q_first == rows and not paired:
                    h_prev = before + row_first * state_row
                else:
                    h_prev = h_rows
                    for q in range(q_first, q_end):
                        as_factors(h_rows + (q - q_first) * state_row, before + numbers[q] * state_row, H)

                # Groups outside, rows inside: what the products give is at hand for the gate functions. To and fro, so
                # that a step begins with the weights that the one before it ended with: they are still in the cache.
                way = 1 - t % 2 * 2
                for i in range(group_first, group_end):
                    g = turned(i, group_first, group_end, t)
                    first, units = groups[g].first, groups[g].end - groups[g].first
                    a_here = a + (g - group_first) * a_group
                    for j in range(groups[g].recurrent_first, groups[g].recurrent_end):  # a += h_prev W_hh (1)
                        p = turned(j, groups[g].recurrent_first, groups[g].recurrent_end, t)
                        panel, following = panels[p], panels[max(first_panel, min(p + way, end_panel - 1))]
                        b_row = -(-panel.columns // lanes) * lanes * size
                        sums = a_here + panel.block * a_block + q_first * a_row + panel.place * size
                        product(
                            q_end - q_first, panel.columns, words(H), h_prev, state_row, size,
                            weights + panel.start * lanes * size, b_row, sums, a_row, sums, a_row,
                            weights + following.start * lanes * size,
                        )  # fmt: skip
                    places = a_here, before, after, kept, shown
                    step(q_first, q_end, units, numbers, places, (a_row, a_block, state_size), first, H)

                if q_end - q_first < rows:  # masked rows carry their state through (23); all else there is zero
                    place, count = left * size, right - left
                    for b in range(row_first, row_end):
                        if not mask[t, b]:
                            for s in range(S):
                                here = b * state_row + s * state_size + place
                                copy(after + here, before + here, count)
                            if keep_y:
                                clear(address(y) + (t * B + b) * H * size + place, count)
                            if keep_x and not clean[t, b]:
                                for k in range(K):
                                    clear(address(gates) + ((t * B + b) * K + k) * H * size + place, count)
                                if part == 0:
                                    clear(address(x_kept) + (t * B + b) * I * size, I)
                meet(counter, parts, t + 2)

    return forward


def backward(cell: Cell, kind: str) -> Callable:
    """The kernel that undoes all steps of a task, last step first."""
    K, S = len(cell.gates), len(cell.states)
    input_count, recurrent_count = len(cell.input_blocks), len(cell.recurrent_blocks)
    input_runs, recurrent_runs = runs(cell.input_blocks), runs(cell.recurrent_blocks)
    dtype, per_word = factors_of(kind).dtype, factors_of(kind).per_word
    v = vectors(dtype)
    lanes, size = v.lanes, v.size
    copy, clear, words, as_factors, _, _ = packing(kind)
    product, step, pack = product_of(kind), step_backward(cell, dtype), pack_backward(cell, kind)
    sums_of = contract(cell, kind)
    gather, add = sums_of.gather, sums_of.add

    def backward(
        x,  # (T, B, I)
        mask,  # (T, B)
        dy,  # (T, B, H)
        states,  # (S, T+1, B, H)
        gates,  # (T, B, K, H)
        W_ih,
        W_hh,  # without input_panels, the rows of W_ih below it
        packed,  # memory for both, transposed
        dstate_end,  # S arrays (B, H): the gradients of the final state
        dstate,  # (S, B, H): in the end the gradients of the initial one
        dx,  # (T, B, I), or (0, B, I): not wanted
        sums,  # (tiles, I + 1 + H, K, H): dW_ih, db and dW_hh, one below the other; zero at first
        shared,  # bytes for da of one chunk of every tile, where several parts work on it
        edges,
        parts,
        unit_panels,
        input_panels,
        chunk,
        counters,
        task,
        scratch,
    ):
        tile, part = task // parts, task % parts
        row_first, row_end = edges[tile], edges[tile + 1]
        T, B, I = x.shape
        H = states.shape[3]
        V, V_x, rows = -(-H // lanes), -(-I // lanes), row_end - row_first
        panel_first, panel_end = part * unit_panels // parts, (part + 1) * unit_panels // parts
        left = panel_first * V // unit_panels * lanes  # this part's units
        units = min(panel_end * V // unit_panels * lanes, H) - left
        x_panel_first, x_panel_end = part * input_panels // parts, (part + 1) * input_panels // parts
        x_left, x_right = 0, V_x  # this part's vectors of inputs
        if parts > 1:
            x_left, x_right = x_panel_first * V_x // input_panels, x_panel_end * V_x // input_panels
        numbers, starts = own_numbers(counters, task, len(edges) - 1, parts, chunk)
        beside = 0 if input_panels > 0 else I  # columns of dx that are computed beside those of dh_prev
        layout, dh_row, da_row, da_pairs, factors, dh_rows, da, panel, pairs, _ = backward_scratch(
            rows, chunk, beside, K, I, H, lanes, size, per_word
        )
        factors, dh_rows, panel, pairs = scratch + factors, scratch + dh_rows, scratch + panel, scratch + pairs
        da += scratch
        if parts > 1:  # room for all tiles
            da = line(address(shared)) + lanes * size + tile * ((len(shared) - 2 * 64) // (len(edges) - 1))
        da_left = da if per_word == 1 else da + da_pairs  # da as the left factor of products
        ih, hh = backward_places(address(packed), I - beside, input_count * words(H), lanes, size)
        state_row, state_slot, state_size = H * size, B * H * size, (T + 1) * B * H * size
        distances = dy.strides[1], state_slot, state_size, da_row, dh_row
        counter, meeting = counter_of(counters, tile), 0

        pack(input_panels + unit_panels, address(counters), W_ih, W_hh, packed, input_panels, unit_panels)
        for s in range(S):
            for b in range(row_first, row_end):
                here, given = address(dstate) + s * B * state_row + b * state_row, address(dstate_end[s])
                copy(here + left * size, given + b * dstate_end[s].strides[0] + left * size, units)

        for t_end in range(T, 0, -chunk):
            t_first = max(0, t_end - chunk)
            filled = real_rows(mask, row_first, row_end, t_first, t_end, numbers, starts)
            for t in range(t_first, t_end):  # what W_ih, b and W_hh were multiplied with: x, 1, h_prev
                for q in range(starts[t - t_first], starts[t - t_first + 1]):
                    x_here = address(x) + t * x.strides[0] + numbers[q] * x.strides[1]
                    h_prev = address(states) + t * state_slot + numbers[q] * state_row
                    gather(factors + q * layout[1], layout, x_here, I, h_prev, H)

            for t in range(t_end - 1, t_first - 1, -1):
                q_first, q_end = starts[t - t_first], starts[t - t_first + 1]
                places = (
                    address(dstate), address(dy) + t * dy.strides[0], address(gates) + t * B * K * state_row,
                    address(states) + t * state_slot, da, dh_rows - q_first * dh_row,
                )  # fmt: skip
                step(q_first, q_end, units, numbers, places, distances, left, B, H)
                if per_word > 1:
                    for q in range(q_first, q_end):
                        for k in range(K):
                            place = q * da_row + (k * words(H) + words(left)) * size
                            as_factors(da_left + place, da + q * da_row + (k * H + left) * size, units)
                meeting += 1
                meet(counter, parts, meeting)  # da of this step is complete

                if beside:
                    for q in range(q_end - q_first):
                        clear(dh_rows + q * dh_row + H * size, I)
                # dh_prev += da W_hh^T (18), neighbouring blocks of da in one; to and fro, as forward.
                way = 1 - t % 2 * 2
                for i in range(panel_first, panel_end):
                    p = turned(i, panel_first, panel_end, t)
                    u, width = panel_range(p, H, lanes, unit_panels)
                    following, _ = panel_range(max(panel_first, min(p + way, panel_end - 1)), H, lanes, unit_panels)
                    dh, columns = dh_rows + u * lanes * size, min(width * lanes, H + beside - u * lanes)
                    for first, count, place in recurrent_runs:
                        weights = hh + (recurrent_count * u + place * width) * words(H) * lanes * size
                        product(
                            q_end - q_first, columns, count * words(H),
                            da_left + q_first * da_row + first * words(H) * size, da_row, size,
                            weights, width * lanes * size, dh, dh_row, dh, dh_row,
                            hh + recurrent_count * following * words(H) * lanes * size,
                        )  # fmt: skip
                for q in range(q_first, q_end):  # back to its row; a masked row's gradient stays as it came (25)
                    dh = dh_rows + (q - q_first) * dh_row
                    copy(address(dstate) + numbers[q] * state_row + left * size, dh + left * size, units)
                    if beside:
                        copy(address(dx) + (t * B + numbers[q]) * I * size, dh + H * size, I)  # (22)

            # dW_ih, db, dW_hh += (x, 1, h_prev)^T da (19) to (21)
            sums_here = address(sums) + tile * (I + 1 + H) * K * state_row
            add(sums_here, I, H, filled, factors, layout, da, da_row, panel, pairs, part, parts)

            # dx = da W_ih^T (22), for the rows of all steps of the chunk, and to their places.
            if dx.shape[0] > 0:
                for p in range(x_panel_first, x_panel_end):
                    u, width = panel_range(p, I, lanes, input_panels)
                    dx_row, columns = width * lanes * size, min(width * lanes, I - u * lanes)
                    clear(panel, filled * width * lanes)
                    for first, count, place in input_runs:
                        weights = ih + (input_count * u + place * width) * words(H) * lanes * size
                        product(
                            filled, columns, count * words(H), da_left + first * words(H) * size, da_row, size,
                            weights, width * lanes * size, panel, dx_row, panel, dx_row,
                            weights + count * words(H) * width * lanes * size,
                        )  # fmt: skip
                    for t in range(t_first, t_end):
                        for q in range(starts[t - t_first], starts[t - t_first + 1]):
                            here = address(dx) + ((t * B + numbers[q]) * I + u * lanes) * size
                            copy(here, panel + q * dx_row, columns)
                if filled < rows * (t_end - t_first):  # masked rows: dx is zero
                    for t in range(t_first, t_end):
                        for b in range(row_first, row_end):
                            if not mask[t, b]:
                                here = address(dx) + ((t * B + b) * I + x_left * lanes) * size
                                clear(here, min(x_right * lanes, I) - x_left * lanes)
            meeting += 1
            meet(counter, parts, meeting)  # nobody needs da of this chunk any more

    return backward
