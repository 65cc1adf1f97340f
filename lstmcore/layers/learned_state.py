"""An initial state that is learned, in place of zeros."""

from collections.abc import Mapping
from typing import NamedTuple

from lstmcore.arrays import Array, State, namespace
from lstmcore.layers.layer import Layer, Rng, own_params
from lstmcore.layers.params import joined
from lstmcore.layers.recurrent import Recurrent
from lstmcore.ops.recurrence import Cache
from lstmcore.shapes import check_cache, check_parts


class LearnedStateCache(NamedTuple):
    parts: tuple[Cache]
    owner: "LearnedState"
    learned: bool  # False where the caller gave a state


class LearnedState(Layer):
    """`layer`, an LSTM, GRU or RNN, begins every row at the parameters h0 (H,), c0 (H,), which start at zero.

    A state that the caller gives takes their place; then they have no gradient but zero. Where none is given, none has
    a gradient: `backward` gives dstate0 (None,), and what comes back is summed over the rows into dh0 and dc0.
    Keys of params "h0", "c0", "layer.W_ih", ...; state: (the layer's,). Raises TypeError for what runs no cell.
    """

    def __init__(self, layer: Recurrent):
        if not isinstance(layer, Recurrent):
            raise TypeError(f"`layer` should be an LSTM, GRU or RNN; got {layer!r} (put it around the layers inside)")
        self.layer = layer
        self.parts: Mapping[str, Layer] = {"layer": layer}
        W_hh = layer.params["W_hh"]
        sizes = zip(layer.states, layer.cell.widths(layer.hidden_size))
        zeros = {f"{name}0": namespace(W_hh).zeros(width, dtype=W_hh.dtype) for name, width in sizes}
        self.params = joined(self.parts, zeros)

    @staticmethod
    def shapes(options: object) -> None:
        """The parameters follow from the layer alone, once it is built."""

    def forward(
        self,
        x: Array,
        state: State | None = None,
        mask: Array | None = None,
        rng: Rng = None,
        reuse: LearnedStateCache | None = None,
    ) -> tuple[Array, State, LearnedStateCache]:
        if reuse is not None:
            check_cache(reuse, self)
        given, learned = self._begun(x, state)
        y, last, cache = self.layer.forward(x, given, mask, rng, reuse and reuse.parts[0])
        return y, (last,), LearnedStateCache((cache,), self, learned)

    def backward(
        self, dy: Array | None, cache: LearnedStateCache, dstate: State | None = None
    ) -> tuple[Array | None, State, dict[str, Array]]:
        check_cache(cache, self)
        (given,) = check_parts("dstate", dstate, 1, "LearnedState")
        dx, dstate0, grads = self.layer.backward(dy, cache.parts[0], given)
        named = {f"layer.{name}": g for name, g in grads.items()}
        own = own_params(self)
        if not cache.learned:
            return dx, (dstate0,), {name: namespace(w).zeros_like(w) for name, w in own.items()} | named
        sums = {name: namespace(d).sum(d, axis=0) for name, d in zip(own, dstate0)}  # (96) undoes (95)
        return dx, (None,), sums | named

    def predict(self, x: Array, state: State | None = None, mask: Array | None = None) -> tuple[Array, State]:
        y, last = self.layer.predict(x, self._begun(x, state)[0], mask)
        return y, (last,)

    def step(self, x: Array, state: State | None = None) -> tuple[Array, State]:
        y, last = self.layer.step(x, self._begun(x[None, ...], state)[0])
        return y, (last,)

    def __repr__(self) -> str:
        return f"LearnedState({self.layer!r})"

    def _begun(self, x: Array, state: State | None) -> tuple[State | None, bool]:
        """Where the layer begins, and whether that is learned."""
        (given,) = check_parts("state", state, 1, "LearnedState")
        if given is not None or getattr(x, "ndim", 0) != 3:  # another x the layer refuses
            return given, False
        rows = x.shape[1]
        return tuple(namespace(w).broadcast_to(w, (rows, *w.shape)) for w in own_params(self).values()), True  # (95)
