"""The output at each row's last real step: what is often called the last relevant output."""

from typing import NamedTuple

from lstmcore.arrays import Array, State
from lstmcore.layers.layer import Layer, Rng
from lstmcore.layers.params import Params
from lstmcore.ops.last import last_backward, last_forward
from lstmcore.ops.masking import kept
from lstmcore.shapes import check_cache, check_features, check_like


class LastCache(NamedTuple):
    x: Array
    mask: Array | None
    owner: "Last"


class Last(Layer):
    """x (T, B, I) -> y (B, I), x at the last real step of each row; zero for a row without one. No parameters.

    After a forward direction this is the final state. After a backward one it is not: at the last step that direction
    has only begun. `return_sequences=False` gives the final state of either.
    """

    def __init__(self) -> None:
        self.params: Params = Params({})

    def forward(
        self, x: Array, state: State | None = None, mask: Array | None = None, rng: Rng = None, reuse: object = None
    ) -> tuple[Array, None, LastCache]:
        check_features("x", x, None, None, mask)
        if x.ndim != 3:
            raise ValueError(f"`x` should be (T, B, I), a sequence; got {tuple(x.shape)}")
        return last_forward(x, mask), None, LastCache(x, kept(mask), self)

    def backward(
        self, dy: Array | None, cache: LastCache, dstate: State | None = None
    ) -> tuple[Array | None, None, dict[str, Array]]:
        check_cache(cache, self)
        if dy is None:
            return None, None, {}
        dy = check_like("dy", dy, tuple(cache.x.shape[1:]), "(B, I), one step of x,", cache.x)
        return last_backward(dy, cache.x.shape[0], cache.mask), None, {}

    def step(self, x: Array, state: State | None = None) -> tuple[Array, None]:
        """One step of a stream: the last one so far."""
        return x, None
