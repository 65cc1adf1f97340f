"""A table of vectors, looked up by index: the first layer over letters, words or residues."""

from typing import NamedTuple

from lstmcore.arrays import Array, Dtype, Plain, State, namespace
from lstmcore.layers.initialise import Seed, generator
from lstmcore.layers.layer import Layer, Rng, check_dtype, zero_grads
from lstmcore.layers.params import Params
from lstmcore.ops.embedding import embedding_backward, embedding_forward
from lstmcore.ops.masking import kept, masking_backward, masking_forward
from lstmcore.shapes import check_cache, check_indices, check_like, check_size


class EmbeddingCache(NamedTuple):
    index: Array  # type: ignore[assignment]  # (T, B) or (B,), 0 at masked steps; a tuple has a method of that name
    mask: Array | None
    owner: "Embedding"


class Embedding(Layer):
    """y = W[x] for integers x (T, B) or (B,) in [0, V); rows at masked steps are zero and their indices never read.

    Parameter: W (V, I), standard normal. The gradient of x is None: an index has none.
    """

    classes: int
    output_size: int

    def __init__(self, classes: int, output_size: int, dtype: Dtype = "float32", seed: Seed = None):
        check_size("classes", classes)
        check_size("output_size", output_size)
        self.classes, self.output_size = classes, output_size
        W = generator(seed).standard_normal((classes, output_size))
        self.params: Params = Params({"W": W.astype(check_dtype(dtype))})

    @staticmethod
    def shapes(options: Plain) -> dict[str, tuple[int, ...]]:
        return {"W": (options["classes"], options["output_size"])}

    def forward(
        self, x: Array, state: State | None = None, mask: Array | None = None, rng: Rng = None, reuse: object = None
    ) -> tuple[Array, None, EmbeddingCache]:
        """x (T, B) or (B,) integers -> y (T, B, I) or (B, I)."""
        self.params.check_shapes()
        W = self.params["W"]
        check_indices(x, self.classes, W, mask)
        index = kept(x) if mask is None else namespace(x).where(mask, x, namespace(x).zeros_like(x))
        y = masking_forward(embedding_forward(index, W), mask)
        return y, None, EmbeddingCache(index, kept(mask), self)

    def backward(
        self, dy: Array | None, cache: EmbeddingCache, dstate: State | None = None
    ) -> tuple[None, None, dict[str, Array]]:
        """dy as y -> None, None, the gradient of W."""
        check_cache(cache, self)
        W = self.params["W"]
        if dy is None:
            return None, None, zero_grads(self)
        dy = check_like("dy", dy, (*cache.index.shape, self.output_size), "(..., I), as the cache fixes it,", W)
        return None, None, {"W": embedding_backward(masking_backward(dy, cache.mask), cache.index, W)}
