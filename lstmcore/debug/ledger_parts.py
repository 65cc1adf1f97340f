"""The parts of a gradient, layer by layer: what the ledger writes down."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from lstmcore.arrays import Array, namespace, to_numpy
from lstmcore.debug.record import Visit
from lstmcore.debug.rounding import CONFIDENCE, Sizes, step_back_errors, sum_error, unit_roundoff
from lstmcore.debug.step_back import PATHS, steps_back
from lstmcore.layers import Embedding
from lstmcore.ops import gates
from lstmcore.ops.embedding import embedding_backward
from lstmcore.ops.masking import masking_forward


class Entry(NamedTuple):
    """One weight's gradient. Steps are steps of the input, whatever the direction of the layer."""

    name: str  # as in params: "0.fw.W_hh"
    gates: tuple[str, ...]  # K names; ("all",) for a layer without gates
    paths: tuple[str, ...]  # P names; ("all",) for a layer without paths
    norms: np.ndarray  # (T, K, P) the norm of each part
    shares: np.ndarray  # (T, K, P) each part's component along the whole, over the whole: they add up to 1
    norm: float  # of the engine's gradient
    error: float  # max |sum of the parts - the engine's gradient|
    allowed: float  # what rounding explains of it, at that place
    rows: np.ndarray  # (T,) how many rows of the batch have a real step
    parts: np.ndarray | None  # (T, P, *shape of the weight), if asked for

    @property
    def ok(self) -> bool:
        """True if the parts add up to the engine's gradient."""
        return self.error <= self.allowed  # a NaN is not

    @property
    def steps(self) -> np.ndarray:
        """(T,) the share of each step."""
        return self.shares.sum((1, 2))


def recurrent_entries(visit: Visit, keep: bool) -> Iterator[Entry]:
    """The weights of a recurrent layer: three products in one, [x, h_prev, 1]^T da, step by step and path by path."""
    layer: Any = visit.layer
    cell, cache, params = layer.cell, visit.cache, layer.params
    xp = namespace(cache.x)
    T, B, I = cache.x.shape
    K, H = cache.gates.shape[2:]
    paths = PATHS[cell.name]
    P, R = len(paths), I + H + 1
    rows = {"W_ih": slice(0, I), "W_hh": slice(I, I + H)} | {name: slice(I + H, None) for name in cell.biases}
    blocks = {"W_ih": cell.input_blocks, "W_hh": cell.recurrent_blocks} | cell.biases

    def room(*shape: int) -> Array:
        return xp.zeros(shape, dtype=cache.gates.dtype)

    whole, total = room(R, K, H), room(R, K, H)
    for name in params:
        whole[rows[name], list(blocks[name]), :] = gates.split(visit.grads[name], len(blocks[name]))
    wide, wide_part = whole.astype("float64"), xp.zeros((R, K, H))  # the square of a float32 below 1e-19 is lost
    squares, along = (xp.zeros((T, P, 3, K)) for _ in range(2))  # 3: of W_ih, W_hh, biases
    arriving, da_size, carry = room(T, P, H), room(T, P, K, H), room(T, P, H)
    lengths = room(T, R)  # the norm of each input over the rows, squared
    inputs = room(B, R)  # x_t, h_{t-1}, and a column of ones for the biases
    inputs[:, -1] = 1
    das: dict[int, Array] = {}  # da by path: rooms that every step uses again, since fresh memory is slow
    kept = room(T, P, R, K, H) if keep else None
    for step in steps_back(visit):
        t = step.t
        inputs[:, :I], inputs[:, I:-1] = cache.x[t, ...], cache.states[0][t, ...]
        lengths[t, :] = xp.einsum("br,br->r", inputs, inputs)
        for p in range(P):
            some = step.blocks(p)
            reached = slice(some[0], some[-1] + 1)
            if p not in das:
                das[p] = room(B, len(some), H)
            da = das[p]
            for j, k in enumerate(some):
                da[:, j, :] = step.da[p][k]
            part = gates.split(inputs.T @ xp.reshape(da, (B, -1)), len(some))  # (R, n, H)
            total[:, reached, :] += part
            if kept is not None:
                kept[t, p, :, reached, :] = part
            wide_part[:, reached, :] = part
            for out, other in ((squares, wide_part), (along, wide)):
                by_row = xp.einsum("rkh,rkh->rk", wide_part[:, reached, :], other[:, reached, :])
                out[t, p, 0, reached], out[t, p, 1, reached] = by_row[:I].sum(axis=0), by_row[I:-1].sum(axis=0)
                out[t, p, 2, reached] = by_row[-1]
            arriving[t, p, :] = xp.einsum("bh,bh->h", step.arriving[p], step.arriving[p])
            da_size[t, p, reached, :] = xp.einsum("bkh,bkh->kh", da, da)
            if step.carry[p] is not None:
                carry[t, p, :] = xp.einsum("bh,bh->h", step.carry[p], step.carry[p])
    error = to_numpy(abs(total - whole))
    sizes = Sizes(*(to_numpy(a).astype(float) / B for a in (arriving, da_size, carry)))
    allowed = _allowed(visit, sizes, to_numpy(lengths).astype(float))
    norms, products = (to_numpy(visit.in_time(a)).astype(float) for a in (squares, along))
    for name in params:
        at, ks = list(params).index(name) if name in ("W_ih", "W_hh") else 2, list(blocks[name])
        yield _entry(
            visit,
            name,
            tuple(cell.gates[k] for k in ks),
            paths,
            np.sqrt(np.moveaxis(norms[:, :, at, ks], 1, 2)),
            np.moveaxis(products[:, :, at, ks], 1, 2),
            error[rows[name], ks],
            allowed[rows[name], ks],
            None if kept is None else _as_weights(visit.in_time(kept)[:, :, rows[name], ks, :]),
        )


def _as_weights(parts: Array) -> np.ndarray:
    """(T, P, rows, K, H) as the weight has it, (T, P, rows, K H); a bias has no rows."""
    joined = to_numpy(gates.join(parts, tuple(range(parts.shape[-2]))))
    return joined[:, :, 0] if joined.shape[2] == 1 else joined


def _allowed(visit: Visit, sizes: Sizes, lengths: np.ndarray) -> np.ndarray:
    """(R, K, H): how far the engine's sum may lie from the ledger's. Row norms by step, times errors of da by step.

    sum_b x_tb e_tb has the standard deviation ||x_t|| e_t for independent rows; over the steps the errors may hang
    together (a rounding at step t goes on to t-1), so they are added. Then the sum itself, of T B terms, on both sides.
    lengths: (T, R) the squares of ||x_t||.
    """
    layer: Any = visit.layer
    T, B = visit.cache.gates.shape[:2]
    c_size = float(abs(visit.cache.states[-1]).max()) if "c" in layer.cell.states else 1.0
    deviation, size = step_back_errors(layer.cell, layer.params["W_hh"], sizes, c_size)
    spread = CONFIDENCE * deviation + 2 * sum_error(T * B) * np.sqrt(B) * size
    bound = np.sqrt(lengths).T @ spread.reshape(T, -1)
    return unit_roundoff(visit.cache.gates) * bound.reshape(-1, *size.shape[1:])


def rowwise_entries(visit: Visit, keep: bool) -> Iterator[Entry]:
    """The weights of a layer that works on each row alone: its own backward, step by step."""
    layer: Any = visit.layer
    xp = namespace(visit.dy)
    dy: Any = masking_forward(visit.dy, visit.mask)
    table_of_rows = isinstance(layer, Embedding)
    inputs = visit.cache.index if table_of_rows else visit.cache.x
    timeless = dy.ndim == 2  # a head over final states: one step, the last
    if timeless:
        dy, inputs = dy[None, ...], inputs[None, ...]
    for name, whole in visit.grads.items():
        parts = []
        for x_t, dy_t in zip(inputs, dy):
            if name == "b":
                parts.append(xp.sum(dy_t, axis=0))
            elif table_of_rows:
                parts.append(embedding_backward(dy_t, x_t, layer.params["W"]))
            else:
                parts.append(x_t.T @ dy_t)
        found = to_numpy(xp.stack(parts))  # (T, *shape)
        whole = to_numpy(whole)
        size = abs(found).astype(float).sum(0) if name == "b" else _sizes(visit, inputs, dy, whole.shape)
        yield _entry(
            visit,
            name,
            ("all",),
            ("all",),
            np.sqrt((found.astype(float) ** 2).reshape(len(found), -1).sum(1))[:, None, None],
            (found.astype(float) * whole).reshape(len(found), -1).sum(1)[:, None, None],
            abs(found.sum(0) - whole),
            2 * sum_error(int(np.prod(dy.shape[:2]))) * unit_roundoff(dy) * size,
            found[:, None] if keep else None,
        )


def _sizes(visit: Visit, inputs: Array, dy: Array, shape: tuple[int, ...]) -> np.ndarray:
    """A bound on the sums of |terms| of dW."""
    sizes = to_numpy(abs(dy)).reshape(-1, dy.shape[-1]).astype(float)
    if inputs.ndim == 2:  # indices
        return np.broadcast_to(sizes.sum(0), shape)
    return to_numpy(abs(inputs)).reshape(-1, inputs.shape[-1]).astype(float).T @ sizes


def _entry(visit, name, names, paths, norms, products, error, allowed, parts) -> Entry:
    """An entry, once the largest excess is found and the shares are divided by the whole."""
    whole = float(np.linalg.norm(to_numpy(visit.grads[name]).astype(float)))
    with np.errstate(divide="ignore", invalid="ignore"):
        worst = np.unravel_index(np.argmax(np.where(error == 0, 0, error / allowed)), error.shape)
    T = len(norms)
    mask = None if visit.mask is None or len(visit.mask) != T else to_numpy(visit.mask)
    rows = (
        np.full(T, visit.x.shape[0 if visit.y.ndim == 2 and not visit.recurrent else 1])
        if mask is None
        else mask.sum(1)
    )
    shares = products / whole**2 if whole > 0 else np.zeros_like(products)
    rows = visit.in_time(rows)
    return Entry(
        visit.key(name), names, paths, norms, shares, whole, float(error[worst]), float(allowed[worst]), rows, parts
    )


def at_padding(visit: Visit) -> float:
    """The largest number of the engine's own dx = da W_ih^T at a padded step: zero, if nothing came from there."""
    if visit.mask is None or visit.dx is None or visit.dx.ndim < 3:
        return 0.0
    padded = visit.dx[namespace(visit.mask).logical_not(visit.mask)]
    return float(abs(padded).max()) if padded.size else 0.0
