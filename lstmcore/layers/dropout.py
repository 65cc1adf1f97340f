"""Dropout as a layer, with masks that a backward pass replays and a seed repeats."""

from typing import NamedTuple

from lstmcore.arrays import Array, State
from lstmcore.layers.layer import Layer, Rng
from lstmcore.layers.params import Params
from lstmcore.ops.dropout import dropout_backward, dropout_forward, dropout_scale
from lstmcore.ops.masking import kept, masking_backward, masking_forward
from lstmcore.shapes import check_cache, check_features, check_like, check_probability


class DropoutCache(NamedTuple):
    scale: Array | None  # the factors drawn, 0 or 1 / (1 - p); None in evaluation
    mask: Array | None
    y: Array
    owner: "Dropout"


class Dropout(Layer):
    """Drops each number with probability p and scales the others by 1 / (1 - p), when `forward` is given an rng.

    per_sequence: one mask for all steps, a different one for each row (Gal & Ghahramani 2016), where x is (T, B, I).
    Without an rng (evaluation) y = x. x (T, B, I) or (B, I); zero at masked steps. No parameters.
    """

    def __init__(self, p: float, per_sequence: bool = False):
        check_probability("p", p, ", of being dropped")
        if not isinstance(per_sequence, bool):
            raise TypeError(f"`per_sequence` should be True or False; got {per_sequence!r}")
        self.p: float = float(p)
        self.per_sequence: bool = per_sequence
        self.params: Params = Params({})

    def forward(
        self, x: Array, state: State | None = None, mask: Array | None = None, rng: Rng = None, reuse: object = None
    ) -> tuple[Array, None, DropoutCache]:
        check_features("x", x, None, None, mask)
        y = masking_forward(x, mask)
        shape = (1, *x.shape[1:]) if self.per_sequence and x.ndim == 3 else tuple(x.shape)
        scale = None if rng is None else dropout_scale(rng, shape, self.p, x)
        if scale is not None:
            y = dropout_forward(y, scale)
        return y, None, DropoutCache(scale, kept(mask), y, self)

    def backward(
        self, dy: Array | None, cache: DropoutCache, dstate: State | None = None
    ) -> tuple[Array | None, None, dict[str, Array]]:
        check_cache(cache, self)
        if dy is None:
            return None, None, {}
        dy = check_like("dy", dy, tuple(cache.y.shape), "the shape of y", cache.y)
        dx = masking_backward(dy, cache.mask)
        return dx if cache.scale is None else dropout_backward(dx, cache.scale), None, {}
