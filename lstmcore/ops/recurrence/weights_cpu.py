"""The weights of a layer in the order in which the loop's products read them: see ../compiled/panels_cpu.py.

Forward, panel by panel of units, the blocks of one panel side by side: W_ih and W_hh as they are. Backward, W_ih and
W_hh transposed. Packing is done anew in every call, since the weights may have changed, and costs a hundredth to a
twentieth of it. All that one pass reads lies in one array, one matrix behind the other.
"""

from collections.abc import Callable

from lstmcore.ops.cells import Cell
from lstmcore.ops.compiled.jitable_cpu import jitable
from lstmcore.ops.compiled.panels_cpu import packing, panel_range
from lstmcore.ops.compiled.vector_cpu import vectors


@jitable()
def forward_places(packed, I, H, inputs, recurrents, lanes, size):
    """Where W_ih, W_hh and the bias begin in the packed weights of the forward loop; they feed so many blocks."""
    row = -(-H // lanes) * lanes * size
    W_ih = _line(packed)
    W_hh = W_ih + inputs * I * row
    return W_ih, W_hh, W_hh + recurrents * H * row


@jitable()
def backward_places(packed, I, H, inputs, lanes, size):
    """Where W_ih and W_hh begin in the packed weights of the backward loop."""
    W_ih = _line(packed)
    return W_ih, W_ih + -(-I // lanes) * lanes * inputs * H * size


@jitable()
def _line(address):
    """The next start of a cache line of 64 bytes: a vector across two lines is fetched twice."""
    return (address + 63) // 64 * 64


def pack_forward(cell: Cell, dtype: str) -> Callable:
    """The kernel that packs W_ih, W_hh and the bias of every block for the forward loop; part `part` of `parts`."""
    K, input_count, recurrent_count = len(cell.gates), len(cell.input_blocks), len(cell.recurrent_blocks)
    v = vectors(dtype)
    lanes, size = v.lanes, v.size
    pack = packing(dtype).pack

    @jitable(dtype)
    def pack_blocks(W, place, count, H, u, width):
        """The panel that starts at vector u, of all `count` blocks of W (depth, count H)."""
        depth = W.shape[0]
        for j in range(count):
            start = place + (count * u + j * width) * depth * lanes * size
            pack(start, W.ctypes.data + j * H * size, W.shape[1] * size, depth, H, u, width)

    def pack_forward(W_ih, W_hh, bias, packed, panels, part, parts, scratch):
        I, H = W_ih.shape[0], W_hh.shape[0]
        ih, hh, b = forward_places(packed.ctypes.data, I, H, input_count, recurrent_count, lanes, size)
        for p in range(part * panels // parts, (part + 1) * panels // parts):
            u, width = panel_range(p, H, lanes, panels)
            pack_blocks(W_ih, ih, input_count, H, u, width)
            pack_blocks(W_hh, hh, recurrent_count, H, u, width)
            for k in range(K):  # bias (K H,), a row of vectors for each block
                start = b + (k * -(-H // lanes) + u) * lanes * size
                pack(start, bias.ctypes.data + k * H * size, 0, 1, H, u, width)

    return pack_forward


def pack_backward(cell: Cell, dtype: str) -> Callable:
    """The kernel that packs the transposes of W_ih and W_hh for the backward loop; part `part` of `parts` of each."""
    input_count = len(cell.input_blocks)
    v = vectors(dtype)
    lanes, size = v.lanes, v.size
    pack_transposed = packing(dtype).pack_transposed

    @jitable(dtype)
    def pack_panels(W, place, panels, part, parts):
        N, depth = W.shape
        for p in range(part * panels // parts, (part + 1) * panels // parts):
            u, width = panel_range(p, N, lanes, panels)
            start = place + u * depth * lanes * size
            pack_transposed(start, W.ctypes.data, depth * size, depth, N, u, width)

    def pack_backward(W_ih, W_hh, packed, input_panels, unit_panels, part, parts, scratch):
        ih, hh = backward_places(packed.ctypes.data, W_ih.shape[0], W_hh.shape[0], input_count, lanes, size)
        pack_panels(W_ih, ih, input_panels, part, parts)
        pack_panels(W_hh, hh, unit_panels, part, parts)

    return pack_backward
