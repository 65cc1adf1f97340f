"""Who pays for a gradient: every weight's gradient, split by step, gate and path.

The gradient of a weight is a sum over steps, dW = sum_t x_t^T da_t, and da_t is a sum over two paths: what reached the
step through its output h_t, and what came along c (see step_back.py). The ledger writes down every part. All parts
together are the engine's own gradient, to rounding, which is checked; padded steps stand in it with exactly nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from lstmcore.arrays import Array, namespace, to_numpy
from lstmcore.debug.record import Run, Upstream, Visit, record
from lstmcore.debug.rounding import CONFIDENCE, step_back_errors, sum_error, unit_roundoff
from lstmcore.debug.step_back import StepBack, step_back
from lstmcore.debug.tables import bars, paragraphs, percent, spans, table
from lstmcore.layers import Embedding, Layer
from lstmcore.ops import gates
from lstmcore.ops.embedding import embedding_backward
from lstmcore.ops.masking import masking_forward

MUCH = 0.9  # "most of it" in words


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


@dataclass(frozen=True)
class Ledger:
    """The answer. Prints as a table of shares by step, and by gate and path."""

    entries: tuple[Entry, ...]
    padding: int  # how many steps of how many rows are padding, of
    places: int  # T B
    padding_gives: float  # the largest number that a padded step adds to any gradient

    @property
    def ok(self) -> bool:
        """True if all parts add up and padding gives exactly nothing."""
        return all(entry.ok for entry in self.entries) and self.padding_gives == 0

    def __getitem__(self, name: str) -> Entry:
        for entry in self.entries:
            if entry.name == name:
                return entry
        raise KeyError(f"no weight {name!r}; there are {', '.join(entry.name for entry in self.entries) or 'none'}")

    @property
    def findings(self) -> tuple[str, ...]:
        """The answer in words."""
        return tuple(_findings(self))

    def __str__(self) -> str:
        parts = [paragraphs(self.findings)]
        for group in _by_length(self.entries):
            where = spans(len(group[0].steps), 32)
            header = ["step", "rows", *(entry.name for entry in group)]
            rows = [
                [label, _range(group[0].rows[s]), *(percent(entry.steps[s].sum()) for entry in group)]
                for label, s in where
            ]
            parts.append(table(header, rows, "share of each step in the gradient"))
        rows = []
        for entry in self.entries:
            shares = entry.shares.sum(0)  # (K, P)
            for k, gate in enumerate(entry.gates):
                rows.append(
                    [entry.name if k == 0 else "", gate, percent(shares[k].sum()), bars(entry.shares[:, k].sum(-1))]
                    + [f"{path} {percent(shares[k, p])}" for p, path in enumerate(entry.paths) if len(entry.paths) > 1]
                )
        width = max((len(row) for row in rows), default=0)
        header = ["weight", "gate", "share", "over the steps", *[""] * (width - 4)]
        parts.append(table(header, rows, "by gate and path"))
        rows = [
            [e.name, f"{e.norm:.3e}", f"{e.error:.1e}", f"{e.allowed:.1e}", "" if e.ok else "WRONG"]
            for e in self.entries
        ]
        parts.append(table(["weight", "norm", "error", "allowed", ""], rows, "the parts against the engine's total"))
        return "\n\n".join(parts)

    def picture(self) -> Any:
        """A heat map per weight: norms over steps and gates. Needs matplotlib; returns its Figure."""
        from lstmcore.debug.picture import panels

        figure, axes = panels(len(self.entries))
        for axis, entry in zip(axes, self.entries):
            labels = [f"{g}, {p}" if len(entry.paths) > 1 else g for g in entry.gates for p in entry.paths]
            image = axis.imshow(entry.norms.reshape(len(entry.norms), -1).T, aspect="auto", interpolation="nearest")
            axis.set(title=f"d{entry.name}: norm of each part", xlabel="step")
            axis.set_yticks(range(len(labels)), labels)
            figure.colorbar(image, ax=axis)
        return figure


def ledger(
    layer: Layer,
    x: Array,
    dy: Upstream = None,
    *,
    state: Any = None,
    mask: Array | None = None,
    dstate: Any = None,
    dropout_seed: int | None = None,
    seed: int | None = 0,
    parts: bool = False,
) -> Ledger:
    """Splits the gradient of every weight of `layer` by step, gate and path.

    layer: any layer, container or model, on any engine. x (T, B, I), or integers for an Embedding; dy as y, or a loss
    `y -> (value, dy)`, or None: random from `seed`; state, mask (T, B), dstate as for the layer; dropout_seed: draw
    dropout masks from this seed. parts: keep every part as an array too (T times the memory of the weights, per path).
    Cost: at most two further forward + backward passes. Raises whatever the layer raises for bad input.
    """
    return ledger_of(
        record(layer, x, dy, state=state, mask=mask, dstate=dstate, dropout_seed=dropout_seed, seed=seed), parts
    )


def ledger_of(run: Run, parts: bool = False) -> Ledger:
    """The ledger of a training step that was recorded."""
    entries: list[Entry] = []
    padding_gives = 0.0
    for visit in run.visits:
        if not visit.grads:
            continue
        if visit.recurrent:
            back = step_back(visit)
            entries += _recurrent(visit, back, parts)
            padding_gives = max(padding_gives, _at_padding(visit, back))
        else:
            entries += _rowwise(visit, parts)
    mask = run.visits[0].mask
    places = int(np.prod(run.visits[0].x.shape[:2]))
    real = places if mask is None else int(to_numpy(mask).sum())
    return Ledger(tuple(entries), places - real, places, padding_gives)


def _recurrent(visit: Visit, back: StepBack, keep: bool) -> Iterator[Entry]:
    """The weights of a recurrent layer: three products in one, [x, h_prev, 1]^T da, step by step and path by path."""
    layer: Any = visit.layer
    cell, cache, params = layer.cell, visit.cache, layer.params
    xp = namespace(cache.x)
    T, _, I = cache.x.shape
    K, H = cache.gates.shape[2:]
    P = len(back.paths)
    inputs = xp.concat([cache.x, cache.states[0][:-1, ...], xp.ones_like(cache.x[..., :1])], axis=-1)  # (T, B, R)
    rows = {"W_ih": slice(0, I), "W_hh": slice(I, I + H)} | {name: slice(I + H, None) for name in cell.biases}
    blocks = {"W_ih": cell.input_blocks, "W_hh": cell.recurrent_blocks} | cell.biases
    whole = xp.zeros((I + H + 1, K, H), dtype=cache.gates.dtype)
    for name in params:
        whole[rows[name], list(blocks[name]), :] = gates.split(visit.grads[name], len(blocks[name]))
    total = xp.zeros_like(whole)
    squares, along = (xp.empty((T, P, 3, K), dtype=whole.dtype) for _ in range(2))  # 3: of W_ih, W_hh, biases
    kept = xp.empty((T, P, *whole.shape), dtype=whole.dtype) if keep else None
    for t in range(T):
        for p in range(P):
            da = gates.join(back.da(t, p), tuple(range(K)))  # (B, K H)
            part = gates.split(inputs[t, ...].T @ da, K)  # (R, K, H)
            total += part
            for out, other in ((squares, part), (along, whole)):
                by_row = xp.einsum("rkh,rkh->rk", part, other)
                out[t, p, 0, :], out[t, p, 1, :] = xp.sum(by_row[:I], axis=0), xp.sum(by_row[I:-1], axis=0)
                out[t, p, 2, :] = by_row[-1]
            if kept is not None:
                kept[t, p, ...] = part
    error = to_numpy(abs(total - whole))
    allowed = _allowed(visit, back, inputs)
    norms, products = (to_numpy(visit.in_time(a)).astype(float) for a in (squares, along))
    for name in params:
        at, ks = list(params).index(name) if name in ("W_ih", "W_hh") else 2, list(blocks[name])
        yield _entry(
            visit,
            name,
            tuple(cell.gates[k] for k in ks),
            back.paths,
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


def _allowed(visit: Visit, back: StepBack, inputs: Array) -> np.ndarray:
    """(R, K, H): how far the engine's sum may lie from the ledger's. Row norms by step, times errors of da by step.

    sum_b x_tb e_tb has the standard deviation ||x_t|| e_t for independent rows; over the steps the errors may hang
    together (a rounding at step t goes on to t-1), so they are added. Then the sum itself, of T B terms, on both sides.
    """
    layer: Any = visit.layer
    xp = namespace(inputs)
    T, B, R = inputs.shape
    c = visit.cache.states[-1]
    c_size = float(xp.max(xp.abs(c))) if "c" in layer.cell.states else 1.0
    deviation, size = step_back_errors(layer.cell, layer.params["W_hh"], back, c_size)
    lengths = np.sqrt(to_numpy(xp.sum(inputs * inputs, axis=1)).astype(float))  # (T, R)
    spread = CONFIDENCE * deviation + 2 * sum_error(T * B) * np.sqrt(B) * size
    bound = lengths.T @ spread.reshape(T, -1)
    return unit_roundoff(inputs) * bound.reshape(R, *size.shape[1:])


def _rowwise(visit: Visit, keep: bool) -> Iterator[Entry]:
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


def _at_padding(visit: Visit, back: StepBack) -> float:
    """The largest |da| at a padded step: what it would add to the gradients."""
    if visit.cache.mask is None:
        return 0.0
    padded = namespace(visit.cache.mask).logical_not(visit.cache.mask)
    found = [abs(slope.da[padded] * d[padded][:, None, :]) for slope, d in zip(back.slopes, back.arriving)]
    return max(float(f.max()) if f.size else 0.0 for f in found)


def _by_length(entries: tuple[Entry, ...]) -> list[list[Entry]]:
    """Entries that share their steps stand in one table, at most eight to a table."""
    groups: list[list[Entry]] = []
    for entry in entries:
        if not groups or len(groups[-1][0].steps) != len(entry.steps) or len(groups[-1]) == 8:
            groups.append([])
        groups[-1].append(entry)
    return groups


def _range(rows: np.ndarray) -> str:
    return f"{rows.min()}" if rows.min() == rows.max() else f"{rows.min()}..{rows.max()}"


def _findings(book: Ledger) -> Iterator[str]:
    for entry in book.entries:
        if not np.isfinite(entry.norm):
            yield f"d{entry.name} is not finite: ask the tripwire where it begins"
        elif not entry.ok:
            yield (
                f"WRONG: the parts of d{entry.name} do not add up to the engine's gradient: off by "
                f"{entry.error:.1e}, where rounding explains {entry.allowed:.1e}"
            )
    if book.padding:
        gives = "exactly nothing" if book.padding_gives == 0 else f"up to {book.padding_gives:.1e}: WRONG"
        yield f"{book.padding} of {book.places} steps are padding; they give {gives}"
    for entry in book.entries:
        T = len(entry.steps)
        if T == 1 or not entry.norm > 0:
            if entry.norm == 0:
                yield f"{entry.name} has no gradient at all"
            continue
        norms = np.sqrt((entry.norms**2).sum((1, 2)))
        learning, real = int((norms > 0).sum()), int((entry.rows > 0).sum())
        yield f"{entry.name} learns from {learning} of {real} real steps; {_concentration(norms)}"


def _concentration(norms: np.ndarray) -> str:
    """The shortest run of steps that holds most of the sum of the norms."""
    sums = np.concatenate([[0.0], np.cumsum(norms)])
    T = len(norms)
    for length in range(1, T + 1):
        inside = sums[length:] - sums[:-length]
        t = int(np.argmax(inside))
        if inside[t] >= MUCH * sums[-1]:
            where = f"step {t}" if length == 1 else f"steps {t} to {t + length - 1}"
            return f"{percent(MUCH)} of what the steps give comes from {where}"
    return "it comes from all of them"
