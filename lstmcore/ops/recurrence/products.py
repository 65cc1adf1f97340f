"""The products around the loop over time: `project` before it, `contract` after it.

All steps at once, one product each. Engines that have no products of their own call these two.
"""

from collections.abc import Mapping

from lstmcore.arrays import Array, namespace
from lstmcore.ops import gates
from lstmcore.ops.cells import Cell
from lstmcore.ops.matmul import product


def project(cell: Cell, x: Array, params: Mapping[str, Array]) -> Array:
    """The input part of all pre-activations, `a = x W_ih + b` (1): x (T, B, I) -> (T, B, K, H)."""
    xp = namespace(x)
    T, B, I = x.shape
    K = len(cell.gates)
    products = product(xp.reshape(x, (T * B, I)), params["W_ih"])  # (1)  (T B, len(input_blocks) H)
    bias = gates.split(bias_of(cell, params), K)  # (K, H)
    if len(cell.input_blocks) == K:
        a = gates.split(products, K) + bias
    else:
        a = gates.add(xp.broadcast_to(bias, (T * B, *bias.shape)), cell.input_blocks, products)
    return xp.reshape(a, (T, B, K, -1))


def bias_of(cell: Cell, params: Mapping[str, Array]) -> Array:
    """(K H,): the biases of all blocks, side by side; zero where there is none."""
    for name, blocks in cell.biases.items():
        if len(blocks) == len(cell.gates):
            return params[name]  # asked for in every pass: quickly where there is nothing to do
    biases = [params[name] for name in cell.biases]
    if sum(map(len, cell.biases.values())) == len(cell.gates):
        return namespace(biases[0]).concat(biases)
    W_ih, K = params["W_ih"], len(cell.gates)
    whole = namespace(W_ih).zeros((K, W_ih.shape[1] // len(cell.input_blocks)), dtype=W_ih.dtype)
    for b, blocks in zip(biases, cell.biases.values()):
        for j, k in enumerate(blocks):
            whole[k, ...] = gates.split(b, len(blocks))[j, ...]
    return namespace(W_ih).reshape(whole, (-1,))


def contract(
    cell: Cell, x: Array, h_prev: Array, da: Array, params: Mapping[str, Array], dx_wanted: bool = True
) -> tuple[Array, dict[str, Array]]:
    """Undoes (1) for all steps at once: x (T, B, I), h_prev (T, B, H), da (T, B, K, H) -> dx (T, B, I), dparams."""
    xp = namespace(x)
    T, B, I = x.shape
    da_x = xp.reshape(gates.join(da, cell.input_blocks), (T * B, -1))  # what reached x @ W_ih
    da_h = xp.reshape(gates.join(da, cell.recurrent_blocks), (T * B, -1))  # what reached h_prev @ W_hh
    sums = xp.sum(xp.sum(da, axis=1), axis=0)  # (K, H); rows, then steps: two short chains round less than a long one
    dbiases = {name: gates.join(sums, blocks) for name, blocks in cell.biases.items()}  # (19) (118)
    dW_hh = product(xp.reshape(h_prev, (T * B, -1)).T, da_h)  # (20)
    dW_ih = product(xp.reshape(x, (T * B, I)).T, da_x)  # (21)
    dx = xp.reshape(product(da_x, params["W_ih"].T), (T, B, I)) if dx_wanted else x[:0, ...]  # (22)
    return dx, {"W_ih": dW_ih, "W_hh": dW_hh, **dbiases}
