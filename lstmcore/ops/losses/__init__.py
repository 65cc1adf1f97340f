"""The losses and their gradients, averaged over the valid items. Targets of masked items are never read."""

from lstmcore.ops.activation import softmax
from lstmcore.ops.losses.cross_entropy import softmax_cross_entropy
from lstmcore.ops.losses.of_numbers import absolute_error, binary_cross_entropy, huber, squared_error

__all__ = ["absolute_error", "binary_cross_entropy", "huber", "softmax", "softmax_cross_entropy", "squared_error"]
