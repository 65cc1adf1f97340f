"""A dense layer over the last axis, the same at every step."""

from typing import NamedTuple

import numpy as np

from lstmcore.arrays import Array, Dtype, Plain, State
from lstmcore.layers.initialise import Seed, generator, glorot_uniform
from lstmcore.layers.layer import Layer, Rng, check_dtype, zero_grads
from lstmcore.layers.params import Params
from lstmcore.layers.seen import Seen, check, look
from lstmcore.ops.linear import linear_backward, linear_forward
from lstmcore.ops.masking import kept, masking_backward, masking_forward
from lstmcore.shapes import check_cache, check_features, check_like, check_size


class LinearCache(NamedTuple):
    x: Array  # the input, zero at masked steps
    mask: Array | None
    owner: "Linear"
    seen: Seen


class Linear(Layer):
    """y = x W + b for x (T, B, I) or (B, I); rows at masked steps are zero and add nothing to any gradient.

    Parameters: W (I, O), Glorot uniform; b (O,), zero, absent with bias=False.
    """

    input_size: int
    output_size: int
    bias: bool

    def __init__(
        self, input_size: int, output_size: int, bias: bool = True, dtype: Dtype = "float32", seed: Seed = None
    ):
        check_size("input_size", input_size)
        check_size("output_size", output_size)
        checked = check_dtype(dtype)
        self.input_size, self.output_size, self.bias = input_size, output_size, bias
        W = glorot_uniform(generator(seed), input_size, output_size).astype(checked)
        self.params: Params = Params({"W": W, "b": np.zeros(output_size, checked)} if bias else {"W": W})

    @staticmethod
    def shapes(options: Plain) -> dict[str, tuple[int, ...]]:
        W = {"W": (options["input_size"], options["output_size"])}
        return W | ({"b": (options["output_size"],)} if options["bias"] else {})

    def forward(
        self, x: Array, state: State | None = None, mask: Array | None = None, rng: Rng = None, reuse: object = None
    ) -> tuple[Array, None, LinearCache]:
        """x (T, B, I) or (B, I) -> y (T, B, O) or (B, O)."""
        self.params.check_shapes()
        W = self.params["W"]
        check_features("x", x, self.input_size, W, mask)
        known = look(x, self.params)
        x = masking_forward(x, mask)
        y = linear_forward(x, W, self.params["b"] if self.bias else None)
        return masking_forward(y, mask), None, LinearCache(x, kept(mask), self, known)

    def backward(
        self, dy: Array | None, cache: LinearCache, dstate: State | None = None
    ) -> tuple[Array | None, None, dict[str, Array]]:
        """dy as y -> dx as x, None, gradients of W and b."""
        check_cache(cache, self)
        check(cache.seen, self.params)
        if dy is None:
            return None, None, zero_grads(self)
        shape = (*cache.x.shape[:-1], self.output_size)
        dy = check_like("dy", dy, shape, "(..., O), as the cache fixes it,", self.params["W"])
        dx, dW, db = linear_backward(masking_backward(dy, cache.mask), cache.x, self.params["W"])
        return dx, None, {"W": dW, "b": db} if self.bias else {"W": dW}
