"""tanh as a layer, for heads whose targets lie in [-1, 1]."""

from typing import NamedTuple

from lstmcore.arrays import Array, State
from lstmcore.layers.layer import Layer, Rng
from lstmcore.layers.params import Params
from lstmcore.layers.seen import read_only
from lstmcore.ops.activation import tanh_backward, tanh_forward
from lstmcore.ops.masking import masking_backward, masking_forward
from lstmcore.shapes import check_cache, check_features, check_like


class TanhCache(NamedTuple):
    y: Array
    mask: Array | None
    owner: "Tanh"


class Tanh(Layer):
    """y = tanh(x) for x (T, B, I) or (B, I), zero at masked steps. No parameters."""

    def __init__(self) -> None:
        self.params = Params({})

    def forward(
        self, x: Array, state: State | None = None, mask: Array | None = None, rng: Rng = None, reuse: object = None
    ) -> tuple[Array, None, TanhCache]:
        check_features("x", x, None, None, mask)
        y = tanh_forward(masking_forward(x, mask))
        return read_only(y[...]), None, TanhCache(y, mask, self)

    def backward(
        self, dy: Array | None, cache: TanhCache, dstate: State | None = None
    ) -> tuple[Array | None, None, dict[str, Array]]:
        check_cache(cache, self)
        if dy is None:
            return None, None, {}
        dy = check_like("dy", dy, tuple(cache.y.shape), "the shape of y", cache.y)
        return tanh_backward(masking_backward(dy, cache.mask), cache.y), None, {}

    def __repr__(self) -> str:
        return "Tanh()"
