"""The watched layer in lstmcore, with the dropout that the framework drew."""

import copy
from collections.abc import Iterator
from typing import NamedTuple, cast

import numpy as np

from lstmcore.arrays import Array, State, namespace
from lstmcore.debug.watch.seen import PRECISIONS, Call, Seen
from lstmcore.interop import to_lstmcore
from lstmcore.layers import Layer, Stack, from_config
from lstmcore.layers.initialise import UNFILLED
from lstmcore.layers.kinds import configs
from lstmcore.layers.layer import Rng
from lstmcore.layers.params import Params
from lstmcore.layers.tree import dotted, parts
from lstmcore.ops.dropout import dropout_backward, dropout_forward
from lstmcore.ops.masking import kept, masking_backward, masking_forward
from lstmcore.shapes import check_cache

LARGE = 2**16  # numbers of y: from there on compiled code pays, though it takes a second to load


class DrawnCache(NamedTuple):
    mask: Array | None
    owner: "Drawn"


class Drawn(Layer):
    """Dropout whose factors are known already: y = x o scale, scale (T, B, I) or (B, I). No parameters."""

    def __init__(self, scale: np.ndarray):
        self.scale = scale
        self.params = Params({})

    def forward(
        self, x: Array, state: State | None = None, mask: Array | None = None, rng: Rng = None, reuse: object = None
    ) -> tuple[Array, None, DrawnCache]:
        y = masking_forward(x, mask)
        return dropout_forward(y, self._like(y)), None, DrawnCache(kept(mask), self)

    def backward(
        self, dy: Array | None, cache: DrawnCache, dstate: State | None = None
    ) -> tuple[Array | None, None, dict[str, Array]]:
        check_cache(cache, self)
        if dy is None:
            return None, None, {}
        return masking_backward(dropout_backward(dy, self._like(dy)), cache.mask), None, {}

    def _like(self, x: Array) -> Array:
        return namespace(x).broadcast_to(namespace(x).asarray(self.scale, dtype=x.dtype), x.shape)

    def __repr__(self) -> str:
        return f"Dropout(as drawn, {np.mean(self.scale == 0):.0%} dropped)"


class Replay:
    """The layer in float64, `at` each call with the dropout that was drawn there. Raises what `to_lstmcore` raises."""

    def __init__(self, seen: Seen):
        self.seen = seen
        config, params = to_lstmcore(seen.weights, seen.layout, seen.cell, options=seen.options)
        for _, inner in configs(config):
            inner |= {} if seen.return_sequences or "return_sequences" not in inner else {"return_sequences": False}
        large = sum(call.y.size for call in seen.calls) > LARGE
        self.layer = from_config(config, None if large else "reference", UNFILLED).to(dtype="float64")
        for name, value in params.items():
            self.layer.params[name] = value.astype(np.float64)
        self.dropped = {name for call in seen.calls for name in call.drawn}  # the parts that dropout stands before

    def at(self, call: Call) -> Layer:
        """The layer of one call; the parameters are shared. Where dropout was drawn, a part "NAME" is "NAME.1"."""

        def around(layer: Layer, name: str) -> Layer:
            if parts(layer):
                layer = layer.rebuilt({key: around(part, dotted(name, key)) for key, part in parts(layer).items()})
            return Stack([Drawn(call.drawn.get(name, np.ones(()))), layer]) if name in self.dropped else layer

        return around(self.layer, "") if self.dropped else self.layer

    def placed(self, state: State | None) -> State | None:
        """A state of the layer as a state of `at`."""

        def around(layer: Layer, state: State | None, name: str) -> State | None:
            if parts(layer) and state is not None:
                each = zip(parts(layer).items(), state)
                state = tuple(around(part, cast("State", s), dotted(name, key)) for (key, part), s in each)
            return state if state is None or name not in self.dropped else (None, state)

        return around(self.layer, state, "")

    def shaken(self, rng: np.random.Generator) -> "Replay":
        """A twin with every weight up or down by one rounding: what that does to a gradient, rounding may do."""
        twin, eps = copy.copy(self), PRECISIONS[self.seen.precision].eps
        twin.layer = self.layer.to()
        for name, value in self.layer.params.items():
            twin.layer.params[name] = value * (1 + eps * rng.choice([-1.0, 1.0], value.shape))
        return twin

    def gradients(self) -> Iterator[tuple[str, np.ndarray]]:
        """The framework's gradients under the names of this layer's parameters; a second bias under "b (its key)".

        A frozen weight has none: ones and zeros, sent the same way, tell which of lstmcore's arrays are whole.
        """
        seen = self.seen
        gradients = {key: seen.grads.get(key, np.zeros_like(value)) for key, value in seen.weights.items()}
        there = {key: np.full_like(value, key in seen.grads) for key, value in seen.weights.items()}
        _, converted = to_lstmcore(gradients, seen.layout, seen.cell, gradients=True, options=seen.options)
        _, whole = to_lstmcore(there, seen.layout, seen.cell, gradients=True, options=seen.options)
        return ((self._named(name), value) for name, value in converted.items() if whole[name].all())

    def _named(self, name: str) -> str:
        """The name of a parameter in `at`."""
        for part in self.dropped:
            if not part or name.startswith(f"{part}."):
                name = f"{dotted(part, '1')}.{name.removeprefix(part).removeprefix('.')}"
        return name
