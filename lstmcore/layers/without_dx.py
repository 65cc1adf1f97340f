"""Training needs no gradient of the model's input: a tenth to a third of a backward pass that nobody reads."""

from typing import Any

from lstmcore.layers.bidirectional import Bidirectional
from lstmcore.layers.recurrent import GRU, LSTM, RNN
from lstmcore.layers.stack import Stack


def without_dx(model: object, cache: Any) -> Any:
    """The cache of a model for a backward pass that gives an empty dx, (0, B, I), and all else to the same bits.

        _, _, grads = model.backward(dy, without_dx(model, cache))

    Only the layers of this library are known to pass it on: where x goes into another one first, or into one with a
    method of its own, the cache stays as it is and dx is computed.
    """
    if "backward" in vars(model):
        return cache
    if type(model) in (LSTM, GRU, RNN):
        return cache._replace(dx_wanted=False)
    if type(model) is Stack:
        first, *others = cache.parts
        return cache._replace(parts=(without_dx(model.layers[0], first), *others))
    if type(model) is Bidirectional and type(model.fw) is type(model.bw) and type(model.fw) in (LSTM, GRU, RNN):
        return cache._replace(parts=tuple(map(without_dx, model.parts.values(), cache.parts)))
    return cache
