"""A loss in place of dy: most programs keep dy to themselves, while everybody knows his targets.

dy follows from the outputs of the function that the gradients are judged for, by the package's own losses, over a
linear head where there is one: z = y W + b (50), slopes (62) and (64), and back through (52) and (53). All of it runs
over numbers that know their rounding (rounded.py). A slope moves at most `curvature` times as far as z does: twice for
(z - t)^2, once for half of that; a row of the Jacobian of the softmax has the absolute sum 2 p (1 - p) <= 1/2, and
sigmoid' is at most 1/4.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from lstmcore.arrays import namespace, to_numpy
from lstmcore.debug.case import Case
from lstmcore.debug.diagnose.precision import Precision, precisions
from lstmcore.debug.diagnose.rounded import Rounded
from lstmcore.ops.activation import softmax
from lstmcore.ops.cells.symbol import Number
from lstmcore.ops.losses.cross_entropy import softmax_cross_entropy_forward
from lstmcore.ops.losses.of_numbers import binary, binary_slope, squared, squared_slope

Numbers = dict[str, np.ndarray]
SQUARED, HALF, CROSS, BINARY = "squared error", "half squared error", "cross-entropy", "binary cross-entropy"
CURVATURE = {SQUARED: 2.0, HALF: 1.0, CROSS: 0.5, BINARY: 0.25}
CALLED = {
    SQUARED: ("mse", "l2"),
    HALF: ("halfmse", "mse/2"),
    CROSS: ("ce", "softmaxcrossentropy", "nll"),
    BINARY: ("bce",),
}
OVER = ("mean", "sum", "rows", "steps", "items")  # what the sum over all valid items is divided by
KEYS = ("kind", "targets", "over", "W", "b", "dW", "db", "value")


class Loss(NamedTuple):
    """A loss of the outputs y (T, B, D H), or (B, D H) of the final states, and the head below it."""

    kind: str
    over: str
    targets: np.ndarray  # numbers like z; or classes (T, B), or (B,)
    V: int  # numbers, or classes, of one item
    W: np.ndarray | None  # (D H, V)
    b: np.ndarray | None  # (V,)
    grads: Numbers  # "dW", "db" as they were given, in the shapes of W and b
    written: dict[str, Precision]  # how these were written
    mask: np.ndarray | None  # of y: steps whose items count
    open: bool  # the divisor of the sum was not given
    known: float | None  # the value of the loss in the program

    def __str__(self) -> str:
        head = "" if self.W is None else f" of a head of {self.V}"
        return (
            f"dy from the {self.kind}{head}, {self.over if self.over in ('mean', 'sum') else 'over the ' + self.over}"
        )

    def gradients(self, y: Number) -> tuple[Number, dict[str, Number]]:
        """dy as y, and those of the head by "dW", "db"; over arrays, or over numbers that know their rounding."""
        dz, xp = self.slopes(y), namespace(y)
        if self.W is None:
            return dz, {}
        rows, below = (xp.reshape(a, (-1, a.shape[-1])) for a in (dz, y))
        return dz @ self.W.T, {"dW": below.T @ rows, "db": xp.sum(rows, axis=0)}

    def slopes(self, y: Number) -> Number:
        """dz (T, B, V), or (B, V), zero at masked items."""
        dz, xp = self._slope(self._logits(y)) * (1.0 / self._count(y)), namespace(y)
        return dz if self.mask is None else xp.where(self.mask[..., None], dz, xp.zeros_like(dz))

    def value(self, y: np.ndarray) -> float:
        """The loss itself."""
        z, valid = self._logits(y), np.ones(y.shape[:-1], bool) if self.mask is None else self.mask
        if self.kind == CROSS:
            whole = float(softmax_cross_entropy_forward(z, self.targets, valid)[0]) * int(np.count_nonzero(valid))
        else:
            each = (binary if self.kind == BINARY else squared)(z, self.targets, 1.0)
            whole = float(np.sum(each[valid]).item()) / (2 if self.kind == HALF else 1)
        return whole / self._count(y)

    def _logits(self, y: Number) -> Number:
        z = y if self.W is None else y @ self.W
        return z if self.b is None else z + self.b

    def _slope(self, z: Number) -> Number:
        """(..., V) by z: of the sum over items."""
        if isinstance(z, Rounded):
            slope = self._slope(z.value)
            if self.kind == CROSS:
                seen = np.max(z.variance, axis=-1, keepdims=True)
                own = (self.V + 8) * softmax(z.value) ** 2  # exp, a sum of V, a quotient
            else:
                seen, own = z.variance, slope**2 + (16 if self.kind == BINARY else 0)  # sigmoid: to two units of 1
            return Rounded(slope, CURVATURE[self.kind] ** 2 * seen + own)
        if self.kind == CROSS:
            return softmax(z) - (self.targets[..., None] == np.arange(self.V))
        slope = (binary_slope if self.kind == BINARY else squared_slope)(z, self.targets, 1.0)
        return slope / 2 if self.kind == HALF else slope

    def _count(self, y: Number) -> float:
        items = int(np.prod(y.shape[:-1])) if self.mask is None else int(np.count_nonzero(self.mask))
        numbers = items if self.kind == CROSS else items * self.V
        steps = y.shape[0] if y.ndim == 3 else 1
        return {"mean": numbers, "sum": 1, "rows": y.shape[-2], "steps": steps, "items": items}[self.over]


class Given(NamedTuple):
    """A loss as somebody hands it over, its words understood; arrays as they came."""

    kind: str
    over: str | None
    targets: np.ndarray
    head: Numbers  # "W", "b", "dW", "db"
    value: float | None

    @property
    def lead(self) -> tuple[int, ...]:
        """Steps and rows, or rows alone."""
        return self.targets.shape if self.kind == CROSS else self.targets.shape[:-1]

    def widths(self, weights: Mapping[str, np.ndarray]) -> tuple[int, ...]:
        """What the width of the outputs may be."""
        if "W" in self.head:
            found = self.head["W"].shape
        elif self.kind == CROSS:
            found = tuple(size for a in weights.values() for size in a.shape)
        else:
            found = self.targets.shape[-1:]
        return tuple(dict.fromkeys(found))


def given_loss(loss: Mapping[str, object], x: np.ndarray) -> Given:
    """Checks what is said of a loss. x (T, B, I), in any order of its axes, or (T, I).

    Raises KeyError, TypeError or ValueError.
    """
    for name in loss:
        if name not in KEYS:
            raise KeyError(f"`loss` should hold any of {', '.join(KEYS)}; got {name!r}")
    loss = {name: value for name, value in loss.items() if value is not None}
    if "kind" not in loss or "targets" not in loss:
        raise KeyError(f"`loss` should hold kind and targets; got {', '.join(loss) or 'nothing'}")
    kind = _kind(str(loss["kind"]))
    over = None if loss.get("over") in (None, "") else str(loss["over"])
    if over not in (None, *OVER):
        raise ValueError(f"`loss['over']` should be one of {', '.join(OVER)}; got {over!r}")
    arrays = {}
    for name in ("targets", "W", "b", "dW", "db"):
        if name in loss:
            value = loss[name]
            array = np.asarray(value if isinstance(value, list | tuple) else to_numpy(value))
            if array.dtype.kind not in "fiub":
                raise TypeError(f"`loss[{name!r}]` should be an array of numbers; got {array.dtype}")
            if not np.isfinite(array).all():
                raise ValueError(f"`loss[{name!r}]` should be finite; got NaN or infinity")
            arrays[name] = array if name.startswith("d") else array.astype(float)
    for name in ("b", "db"):
        if name in arrays:
            arrays[name] = arrays[name].reshape(-1)
    if "W" not in arrays and len(arrays) > 1:
        raise KeyError(
            f"`loss` should hold W, the weights of the head, beside {', '.join(n for n in arrays if n != 'targets')}"
        )
    if "W" in arrays and arrays["W"].ndim != 2:
        raise ValueError(f"`loss['W']` should be (H, V) or (V, H); got {arrays['W'].shape}")
    value = float(np.asarray(loss["value"])) if "value" in loss else None
    targets = arrays.pop("targets")
    return Given(kind, over, _items(targets, kind, x), arrays, value)


def _kind(word: str) -> str:
    plain = "".join(c for c in word.lower() if c.isalnum() or c == "/")
    for kind, others in CALLED.items():
        if plain in ("".join(c for c in kind if c.isalnum()), *others):
            return kind
    raise ValueError(f"`loss['kind']` should be one of {', '.join(CALLED)}; got {word!r}")


def _items(targets: np.ndarray, kind: str, x: np.ndarray) -> np.ndarray:
    """Numbers (T, B, V) or (B, V), or classes (T, B) or (B,), whatever was left out; in the order of the axes of x."""
    single = x.ndim == 2
    lead = x.shape[:1] if single else x.shape[:2]
    per_step = targets.shape[: len(lead)] == lead or (targets.ndim == 3 and not single)
    items = len(lead) if per_step else 0 if single else 1
    if kind == CROSS and targets.ndim > items:  # one of V is 1
        if np.any(np.sort(targets, axis=-1)[..., :-1] != 0) or np.any(targets.max(-1) != 1):
            raise ValueError(
                "`loss['targets']` of a cross-entropy should be classes, or zeros and a single 1 for each item"
            )
        targets = targets.argmax(-1).astype(float)
    elif kind != CROSS and targets.ndim == items:
        targets = targets[..., None]
    if targets.ndim != items + (kind != CROSS):
        raise ValueError(
            f"`loss['targets']` should be (T, B, V), or (T, B) for classes, without T for a loss of the final states "
            f"only; got {targets.shape} beside x {x.shape}"
        )
    return np.expand_dims(targets, items) if single else targets  # one row


def read_loss(given: Given, case: Case, axes: tuple[int, ...], out_first: bool) -> Loss:
    """The loss of a case in whose dy only the shape counts; axes: where the axes of dy came from.

    out_first: whether the program's other matrices are (out, in): a square W of the head is then taken to be so too.
    """
    targets, head, H, classes = given.targets, dict(given.head), case.dy.shape[-1], given.kind == CROSS
    if case.dy.ndim == 3:
        targets = targets.transpose(axes[: targets.ndim])
    lead = case.dy.shape[:-1]
    if targets.shape[: len(lead)] != lead:
        raise ValueError(f"`loss['targets']` should have the steps and rows of x, {lead}; got {targets.shape}")
    mask = case.mask if case.dy.ndim == 3 else None
    if mask is not None:  # values on padding are never read
        targets = np.where(mask if classes else mask[..., None], targets, 0)
    V = head["b"].size if "b" in head else None if classes else targets.shape[-1]
    if "W" in head:
        wanted = (H, V or _other(head["W"], H))
        ways = [turned for turned, shape in enumerate((head["W"].shape, head["W"].shape[::-1])) if shape == wanted]
        if not ways:
            raise ValueError(f"`loss['W']` should be ({H}, {V or 'V'}), or that transposed; got {head['W'].shape}")
        turned = out_first if len(ways) == 2 else ways[0]
        for name in ("W", "dW"):
            if name in head and head[name].shape != given.head["W"].shape:
                raise ValueError(f"`loss['dW']` should be {given.head['W'].shape}, as W is; got {head[name].shape}")
            if name in head and turned:
                head[name] = head[name].T
    V = head["W"].shape[1] if "W" in head else H
    for name in ("b", "db"):
        if name in head and head[name].shape != (V,):
            raise ValueError(f"`loss[{name!r}]` should be (V,) = {(V,)}; got {head[name].shape}")
    if not classes and targets.shape[-1] != V:
        raise ValueError(f"`loss['targets']` should be {(*lead, V)}, as what it is compared with; got {targets.shape}")
    if classes and (np.any(targets % 1 != 0) or targets.min() < 0 or targets.max() >= V):
        raise ValueError(
            f"`loss['targets']` of a cross-entropy should be classes, integers from 0 to {V - 1}; got "
            f"{targets.min():g} to {targets.max():g}"
        )
    grads: Numbers = {str(name): head.pop(name) for name in ("dW", "db") if name in head}
    return Loss(
        given.kind, given.over or "mean", targets.astype(int) if classes else targets, V, head.get("W"), head.get("b"),
        {name: a.astype(float) for name, a in grads.items()}, precisions(grads), mask,
        given.over is None, given.value,
    )  # fmt: skip


def _other(W: np.ndarray, H: int) -> int:
    """The size of a matrix that is not H; H where both are."""
    return next((size for size in W.shape if size != H), H)


def settled(loss: Loss, y: np.ndarray) -> tuple[Loss, str]:
    """The loss, with what was left open settled by its value: a half or none, and the divisor; and a note."""
    if loss.known is None:
        return loss, ""
    kinds = [loss.kind, *({SQUARED, HALF} - {loss.kind} if loss.kind in (SQUARED, HALF) else ())]
    ways = [loss._replace(kind=kind, over=over) for over in (OVER if loss.open else (loss.over,)) for kind in kinds]
    near = [way for way in ways if abs(way.value(y) - loss.known) <= NEAR * abs(loss.known)]
    values = ", ".join(f"{way.value(y):.6g} as {way.kind}, {way.over}" for way in ways)
    return (near[0], "") if near else (loss, f"the loss of these outputs is not {loss.known:g} but {values}")


NEAR = 1e-3  # it only has to tell factors like 2, T and B apart, in whatever digits the value was printed
