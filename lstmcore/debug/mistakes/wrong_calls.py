"""What the wrong lines call: every module that is compiled with mistakes knows these names.

`Arrays` is a dict of lstmcore's names, in which "0.bw.W_hh" is the W_hh of one layer and direction.
"""

from collections.abc import Callable

import numpy as np

from lstmcore.arrays import Array, namespace
from lstmcore.interop import LAYOUTS, Layout
from lstmcore.ops import gates

Arrays = dict[str, np.ndarray]
BLOCKED = "W_ih W_hh b gamma_x gamma_h beta"  # what has the gates side by side


def clipped(a: Array, limit: float) -> Array:
    """Every number brought into -limit .. limit."""
    return a / namespace(a).where(abs(a) > limit, abs(a) / limit, 1)


def norm_clipped(a: Array, limit: float) -> Array:
    """Scaled to a norm of `limit`, where it is longer."""
    xp = namespace(a)
    norm = xp.sum(a * a) ** 0.5
    return a / xp.where(norm > limit, norm / limit, 1)


def relu(a: Array) -> Array:
    return a * (a > 0)


def hard_sigmoid(a: Array, slope: float = 0.2) -> Array:
    """Keras 1 and 2: 0.2 a + 0.5, cut at 0 and 1; PyTorch and Keras 3: a / 6 + 1 / 2."""
    return clipped(slope * a, 0.5) + 0.5


def slopes(activated: Array) -> Array:
    """sigmoid' of i, f and o and tanh' of g, side by side: (B, 4, H) -> (B, 4 H); 1 where a gate is closed."""
    xp = namespace(activated)
    parts = [activated[:, k, :] for k in range(4)]
    slope = xp.concat([1 - s * s if k == 2 else s * (1 - s) for k, s in enumerate(parts)], axis=-1)
    return xp.where(slope > 0, slope, 1)


def block_products(a: Array, W: Array, factors: Array, K: int = 4) -> Array:
    """a W, gate by gate, each product times its own factors: (B, K H), (K H, H), (B, K H) -> (B, H)."""
    H = W.shape[-1]
    parts = [slice(k * H, (k + 1) * H) for k in range(K)]
    total = (a[:, parts[0]] @ W[parts[0], :]) * factors[:, parts[0]]
    for at in parts[1:]:
        total = total + (a[:, at] @ W[at, :]) * factors[:, at]
    return total


def without_block(a: Array, k: int, K: int) -> Array:
    """(..., K H) with block k zero; unchanged where there is no such block."""
    xp = namespace(a)
    kept = gates.split(a, K)  # (..., K, H)
    return xp.reshape(
        xp.concat([kept[..., :k, :], 0 * kept[..., k : k + 1, :], kept[..., k + 1 :, :]], axis=-2), a.shape
    )


def only_block(a: Array, k: int, K: int) -> Array:
    """(..., K H) with all other blocks zero."""
    return a - without_block(a, k, K)


def each(arrays: Arrays, kind: str, change: Callable[[np.ndarray], np.ndarray]) -> Arrays:
    """Every array of one kind, or of some ("W_ih", "W_ih b", ...; "" for all) changed."""
    kinds = kind.split()
    return {name: change(a) if not kinds or name.rsplit(".")[-1] in kinds else a for name, a in arrays.items()}


def in_order(arrays: Arrays, order: str, kinds: str = BLOCKED) -> Arrays:
    """What a program takes for i f g o, that reads blocks standing as i f g o as if they stood in `order`."""
    return _picked(arrays, tuple(order.index(g) for g in "ifgo"), kinds)


def out_of_order(arrays: Arrays, order: str, kinds: str = BLOCKED) -> Arrays:
    """The way back: blocks that stand as i f g o put in `order`."""
    return _picked(arrays, tuple("ifgo".index(g) for g in order), kinds)


def _picked(arrays: Arrays, blocks: tuple[int, ...], kinds: str) -> Arrays:
    return {
        name: gates.join(gates.split(a, len(blocks)), blocks) if name.rsplit(".")[-1] in kinds.split() else a
        for name, a in arrays.items()
    }


def block(a: np.ndarray, k: int, K: int = 4) -> np.ndarray:
    """A view of gate block k."""
    return gates.split(a, K)[..., k, :]


def with_block(a: np.ndarray, k: int, value: np.ndarray | float, K: int = 4) -> np.ndarray:
    """A copy with gate block k replaced."""
    a = a.copy()
    gates.split(a, K)[..., k, :] = value
    return a


def blocks_transposed(a: Array) -> Array:
    """Each square block of (H, K H) transposed."""
    xp = namespace(a)
    blocks = gates.split(a, a.shape[1] // a.shape[0])  # (H, K, H)
    return xp.reshape(xp.permute_dims(blocks, (2, 1, 0)), a.shape)


def swapped(arrays: Arrays, one: str, other: str) -> Arrays:
    """Two kinds of arrays taken for each other: "W_ih" and "W_hh", "h0" and "c0", or "fw" and "bw"."""
    places = {name: name.split(".") for name in arrays}
    partner = {one: other, other: one}
    return {name: arrays[".".join(partner.get(part, part) for part in parts)] for name, parts in places.items()}


def one_of_two(arrays: Arrays, layout: str | Layout, cell: str, which: int, factor: float) -> Arrays:
    """One of two summed biases multiplied by a factor: the first or the second of each block, by its number."""
    layout = LAYOUTS[layout] if isinstance(layout, str) else layout
    arrays = {name: a.copy() for name, a in arrays.items()}
    seen: list[str] = []
    for part in layout.cells[cell]:
        for k, g in enumerate(part.blocks if part.of == "b" else ""):
            if seen.count(g) == which:
                for name, a in arrays.items():
                    if name.endswith(part.key) or name.startswith(f"{part.key}_l"):
                        block(a.reshape(-1) if part.rows else a, k, len(part.blocks))[...] *= factor
            seen.append(g)
    return arrays


def input_weights(arrays: Arrays) -> list[str]:
    """The names of the W_ih that x itself meets: those of the first layer, in every direction."""
    return [name for name in arrays if name.endswith("W_ih") and name.split(".")[0] in ("W_ih", "fw", "bw", "0")]


def later(a: np.ndarray, steps: int = 1) -> np.ndarray:
    """Shifted in time by this many steps; zero (or false) where nothing was."""
    moved = np.zeros_like(a)
    if steps > 0:
        moved[steps:] = a[:-steps]
    else:
        moved[:steps] = a[-steps:]
    return moved


def batch_first_reshaped(a: np.ndarray) -> np.ndarray:
    """What a program gets that reshapes (B, T, .) into (T, B, .) where it should transpose."""
    return np.ascontiguousarray(a.swapaxes(0, 1)).reshape(a.shape)


def and_back(a: np.ndarray) -> np.ndarray:
    """Undoes `batch_first_reshaped`."""
    return a.reshape(a.shape[1], a.shape[0], *a.shape[2:]).swapaxes(0, 1)
