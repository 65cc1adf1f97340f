"""tanh, the sigmoid, relu and softmax as layers, for the heads of models."""

from typing import ClassVar, NamedTuple, TypeAlias

from lstmcore.arrays import Array, State
from lstmcore.layers.layer import Layer, Rng
from lstmcore.layers.params import Params
from lstmcore.layers.seen import read_only
from lstmcore.ops.activation import (
    relu_backward,
    relu_forward,
    sigmoid_backward,
    sigmoid_forward,
    softmax_backward,
    softmax_forward,
    tanh_backward,
    tanh_forward,
)
from lstmcore.ops.masking import kept, masking_backward, masking_forward
from lstmcore.shapes import check_cache, check_features, check_like

Function: TypeAlias = "staticmethod[[Array], Array]"  # x -> y
Undoing: TypeAlias = "staticmethod[[Array, Array], Array]"  # (dy, y) -> dx


class ActivationCache(NamedTuple):
    y: Array
    mask: Array | None
    owner: "Activation"


class Activation(Layer):
    """y = f(x) for x (T, B, I) or (B, I), zero at masked steps. No parameters. The slope comes from y alone."""

    function: ClassVar[Function]
    undone: ClassVar[Undoing]

    def __init__(self) -> None:
        self.params: Params = Params({})

    def forward(
        self, x: Array, state: State | None = None, mask: Array | None = None, rng: Rng = None, reuse: object = None
    ) -> tuple[Array, None, ActivationCache]:
        check_features("x", x, None, None, mask)
        y = masking_forward(self.function(masking_forward(x, mask)), mask)
        return read_only(y[...]), None, ActivationCache(y, kept(mask), self)

    def backward(
        self, dy: Array | None, cache: ActivationCache, dstate: State | None = None
    ) -> tuple[Array | None, None, dict[str, Array]]:
        check_cache(cache, self)
        if dy is None:
            return None, None, {}
        dy = check_like("dy", dy, tuple(cache.y.shape), "the shape of y", cache.y)
        return self.undone(masking_backward(dy, cache.mask), cache.y), None, {}


class Tanh(Activation):
    """y = tanh(x) for x (T, B, I) or (B, I), zero at masked steps. No parameters."""

    function: ClassVar[Function] = staticmethod(tanh_forward)
    undone: ClassVar[Undoing] = staticmethod(tanh_backward)


class Sigmoid(Activation):
    """y = 1 / (1 + exp(-x)) for x (T, B, I) or (B, I), zero at masked steps. No parameters.

    To learn probabilities, give the logits before it to `lc.binary_cross_entropy`, and put this behind for `predict`.
    """

    function: ClassVar[Function] = staticmethod(sigmoid_forward)
    undone: ClassVar[Undoing] = staticmethod(sigmoid_backward)


class ReLU(Activation):
    """y = max(x, 0) for x (T, B, I) or (B, I), zero at masked steps. No parameters."""

    function: ClassVar[Function] = staticmethod(relu_forward)
    undone: ClassVar[Undoing] = staticmethod(relu_backward)


class Softmax(Activation):
    """y = exp(x) / sum exp(x) over the last axis of x (T, B, V) or (B, V), zero at masked steps. No parameters.

    To learn classes, give the logits before it to `lc.softmax_cross_entropy`, and put this behind for `predict`.
    """

    function: ClassVar[Function] = staticmethod(softmax_forward)
    undone: ClassVar[Undoing] = staticmethod(softmax_backward)
