"""Training needs no gradient of the model's input: a tenth to a third of a backward pass that nobody reads."""

from typing import TypeVar

from lstmcore.layers.bidirectional import Bidirectional, BidirectionalCache
from lstmcore.layers.recurrent import GRU, LSTM, RNN
from lstmcore.layers.stack import Stack, StackCache
from lstmcore.ops.recurrence import Cache

Some = TypeVar("Some")  # the cache of some layer


def without_dx(model: object, cache: Some) -> Some:
    """The cache of a model for a backward pass that gives an empty dx, (0, B, I), and all else to the same bits.

        _, _, grads = model.backward(dy, without_dx(model, cache))

    Only the layers of this library are known to pass it on: where x goes into another one first, or into one with a
    method of its own, the cache stays as it is and dx is computed.
    """
    if "backward" in vars(model):
        return cache
    if type(model) in (LSTM, GRU, RNN) and isinstance(cache, Cache):
        return cache._replace(dx_wanted=False)
    if type(model) is Stack and isinstance(cache, StackCache):
        first, *others = cache.parts
        return cache._replace(parts=(without_dx(model.layers[0], first), *others))
    if not (type(model) is Bidirectional and isinstance(cache, BidirectionalCache)):
        return cache
    if type(model.fw) is type(model.bw) and type(model.fw) in (LSTM, GRU, RNN):
        return cache._replace(parts=(without_dx(model.fw, cache.parts[0]), without_dx(model.bw, cache.parts[1])))
    return cache
