"""The parts of a gradient, layer by layer: what the ledger writes down."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from lstmcore.arrays import Array, is_float32_or_64, namespace, to_numpy
from lstmcore.debug.step.paths import paths, reached
from lstmcore.debug.step.rounding import (
    CONFIDENCE,
    Sizes,
    factors_rounded,
    step_back_errors,
    sum_error,
    unit_roundoff,
)
from lstmcore.debug.step.step_back import check_one_width, steps_back
from lstmcore.debug.step.visits import Visit
from lstmcore.layers import Embedding
from lstmcore.ops import gates
from lstmcore.ops.cpu.compiler import has_compiler
from lstmcore.ops.embedding import embedding_backward
from lstmcore.ops.masking import masking_forward
from lstmcore.ops.matmul import matmul


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
    reached: np.ndarray  # (K, P) bool: nothing on a path reaches the other gates, whatever the weights

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
    layer, cache = visit.as_recurrent()
    check_one_width(layer)
    cell = layer.cell
    xp = namespace(cache.x)
    T, B, I = cache.x.shape
    K, H = cache.gates.shape[2:]
    P, C, R = len(paths(cell)), len(cell.previous), I + H + 1
    rows = {"W_ih": slice(0, I), "W_hh": slice(I, I + H)} | {name: slice(I + H, None) for name in cell.biases}
    blocks = cell.fed_by
    columns = [(p, k) for p, ks in enumerate(reached(cell, split=True)) for k in ks]  # of `Step.da`: N of them
    N = len(columns)

    whole = xp.zeros((R, K, H), dtype=cache.x.dtype)
    for name in blocks:
        whole[rows[name], list(blocks[name]), :] = gates.split(visit.grads[name], len(blocks[name]))
    total, beside = (xp.zeros((N, H, R), dtype=cache.x.dtype) for _ in range(2))  # of each part; the whole beside it
    for n, (_, k) in enumerate(columns):
        beside[n, ...] = whole[:, k, :].T
    squares, along = xp.zeros((T, N, R)), xp.zeros((T, N, R))
    sizes = xp.zeros((T, N + P + P * C, H))  # squares of da, of what arrives and of what is carried, over the rows
    inputs = xp.ones((B, R), dtype=cache.x.dtype)  # x_t, h_{t-1}, and a column of ones for the biases
    kept = xp.zeros((T, P, R, K, H), dtype=cache.x.dtype) if keep else None
    for step in steps_back(visit):
        t = step.t
        inputs[:, :I], inputs[:, I:-1] = cache.x[t, ...], cache.states[0][t, ...]
        part = xp.reshape(matmul(xp.reshape(step.da, (B, -1)).T, inputs), (N, H, R))  # of all paths in one product
        _note(part, beside, total, squares[t, ...], along[t, ...])
        if kept is not None:
            for n, (p, k) in enumerate(columns):
                kept[t, p, :, k, :] = part[n, ...].T
        sizes[t, ...] = step.squares
    for n, (_, k) in enumerate(columns):
        whole[:, k, :] -= total[n, ...].T
    error = abs(to_numpy(whole))
    da_size, arriving, carry = np.split(to_numpy(sizes) / B, (N, N + P), axis=1)
    by_path = np.zeros((T, P, K, H))
    norms, products = np.zeros((2, R, T, K, P))
    for n, (p, k) in enumerate(columns):
        by_path[:, p, k] = da_size[:, n]
        norms[:, :, k, p], products[:, :, k, p] = to_numpy(squares)[:, n].T, to_numpy(along)[:, n].T
    allowed = _allowed(visit, Sizes(arriving, by_path, carry.reshape(T, P, C, H)))
    for name in blocks:
        some, ks = rows[name], list(blocks[name])
        yield _entry(
            visit,
            name,
            tuple(cell.gates[k] for k in ks),
            tuple(path.name for path in paths(cell)),
            np.sqrt(visit.in_time(norms[some].sum(0)[:, ks])),
            visit.in_time(products[some].sum(0)[:, ks]),
            error[some, ks],
            allowed[some, ks],
            None if kept is None else _as_weights(visit.in_time(kept)[:, :, some, ks, :]),
            np.array([[k in blocks_of for blocks_of in reached(cell, split=True)] for k in ks]),
        )


def _note(part: Array, whole: Array, total: Array, squares: Array, along: Array) -> None:
    """Adds a part (N, H, R) to the total; sums over units, (N, R), of its squares and of its products with the whole.

    The sums are in float64: the square of a float32 below 1e-19 is lost.
    """
    if isinstance(part, np.ndarray) and is_float32_or_64(part.dtype) and has_compiler():
        from lstmcore.debug.ledger.note_cpu import note_compiled

        note_compiled(part, whole, total, squares, along)
        return
    xp, wide = namespace(part), part.astype("float64")
    total += part
    squares[...] = xp.einsum("nhr,nhr->nr", wide, wide)
    along[...] = xp.einsum("nhr,nhr->nr", wide, whole)


def _as_weights(parts: Array) -> np.ndarray:
    """(T, P, rows, K, H) as the weight has it, (T, P, rows, K H); a bias has no rows."""
    joined = to_numpy(gates.join(parts, tuple(range(parts.shape[-2]))))
    return joined[:, :, 0] if joined.shape[2] == 1 else joined


def _allowed(visit: Visit, sizes: Sizes) -> np.ndarray:
    """(R, K, H): how far the engine's sum may lie from the ledger's. Row norms by step, times errors of da by step.

    sum_b x_tb e_tb has the standard deviation ||x_t|| e_t for independent rows; over the steps the errors may hang
    together (a rounding at step t goes on to t-1), so they are added. Then the sum itself, of T B terms, on both sides.
    """
    layer, cache = visit.as_recurrent()
    T, B = cache.gates.shape[:2]
    xp, endless = namespace(cache.x), [k for k, gate in enumerate(layer.cell.gates) if gate not in layer.cell.ends]
    free = [*cache.states, *(cache.gates[:, :, k, :] for k in endless)]  # what may be larger than 1
    largest = max(max(float(xp.max(a)), -float(xp.min(a))) for a in free)
    rounded = factors_rounded(cache)
    deviation, size = step_back_errors(layer.cell, layer.params["W_hh"], sizes, largest, rounded)
    spread = CONFIDENCE * (deviation + rounded * size) + 2 * sum_error(T * B) * np.sqrt(B) * size
    squares = [to_numpy(xp.einsum("tbr,tbr->tr", a, a)) for a in (cache.x, cache.states[0][:-1, ...])]
    lengths = np.sqrt(np.concatenate([*squares, np.full((T, 1), B)], axis=1))  # (T, R): ||x_t||, ||h_{t-1}||, ||1||
    bound = lengths.astype(float).T @ spread.reshape(T, -1)
    return unit_roundoff(cache.gates) * bound.reshape(-1, *size.shape[1:])


def rowwise_entries(visit: Visit, keep: bool) -> Iterator[Entry]:
    """The weights of a layer that works on each row alone, Linear or Embedding: its own backward, step by step."""
    assert visit.dy is not None
    xp = namespace(visit.dy)
    dy = masking_forward(visit.dy, visit.mask)
    table_of_rows = isinstance(visit.layer, Embedding)
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
                parts.append(embedding_backward(dy_t, x_t, visit.layer.params["W"]))
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
            np.ones((1, 1), bool),
        )


def _sizes(visit: Visit, inputs: Array, dy: Array, shape: tuple[int, ...]) -> np.ndarray:
    """A bound on the sums of |terms| of dW."""
    sizes = to_numpy(abs(dy)).reshape(-1, dy.shape[-1]).astype(float)
    if inputs.ndim == 2:  # indices
        return np.broadcast_to(sizes.sum(0), shape)
    return to_numpy(abs(inputs)).reshape(-1, inputs.shape[-1]).astype(float).T @ sizes


def _entry(
    visit: Visit,
    name: str,
    names: tuple[str, ...],
    paths: tuple[str, ...],
    norms: np.ndarray,
    products: np.ndarray,
    error: np.ndarray,
    allowed: np.ndarray,
    parts: np.ndarray | None,
    reached: np.ndarray,
) -> Entry:
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
    found = float(error[worst]), float(allowed[worst])
    return Entry(visit.key(name), names, paths, norms, shares, whole, *found, rows, parts, reached)


def at_padding(visit: Visit) -> float:
    """The largest number of the engine's own dx = da W_ih^T at a padded step: zero, if nothing came from there."""
    if visit.mask is None or visit.dx is None or visit.dx.ndim < 3:
        return 0.0
    padded = visit.dx[namespace(visit.mask).logical_not(visit.mask)]
    return float(abs(padded).max()) if padded.size else 0.0
