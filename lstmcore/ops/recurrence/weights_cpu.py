"""The weights of a layer in the order in which the loop's products read them: see ../compiled/panels_cpu.py.

Forward, panel by panel of units, the blocks of one panel side by side: W_ih and W_hh as they are. Backward, W_ih and
W_hh transposed. Packing is done anew in every call, since the weights may have changed, and costs a hundredth to a
twentieth of it.
"""

from collections.abc import Callable

from lstmcore.ops.cells import Cell
from lstmcore.ops.compiled.jitable_cpu import jitable
from lstmcore.ops.compiled.panels_cpu import packing, panel_range
from lstmcore.ops.compiled.vector_cpu import vectors


def pack_forward(cell: Cell, dtype: str) -> Callable:
    """The kernel that packs W_ih, W_hh and the bias of every block for the forward loop."""
    K, input_count, recurrent_count = len(cell.gates), len(cell.input_blocks), len(cell.recurrent_blocks)
    v = vectors(dtype)
    lanes, size = v.lanes, v.size
    pack = packing(dtype).pack

    @jitable(dtype)
    def pack_blocks(W, packed, count, H, u, width):
        """The panel that starts at vector u, of all `count` blocks of W (depth, count H)."""
        depth = W.shape[0]
        for j in range(count):
            start = packed.ctypes.data + (count * u + j * width) * depth * lanes * size
            pack(start, W.ctypes.data + j * H * size, W.shape[1] * size, depth, H, u, width)

    def pack_forward(W_ih, W_hh, bias, packed_ih, packed_hh, packed_bias, panels, first, end, scratch):
        H = bias.shape[1]
        for p in range(first, end):
            u, width = panel_range(p, H, lanes, panels)
            pack_blocks(W_ih, packed_ih, input_count, H, u, width)
            pack_blocks(W_hh, packed_hh, recurrent_count, H, u, width)
            for k in range(K):  # bias (K, H), a row of vectors for each block
                start = packed_bias.ctypes.data + (k * -(-H // lanes) + u) * lanes * size
                pack(start, bias.ctypes.data + k * H * size, 0, 1, H, u, width)

    return pack_forward


def pack_backward(cell: Cell, dtype: str) -> Callable:
    """The kernel that packs the transposes of W_ih and W_hh for the backward loop; part `part` of `parts` of each."""
    v = vectors(dtype)
    lanes, size = v.lanes, v.size
    pack_transposed = packing(dtype).pack_transposed

    @jitable(dtype)
    def pack_panels(W, packed, panels, part, parts):
        N, depth = W.shape
        for p in range(part * panels // parts, (part + 1) * panels // parts):
            u, width = panel_range(p, N, lanes, panels)
            start = packed.ctypes.data + u * depth * lanes * size
            pack_transposed(start, W.ctypes.data, depth * size, depth, N, u, width)

    def pack_backward(W_ih, W_hh, packed_ih, packed_hh, input_panels, unit_panels, part, parts, scratch):
        pack_panels(W_ih, packed_ih, input_panels, part, parts)
        pack_panels(W_hh, packed_hh, unit_panels, part, parts)

    return pack_backward
