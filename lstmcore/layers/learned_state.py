"""An initial state that is learned, in place of zeros."""

from collections.abc import Mapping
from typing import NamedTuple, cast

from lstmcore.arrays import Array, State, namespace
from lstmcore.layers.inside import backward_inside, forward_inside, predict_inside, state_inside, step_inside
from lstmcore.layers.layer import Layer, Rng, own_params
from lstmcore.layers.params import Params, joined
from lstmcore.layers.recurrent import Recurrent
from lstmcore.layers.recurrent_dropout import RecurrentDropout
from lstmcore.layers.residual import Residual
from lstmcore.layers.reversed import Reversed
from lstmcore.layers.tree import by_leaf


class LearnedStateCache(NamedTuple):
    parts: tuple[object]
    owner: "LearnedState"
    learned: bool  # False where the caller gave a state


class LearnedState(Layer):
    """`layer`, an LSTM, GRU or RNN, begins every row at the parameters h0 (H,), c0 (H,), which start at zero.

    Around it there may be RecurrentDropout, Residual and Reversed, whose beginning is the last step.

    A state that the caller gives takes their place; their gradient is zero then. Where none is given, none has
    a gradient: `backward` gives dstate0 (None,), and what comes back is summed over the rows into dh0 and dc0.
    Keys of params "h0", "c0", "layer.W_ih", ...; state: (the layer's,). Raises TypeError for what runs no cell, or two.
    """

    def __init__(self, layer: Layer):
        self.layer = layer
        self.parts: Mapping[str, Layer] = {"layer": layer}
        run = _inside(layer)[0]
        if not isinstance(run, Recurrent):
            raise TypeError(
                "`layer` of a LearnedState should be an LSTM, GRU or RNN, with RecurrentDropout, Residual or Reversed "
                f"around it at most; got {layer!r} (put a LearnedState around each layer inside)"
            )
        W_hh = run.params["W_hh"]
        sizes = zip(run.states, run.cell.widths(run.hidden_size))
        zeros = {f"{name}0": namespace(W_hh).zeros(width, dtype=W_hh.dtype) for name, width in sizes}
        self.params: Params = joined(self.parts, zeros)

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
        begun, learned = self._begun(x, state)
        y, last, cache = forward_inside(self, x, begun, mask, rng, reuse)
        return y, last, LearnedStateCache(cache.parts, self, learned)

    def backward(
        self, dy: Array | None, cache: LearnedStateCache, dstate: State | None = None
    ) -> tuple[Array | None, State, dict[str, Array]]:
        dx, dstate0, grads = backward_inside(self, dy, cache, dstate)
        own = own_params(self)
        if not cache.learned:
            return dx, dstate0, {name: namespace(w).zeros_like(w) for name, w in own.items()} | grads
        begun = cast("tuple[Array, ...]", next(by_leaf(self.layer, dstate0[0])))
        sums = {name: namespace(d).sum(d, axis=0) for name, d in zip(own, begun)}  # (96) undoes (95)
        return dx, (None,), sums | grads

    def predict(self, x: Array, state: State | None = None, mask: Array | None = None) -> tuple[Array, State]:
        return predict_inside(self, x, self._begun(x, state)[0], mask)

    def step(self, x: Array, state: State | None = None) -> tuple[Array, State]:
        return step_inside(self, x, self._begun(x[None, ...], state)[0])

    def _begun(self, x: Array, state: State | None) -> tuple[State | None, bool]:
        """The state that the layer begins at, and whether it is learned."""
        if state_inside(self, "state", state) is not None or getattr(x, "ndim", 0) != 3:  # another x the layer refuses
            return state, False
        rows = x.shape[1]
        begun: State = tuple(namespace(w).broadcast_to(w, (rows, *w.shape)) for w in own_params(self).values())  # (95)
        for _ in range(_inside(self.layer)[1] + 1):
            begun = (begun,)
        return begun, True


AROUND = (RecurrentDropout, Residual, Reversed)  # what has one state, that of the layer inside


def _inside(layer: Layer) -> tuple[Layer, int]:
    """The layer inside, and how many are around it."""
    depth = 0
    while isinstance(layer, AROUND):
        (layer,) = layer.parts.values()
        depth += 1
    return layer, depth
