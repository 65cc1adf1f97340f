"""Random training steps with mistakes planted in them, and an LSTM that knows nothing of lstmcore."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

import lstmcore as lc
from lstmcore.debug.case import Case
from lstmcore.debug.diagnose.read_case import Reading, readings
from lstmcore.debug.mistakes import Mistake, mutant
from lstmcore.interop import from_lstmcore
from lstmcore.layers import Layer

SUMMED = ("bias_ih", "bias_hh")  # torch's two biases: both made different from zero


@dataclass(frozen=True)
class Step:
    """The arguments of `diagnose`, less the gradients."""

    weights: dict[str, np.ndarray]
    x: np.ndarray
    dy: np.ndarray
    options: dict[str, Any]

    def read(self, grads: dict[str, np.ndarray]) -> Reading:
        return readings(self.weights, self.x, self.dy, grads, **self.options)[0]

    @cached_property
    def case_and_model(self) -> tuple[Case, Layer]:
        """What the arguments are read as: the same for all mistakes."""
        case, model, *_ = self.read({name: np.zeros(w.shape, self.x.dtype) for name, w in self.weights.items()})
        return case._replace(grads={}), model

    def gradients(self, *mistakes: Mistake, dtype: str = "float64") -> dict[str, np.ndarray]:
        """All gradients with these mistakes, computed in this dtype."""
        case, model = self.case_and_model
        engine = mutant(*mistakes)
        given = cast(engine.prepare(case), dtype)
        with np.errstate(all="ignore"):
            return cast(engine.hand_over(engine.run(model, *given), case), dtype)


def random_step(
    seed: int,
    shape: tuple[int, int, int, int] = (6, 3, 4, 4),
    cell: str = "lstm",
    both: bool = False,
    mask: str = "right",
    layout: str = "lstmcore",
    final: bool = False,
    dtype: str = "float32",
    dropout: str = "",
    layers: int = 1,
) -> Step:
    """A layer, or both directions, with random weights, states, mask and upstream gradients. shape: T, B, I, H.

    dropout: "x", "y" or "xy": on the inputs, on the outputs; "0", "01", ...: on what layers below the top give.
    """
    rng = np.random.default_rng(seed)
    T, B, I, H = shape
    make = {"lstm": lc.LSTM, "gru": lc.GRU, "rnn": lc.RNN}[cell]
    out = H * (1 + both)
    each = [lc.Bidirectional(make(n, H), make(n, H)) if both else make(n, H) for n in (I, *[out] * (layers - 1))]
    model = lc.Stack(each) if layers > 1 else each[0]
    params = {name: 0.8 * rng.standard_normal(p.shape) for name, p in model.params.items()}
    weights = from_lstmcore(params, layout, cell)
    weights = {n: w + 0.3 * rng.standard_normal(w.shape) if n.startswith(SUMMED) else w for n, w in weights.items()}
    kinds = ("h0", "c0") if cell == "lstm" else ("h0",)
    below = [f"{k}." for k in range(layers)] if layers > 1 else [""]
    names = [k + d + kind for k in below for d in (("fw.", "bw.") if both else ("",)) for kind in kinds]
    masks = {
        "none": None,
        "right": np.arange(T)[:, None] < np.append(T, rng.integers(1, max(T, 2), size=B - 1)),
        "gaps": rng.random((T, B)) < 0.7,
    }
    shapes = {"x": (T, B, I), "y": (B, out) if final else (T, B, out)}
    shapes |= {str(k): (T, B, out) for k in range(layers - 1)}
    kept = {name: rng.random(shapes[name]) < 0.6 for name in dropout}
    parts = (
        weights,
        rng.standard_normal(shapes["x"]),
        rng.standard_normal(shapes["y"]),
        {
            "state": {name: rng.standard_normal((B, H)) for name in names},
            "dstate": {name: rng.standard_normal((B, H)) for name in names},
            "mask": masks[mask],
            "layout": layout,
            "dropout": {name: np.where(k, 1 / 0.6, 0) for name, k in kept.items()},
        },
    )
    return Step(*(cast(part, dtype) for part in parts))


def cast(tree: Any, dtype: str) -> Any:
    if isinstance(tree, dict):
        return {name: cast(value, dtype) for name, value in tree.items()}
    if isinstance(tree, tuple):
        return tuple(cast(value, dtype) for value in tree)
    return tree.astype(dtype) if isinstance(tree, np.ndarray) and tree.dtype != bool else tree


def somebody_elses(step: Step, bug: str = "") -> dict[str, np.ndarray]:
    """The gradients of an LSTM as somebody else writes it: gate by gate, torch's weights, the mask multiplied."""
    T = len(step.x)
    H, one = step.weights["weight_hh_l0"].shape[1], step.x.dtype.type(1)
    W, U, b1, b2 = (step.weights[f"{k}_l0"].reshape(4, H, -1) for k in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    b = (b1 + (0 if bug == "one bias forgotten" else b2))[:, :, 0]
    b = b + (np.arange(4) == 1)[:, None] * one if bug == "forget bias" else b
    order = [0, 1, 3, 2] if bug == "gate order" else [0, 1, 2, 3]
    W, U, b = W[order], U[order], b[order]
    mask = step.options["mask"][:, :, None].astype(step.x.dtype)
    real = np.ones_like(mask) if bug == "mask ignored" else mask
    held = np.ones_like(mask) if bug in ("mask ignored", "mask on h only") else mask

    def sigmoid(a):
        return (np.tanh(a / 2) + one) / 2

    drop_x, drop_y = (step.options["dropout"].get(name, one) for name in "xy")
    x = step.x * drop_x
    drop_dy = drop_y != 0 if bug == "dropout's scale forgotten" else one if bug == "dropout not undone" else drop_y
    dy = step.dy * drop_dy
    h, c = step.options["state"]["h0"], step.options["state"]["c0"]
    tape = []
    for t in range(T):
        a = [x[t] @ W[k].T + h @ U[k].T + b[k] for k in range(4)]
        i, f, g, o = sigmoid(a[0]), sigmoid(a[1]), np.tanh(a[2]), sigmoid(a[3])
        new = f * c + i * g
        tape.append((h, c, i, f, g, o, new))
        kept = 0 if bug == "zeros on padding" else 1
        h = real[t] * o * np.tanh(new) + (one - real[t]) * h * kept
        c = held[t] * new + (one - held[t]) * c * kept

    dW, dU, db, dx = np.zeros_like(W), np.zeros_like(U), np.zeros_like(b), np.zeros_like(step.x)
    dh, dc = step.options["dstate"]["h0"], step.options["dstate"]["c0"]
    for t in reversed(range(T)):
        h, c, i, f, g, o, new = tape[t]
        dh = dh * (bug != "dh not carried") + dy[t] * real[t]
        dc = np.clip(dc, -0.25, 0.25) if bug == "dc clipped" else dc
        into_h, into_c = real[t] * dh, held[t] * dc
        shown = np.tanh(np.tanh(new)) if bug == "tanh twice" else np.tanh(new)
        along = into_c + into_h * o * (one - shown**2)
        slopes = [s * (one - s) for s in (i, f, o)]
        if bug == "sigmoid of sigmoid":
            slopes = [sigmoid(s) * (one - sigmoid(s)) for s in (i, f, o)]
        memory = new if bug == "c_t for c_{t-1}" else c
        da = [
            along * g * slopes[0],
            along * memory * slopes[1],
            along * i * (one - g**2),
            into_h * np.tanh(new) * slopes[2],
        ]
        dx[t] = sum(da[k] @ W[k] for k in range(4))
        for k in range(4):
            dW[k] += da[k].T @ (step.x if bug == "x before dropout" else x)[t]
            dU[k] += da[k].T @ h
            db[k] += da[k].mean(0) if bug == "bias averaged" else da[k].sum(0)
        kept = 0 if bug == "zeros on padding" else 1
        dh = sum(da[k] @ U[k] for k in range(4)) + (one - real[t]) * dh * kept
        dc = along * f + (one - held[t]) * dc * kept
    dW, dU, db = dW[order], dU[order], db[order]
    first, second = db.reshape(-1), 0 * db.reshape(-1) if bug == "second bias gets nothing" else db.reshape(-1)
    return {
        "weight_ih_l0": dW.reshape(4 * H, -1),
        "weight_hh_l0": dU.reshape(4 * H, -1),
        "bias_ih_l0": first,
        "bias_hh_l0": second,
        "x": dx if bug == "dx not dropped" else dx * drop_x,
        "h0": dh,
        "c0": dc,
    }
