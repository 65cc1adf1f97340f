"""What a training is judged by: losses and metrics."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from lstmcore.arrays import Array, dtype_name, namespace
from lstmcore.ops.losses import absolute_error, binary_cross_entropy, huber, softmax_cross_entropy, squared_error
from lstmcore.shapes import check_targets, check_valid, check_values

Loss: TypeAlias = Callable[[Array, Array, Array | None], tuple[Array, Array]]  # (y, targets, mask) -> loss (), dy
Metric: TypeAlias = Callable[[Array, Array, Array | None], float]  # (y, targets, mask) -> of these, mostly a mean

TAKEN = ("epoch", "step", "loss", "validation", "lr", "seconds")


@dataclass(frozen=True)
class Counted:
    """A loss or metric that is a mean over something other than the valid steps, and how many of these there are.
    Batches are averaged and accumulated by this count, so that the result is no mean of means. With class weights:

        weighed = functools.partial(lc.softmax_cross_entropy, weights=w)
        loss = lc.train.Counted(weighed, lambda y, targets, mask: w[targets if mask is None else targets[mask]].sum())
    """

    function: Loss
    count: Callable[[Array, Array, Array | None], float]  # (y, targets, mask) -> how many

    def __call__(self, y: Array, targets: Array, mask: Array | None = None) -> tuple[Array, Array]:
        return self.function(y, targets, mask)


@dataclass(frozen=True)
class Finished:
    """A metric that is a function of a mean over the valid items, taken once the mean over all batches is known. The
    root of the mean square:

        lc.train.Finished(lambda y, targets, mask: float(lc.squared_error(y, targets, mask)[0]), math.sqrt)
    """

    function: Metric
    finish: Callable[[float], float]

    def __call__(self, y: Array, targets: Array, mask: Array | None = None) -> float:
        return self.function(y, targets, mask)


def accuracy(y: Array, targets: Array, mask: Array | None = None) -> float:
    """The share of valid items that are right, from logits.

    y (..., V) with integer targets (...): the largest logit is the target's. y (...) with targets (...) of its dtype, 0
    or 1: the logit is positive where the target is above a half. mask as in the losses. Raises TypeError and ValueError
    for what does not fit.
    """
    if dtype_name(targets.dtype).startswith(("int", "uint")):
        check_targets(targets, y, mask)
        right = namespace(y).argmax(y, axis=-1) == targets
    else:
        check_values(targets, y)
        right = (y > 0) == (targets > 0.5)
        if mask is not None and mask.shape == right.shape[:-1]:
            mask = namespace(mask).broadcast_to(mask[..., None], right.shape)
        check_valid(mask, targets, "targets")
    xp = namespace(right)
    n = math.prod(right.shape) if mask is None else int(xp.count_nonzero(mask))
    return int(xp.count_nonzero(right if mask is None else right & mask)) / n


def mean_absolute_error(y: Array, targets: Array, mask: Array | None = None) -> float:
    """Mean of |y - t| over the valid items, in the units of y."""
    return float(absolute_error(y, targets, mask)[0])


def _nats(y: Array, targets: Array, mask: Array | None = None) -> float:
    return float(softmax_cross_entropy(y, targets, mask)[0])


perplexity: Finished = Finished(_nats, math.exp)  # e to the mean cross-entropy: a fair die with this many faces


def valid(y: Array, mask: Array | None) -> tuple[int, Array | None]:
    """How many outputs count, and the mask for the loss: None once y has no time axis."""
    if mask is None or y.ndim < 3:
        return math.prod(y.shape[:-1]), None
    return int(namespace(mask).count_nonzero(mask)), mask


def items_of(function: Loss | Metric, valid: int, y: Array, targets: Array, mask: Array | None) -> float:
    """How many items the mean is over: what `Counted` says, else the valid steps (or rows)."""
    count = getattr(function, "count", None)
    return valid if count is None else float(count(y, targets, mask))


def is_mean(metric: Metric) -> bool:
    """Known to be a mean over items, or a function of one: what parts of a batch give adds up to that of the whole."""
    losses = absolute_error, binary_cross_entropy, huber, softmax_cross_entropy, squared_error
    own = accuracy, mean_absolute_error, *losses
    return isinstance(metric, Counted | Finished) or any(metric is one for one in own)


def check_metrics(metrics: Mapping[str, Metric], has_validation: bool) -> None:
    """Raises TypeError and ValueError for what are none."""
    if not isinstance(metrics, Mapping) or not all(map(callable, metrics.values())):
        raise TypeError(f"`metrics` should be {{name: function of y, targets and mask}}; got {metrics!r:.80}")
    taken = sorted(set(metrics) & set(TAKEN))
    if taken:
        raise ValueError(f"`metrics` should have other names than {', '.join(TAKEN)}; got {', '.join(taken)}")
    if metrics and not has_validation:
        raise ValueError("`metrics` are taken on validation data: pass validation=... too (the training data will do)")
